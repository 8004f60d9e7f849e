"""What operators ordered (drains, weights), kept in a file beside the socket: a restart of the daemon changes nothing.

The file is the daemon's own. One that cannot be read is told and left aside; orders for members that are configured no
more are forgotten.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from depot.switching.services import Services, UnknownMemberError

__all__ = ["OrdersFile"]

events = logging.getLogger("depot.events")


class OrdersFile:
    """The orders of one daemon."""

    def __init__(self, socket: Path) -> None:
        self._path = socket.with_name(f"{socket.name}.orders")

    def restore(self, services: Services, now: float) -> list[str]:
        """Give the orders to the services; return what is in force again, in words."""
        try:
            orders = json.loads(self._path.read_text())
            if not isinstance(orders, list):
                raise ValueError("no list of orders")
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            events.warning("%s: operators' orders cannot be read, none are in force: %s", self._path, error)
            return []
        found = []
        for order in orders:
            try:
                found.append(_give(order, services, now))
            except (UnknownMemberError, ValueError) as error:
                events.warning("%s: an order is left aside: %s", self._path, error)
        return found

    def save(self, services: Services) -> None:
        """Write the orders in force; a failure is told."""
        orders = [
            {"vip": one.vip.name, "member": one.config.name, "drained": one.drained, "weight": one.override}
            for one in services.members()
            if one.drained or one.override is not None
        ]
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_text(json.dumps(orders, indent=1) + "\n")
            os.replace(beside, self._path)
        except OSError as error:
            events.warning("%s: operators' orders cannot be kept over a restart: %s", self._path, error)


def _give(order: object, services: Services, now: float) -> str:
    """Give one order; return it in words. Raises UnknownMemberError, ValueError, and gives nothing then."""
    match order:
        case {"vip": str(vip), "member": str(member), "drained": bool(drained), "weight": int() | None as weight} if (
            not isinstance(weight, bool)
        ):
            services.set_weight(member, weight, now, vip)
            services.set_drained(member, drained, now, vip)
        case _:
            raise ValueError(f"{str(order)[:200]} is none")
    words = ["drained"] * drained + ([] if weight is None else [f"weight {weight}"])
    return f"{vip}/{member}: {', '.join(words)}"
