"""A cluster's members on one machine: real ones in processes of their own, and peers replayed from memory."""

from bench.cluster_load.helpers import Helper, free_ports, helper
from bench.cluster_load.member import Account, Place, serve
from bench.cluster_load.peers import Replay, replay

__all__ = ["Account", "Helper", "Place", "Replay", "free_ports", "helper", "replay", "serve"]
