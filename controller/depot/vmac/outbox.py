"""What leaves a gateway's core: sealed, numbered and collected until it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from depot.vmac.events import LanFrame, MessageRefused, Output, VmacEvent
from depot.vmac.settings import GatewaySettings
from depot.vmac.wire import Acknowledge, Envelope, Learn, Message, Refusal, seal

__all__ = ["Outbox"]

_QUIET = 10.0
"""Seconds in which the same refusal is told once."""


class Outbox:
    """One life of a gateway says something."""

    def __init__(self, settings: GatewaySettings, incarnation: int) -> None:
        self._settings = settings
        self._incarnation = incarnation
        self._sequence = 0
        self._output = Output()
        self._told: dict[tuple[Refusal, str], float] = {}
        self.refused: Counter[Refusal] = Counter()

    def send(self, peer: str, message: Message) -> None:
        """Say something to a peer."""
        self._output.datagrams.append((peer, self._seal(peer, message)))

    def send_frame(self, message: Acknowledge | Learn) -> None:
        """Say something on the LAN, from the virtual MAC that it is about."""
        self._output.frames.append(LanFrame(message.bucket, self._seal("", message)))

    def answer(self, port: int, frame: bytes) -> None:
        """Let an answer go."""
        self._output.answers.append((port, frame))

    def pass_on(self, hosts: Iterable[tuple[int, int]]) -> None:
        """Hand on what a peer knows of hosts."""
        self._output.hosts += hosts

    def announce(self, bucket: int) -> None:
        """Have the hosts of a bucket told."""
        self._output.announce.append(bucket)

    def tell(self, event: VmacEvent) -> None:
        """Have something logged."""
        self._output.events.append(event)

    def refuse(self, refusal: Refusal, sender: str, detail: str, now: float) -> None:
        """Count a message that is not listened to, and tell it if that is news."""
        self.refused[refusal] += 1
        self._told = {reason: at for reason, at in self._told.items() if at > now - _QUIET}
        if (refusal, sender) not in self._told:
            self._told[refusal, sender] = now
            self.tell(MessageRefused(refusal, sender, detail))

    def take(self) -> Output:
        """Return all since the last time."""
        output, self._output = self._output, Output()
        return output

    def _seal(self, recipient: str, message: Message) -> bytes:
        self._sequence += 1
        envelope = Envelope(self._settings.name, recipient, self._incarnation, self._sequence, message)
        return seal(envelope, self._settings.key)
