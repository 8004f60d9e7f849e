"""What the daemon says of the gateways behind one address, as rows of plain JSON values."""

from __future__ import annotations

from depot.address import format_address
from depot.daemon.daemon import Daemon
from depot.daemon.gateway_member import GatewayMember
from depot.daemon.gateway_switch import GatewaySwitch

__all__ = ["NoGatewaysError", "gateways_of", "vmac_status"]

Row = dict[str, object]


class NoGatewaysError(ValueError):
    """The depot has no gateways behind one address."""


def gateways_of(daemon: Daemon) -> GatewayMember | GatewaySwitch:
    """Return the daemon's gateways. Raises NoGatewaysError."""
    if daemon.gateways is None:
        raise NoGatewaysError("this depot knows no gateways; add [vmac] to its file and start it again")
    return daemon.gateways


def vmac_status(daemon: Daemon) -> Row:
    """Gateways with their load, who owns which bucket, and what has moved. Raises NoGatewaysError."""
    member = gateways_of(daemon)
    config, macs = member.config, member.config.virtual_macs
    view = member.view()
    return {
        "addresses": [format_address(address) for address in config.addresses],
        "base": macs.base.to_bytes(6, "big").hex(":"),
        "count": macs.count,
        "hash": macs.hash.value,
        "mode": config.mode.value,
        "balancing": config.balancing.value,
        "name": config.name,
        "state": view.state,
        "ownerless": sum(owner is None for owner in view.owners),
        "gateways": [
            {"name": one.name, "up": one.up, "load": one.load, "buckets": one.buckets, "rate": one.rate}
            for one in view.gateways
        ],
        "buckets": [
            {"bucket": bucket, "mac": macs.mac(bucket).to_bytes(6, "big").hex(":"), "owner": owner,
             "rate": view.rates.get(bucket)}
            for bucket, owner in enumerate(view.owners)
        ],
        "moves": [
            {"age": round(daemon.now() - move.at, 3), "buckets": move.count, "from": move.source, "to": move.to,
             "why": move.why}
            for move in view.moves
        ],
        "counts": dict(view.counts),
    }  # fmt: skip
