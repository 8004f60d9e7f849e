"""Records as JSON documents: how a switch tells them to the command `softswitch trace`."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from softswitch.trace.record import End, Pass, Record, Step, TableStep, Verdict

__all__ = ["from_document", "to_document"]


def to_document(record: Record, *, snaplen: int, both: bool) -> dict[str, Any]:
    """A record as JSON values; of frames at most `snaplen` bytes, of those that left none unless `both`."""
    return {
        "time_ns": record.time_ns,
        "port": record.port,
        "length": record.length,
        "frame": _text(record.frame, snaplen),
        "steps": [_step(step) for step in record.steps],
        "parser_error": record.parser_error,
        "ends": [_end(end, snaplen if both else 0) for end in record.ends],
    }


def _text(frame: bytes, snaplen: int) -> str:
    return b64encode(frame[:snaplen]).decode("ascii")


def _step(step: Step) -> dict[str, Any]:
    if isinstance(step, Pass):
        return {"pass": step.name.lower()}
    return {"table": step.table, "hit": step.hit, "action": step.action}


def _end(end: End, snaplen: int) -> dict[str, Any]:
    found: dict[str, Any] = {"verdict": end.verdict.name.lower()}
    if end.port is not None:
        found["port"] = end.port
    if end.frame is not None:
        found["length"] = end.length
        if snaplen:
            found["frame"] = _text(end.frame, snaplen)
    return found


def from_document(document: dict[str, Any]) -> Record:
    """What `to_document` was given, with its frames as far as they were kept.

    Raises ValueError, KeyError or TypeError for anything else.
    """
    return Record(
        document["time_ns"],
        document["port"],
        b64decode(document["frame"]),
        document["length"],
        tuple(_read_step(step) for step in document["steps"]),
        tuple(_read_end(end) for end in document["ends"]),
        document["parser_error"],
    )


def _read_step(step: dict[str, Any]) -> Step:
    if "pass" in step:
        return Pass[step["pass"].upper()]
    return TableStep(step["table"], step["hit"], step["action"])


def _read_end(end: dict[str, Any]) -> End:
    frame = b64decode(end["frame"]) if "frame" in end else None
    return End(Verdict[end["verdict"].upper()], end.get("port"), frame, end.get("length"))
