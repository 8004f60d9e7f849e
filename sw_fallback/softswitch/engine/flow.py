"""Structured code from a graph without cycles.

A node that is reached in one way only is written where it is reached from. A node that is reached in several ways
is written after its immediate dominator, in topological order, and is guarded by a test of `goto` where other ways
lead past it. This is the dominator-tree construction of Ramsey, "Beyond Relooper" (ICFP 2022), for a language
whose only jump is `break` to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Cycle", "Structure", "structure", "topological"]

Graph = Mapping[str, Sequence[str | None]]
"""For each node one target for each way out of it; None is the end."""


class Cycle(Exception):
    """The graph has one."""


@dataclass(frozen=True, slots=True)
class Structure:
    """How to nest the nodes of a graph."""

    merges: dict[str, tuple[str, ...]]
    """Nodes to write after each node, in order."""
    shared: frozenset[str]
    """Nodes that are written as merges."""
    guarded: frozenset[str]
    """Merges that are entered only when `goto` names them."""


def structure(start: str, graph: Graph) -> Structure:
    """Find the structure of what is reachable from `start`. Raises `Cycle`."""
    order = topological(start, graph)
    position = {node: index for index, node in enumerate(order)}
    sources: dict[str, list[str]] = {node: [] for node in order}
    for node in order:
        for target in graph[node]:
            if target is not None:
                sources[target].append(node)
    dominator: dict[str, str] = {start: start}
    for node in order[1:]:
        common = sources[node][0]
        for other in sources[node][1:]:
            common = _common(common, other, dominator, position)
        dominator[node] = common
    shared = frozenset(node for node in order[1:] if len(sources[node]) > 1)
    merges: dict[str, list[str]] = {node: [] for node in order}
    for node in order:
        if node in shared:
            merges[dominator[node]].append(node)
    frozen = {node: tuple(found) for node, found in merges.items()}
    return Structure(frozen, shared, _guarded(order, graph, frozen, shared))


def topological(start: str, graph: Graph) -> list[str]:
    """Every node that can be reached, each one after all that lead to it. Raises `Cycle`."""
    done: list[str] = []
    state: dict[str, bool] = {}  # False: entered, True: left
    stack: list[tuple[str, int]] = [(start, 0)]
    state[start] = False
    while stack:
        node, way = stack.pop()
        targets = graph[node]
        if way == len(targets):
            state[node] = True
            done.append(node)
            continue
        stack.append((node, way + 1))
        target = targets[way]
        if target is None or state.get(target) is True:
            continue
        if target in state:
            raise Cycle
        state[target] = False
        stack.append((target, 0))
    return done[::-1]


def _common(left: str, right: str, dominator: dict[str, str], position: dict[str, int]) -> str:
    while left != right:
        if position[left] > position[right]:
            left = dominator[left]
        else:
            right = dominator[right]
    return left


def _guarded(
    order: list[str], graph: Graph, merges: dict[str, tuple[str, ...]], shared: frozenset[str]
) -> frozenset[str]:
    """Bottom up: where a node's code ends, which merges further out it is on its way to."""
    leads_to: dict[str, frozenset[str]] = {}
    guarded: set[str] = set()
    for node in reversed(order):
        pending: frozenset[str] = frozenset()
        for target in graph[node]:
            if target is not None:
                pending |= {target} if target in shared else leads_to[target]
        for merge in merges[node]:
            if pending != {merge}:
                guarded.add(merge)
            pending = (pending - {merge}) | leads_to[merge]
        leads_to[node] = pending
    return frozenset(guarded)
