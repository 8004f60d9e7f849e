"""Coverage-guided fuzzing of a channel; libFuzzer takes the process over: `python -m controller.tests.fuzz_channel`.

Arguments are libFuzzer's, as -max_total_time=60. The first byte of an input chooses the state, the second where the
rest is cut. Ends with another status than 0 at the first input that breaks what `check_hearing` demands.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["depot.cluster"]):
    from controller.tests.test_cluster_channel import HEARING, MESSAGES, check_hearing


def hear_input(data: bytes) -> None:
    """One input, the states being CONNECT, SYNCHRONIZE and ESTABLISHED."""
    if len(data) < 2:
        return
    text = data[2:]
    check_hearing(HEARING[data[0] % len(HEARING)], text, [data[1] % (len(text) + 1)])


def main() -> None:
    """Never returns."""
    for message in MESSAGES:
        hear_input(b"\0\0" + message)
    atheris.Setup(sys.argv, hear_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
