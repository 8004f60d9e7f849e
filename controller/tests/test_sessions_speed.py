"""How many sessions a second the tracker's core takes, and that its memory stays flat. Prints what it measured.

python -m pytest -s controller/tests/test_sessions_speed.py
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import deque

import pytest

from depot.address import Endpoint, FlowKey, parse_endpoint
from depot.switching.policy import SessionPolicy
from depot.switching.sessions import SessionTracker

pytestmark = pytest.mark.slow

VIP = parse_endpoint("192.0.2.10:80")
FIRST = parse_endpoint("10.0.0.0:1024")
RATE = 20_000
BATCH = 200
OPEN_AT_ONCE = 2000


class Load:
    """Whole lives of TCP sessions, as digests in the order in which the data plane sends them."""

    def __init__(self, time_wait: float, rate: int = RATE) -> None:
        self.time_wait = time_wait
        self.rate = rate
        self.tracker = SessionTracker()
        self.tracker.set_policy(SessionPolicy(1, VIP, time_wait=time_wait))
        self.now = 0.0
        self.number = 0
        self.open: deque[FlowKey] = deque()
        self.closed: deque[tuple[float, FlowKey]] = deque()
        self.commands = 0

    def run(self, sessions: int) -> None:
        tracker, now = self.tracker, self.now
        for _ in range(sessions):
            self.number += 1
            client = Endpoint(FIRST.address + (self.number >> 15 & 0xFFFF), 1024 + (self.number & 0x7FFF))
            key = FlowKey(client.address, client.port, VIP.address, VIP.port, 6)
            tracker.new_flow(key, 1, self.number % 4, False, 0x02, now)
            tracker.tcp_event(key, False, 0x02, now)
            tracker.tcp_event(key, True, 0x12, now)
            self.open.append(key)
            if len(self.open) > OPEN_AT_ONCE:
                ended = self.open.popleft()
                tracker.tcp_event(ended, False, 0x11, now)
                tracker.tcp_event(ended, True, 0x11, now)
                self.closed.append((now, ended))
            if self.number % BATCH == 0:
                now = self.now = now + BATCH / self.rate
                tracker.handle_timer(now)
                while self.closed and now - self.closed[0][0] >= self.time_wait:
                    tracker.idle(self.closed.popleft()[1], now)
                self.commands += len(tracker.take_commands())
                tracker.take_notices()


def test_twenty_thousand_sessions_a_second_on_one_core() -> None:
    load = Load(time_wait=5.0)
    load.run(120_000)  # fills the time wait
    before = load.commands
    started = time.process_time()
    load.run(100_000)
    rate = 100_000 / (time.process_time() - started)
    print(f"\n{rate:,.0f} whole sessions/s, {(load.commands - before) / 100_000:.2f} commands each")
    assert rate >= RATE


def test_memory_is_flat() -> None:
    load = Load(time_wait=1.0, rate=4000)  # few are held: a short run shows a small loss
    tracemalloc.start()
    try:
        load.run(15_000)
        gc.collect()
        early, _ = tracemalloc.get_traced_memory()
        load.run(60_000)
        gc.collect()
        late, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = len(load.tracker)
    print(f"\n{held:,} sessions held in {late / 1e6:.1f} MB, {late / held:.0f} bytes each; {late / early:.3f} x before")
    assert held <= (1 + 1 / 16) * load.rate + OPEN_AT_ONCE + BATCH
    assert late < 1.3 * early  # the session map's own table may be the next size; 30 bytes lost per session show
