"""Watching packets on their way through a program: which ones, which tables they hit, and what became of them."""

from softswitch.trace.filter import FilterError, parse_filter
from softswitch.trace.record import End, Legend, Pass, Record, TableStep, Verdict
from softswitch.trace.tracer import Traceable, Tracer, TracerBusy, Tracing, Watch

__all__ = [
    "End",
    "FilterError",
    "Legend",
    "Pass",
    "Record",
    "TableStep",
    "Traceable",
    "Tracer",
    "TracerBusy",
    "Tracing",
    "Verdict",
    "Watch",
    "parse_filter",
]
