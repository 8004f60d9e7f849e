"""Tasks that nobody waits for."""

from __future__ import annotations

import asyncio
import logging

__all__ = ["tell_failure"]


def tell_failure(task: asyncio.Task[None]) -> None:
    """Log what has ended a task that nobody waits for, unless it was cancelled."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logging.getLogger("depot.events").error("%s: internal error", task.get_name(), exc_info=error)
