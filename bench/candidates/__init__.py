"""Load balancers on one topology, each with a client and members of its own, in network namespaces.

`topology` is that network, `kernel_nat`, `proxies` and `depot` are what balances in it, `load` what is measured.
"""

from bench.candidates.depot import Depot
from bench.candidates.kernel_nat import Nftables
from bench.candidates.load import Measured, Metric, measured
from bench.candidates.proxies import HaProxy, NginxStream
from bench.candidates.topology import Candidate, Direct

__all__ = [
    "Candidate",
    "Depot",
    "Direct",
    "HaProxy",
    "Measured",
    "Metric",
    "Nftables",
    "NginxStream",
    "measured",
]
