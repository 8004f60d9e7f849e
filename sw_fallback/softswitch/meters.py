"""Two-rate three-colour meters (RFC 2698, colour-blind), as the behavioural model counts tokens."""

from __future__ import annotations

from enum import IntEnum

from softswitch.entities import MeterConfig
from softswitch.errors import InvalidArgument

__all__ = ["Color", "Meter"]


class Color(IntEnum):
    """What a meter says (v1model.p4, V1MODEL_METER_COLOR_*)."""

    GREEN = 0
    YELLOW = 1
    RED = 2


_MICROSECOND_NS = 1000


class _Bucket:
    """Tokens that come in at a rate, up to a burst."""

    __slots__ = ("burst", "credited", "rate", "tokens")

    def __init__(self, per_second: int, burst: int) -> None:
        self.rate = per_second / 1_000_000
        """Tokens per microsecond."""
        self.burst = burst
        self.tokens = burst
        self.credited = 0
        """Tokens handed out since the meter was made."""

    def take(self, micros: int, amount: int) -> bool:
        """Whether `amount` tokens were there to be taken."""
        earned = int(micros * self.rate)
        self.tokens = min(self.tokens + earned - self.credited, self.burst)
        self.credited = earned
        if self.tokens < amount:
            return False
        self.tokens -= amount
        return True


class Meter:
    """One cell."""

    __slots__ = ("_committed", "_made_ns", "_peak", "config")

    def __init__(self, config: MeterConfig, now_ns: int) -> None:
        if config.cir > config.pir:
            raise InvalidArgument(f"the committed rate {config.cir} is above the peak rate {config.pir}")
        if min(config.cir, config.cburst, config.pburst) < 0:
            raise InvalidArgument("a meter's rates and bursts are not negative")
        self.config = config
        self._made_ns = now_ns
        self._committed = _Bucket(config.cir, config.cburst)
        self._peak = _Bucket(config.pir, config.pburst)

    def execute(self, now_ns: int, amount: int) -> Color:
        """Colour a packet of `amount` tokens (its octets, or one)."""
        micros = (now_ns - self._made_ns) // _MICROSECOND_NS
        if not self._peak.take(micros, amount):
            return Color.RED
        return Color.GREEN if self._committed.take(micros, amount) else Color.YELLOW
