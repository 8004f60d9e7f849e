"""Any graph without cycles becomes nested code that takes the same way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.engine.flow import Cycle, Structure, structure

Graph = dict[str, tuple[str | None, ...]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Nodes "0", "1", … with one to three ways out, each to a later node or to the end."""
    count = draw(st.integers(1, 12))
    later = [st.sampled_from([*map(str, range(node + 1, count)), None]) for node in range(count)]
    return {str(node): tuple(draw(st.lists(later[node], min_size=1, max_size=3))) for node in range(count)}


class _End(Exception):  # a `break`
    pass


class _Nested:
    """Runs the structure as code written from it would."""

    def __init__(self, graph: Graph, shape: Structure, choices: dict[str, int]) -> None:
        self._graph, self._shape, self._choices = graph, shape, choices
        self._goto: str | None = None
        self.visited: list[str] = []

    def run(self, start: str) -> list[str]:
        try:
            self._node(start)
        except _End:
            return self.visited
        raise AssertionError("the code fell off its end")

    def _node(self, name: str) -> None:
        self.visited.append(name)
        target = self._graph[name][self._choices[name] % len(self._graph[name])]
        if target is None:
            raise _End
        if target not in self._shape.shared:
            self._node(target)
        elif target in self._shape.guarded:
            self._goto = target
        for merge in self._shape.merges[name]:
            if merge not in self._shape.guarded or self._goto == merge:
                self._node(merge)


def _walk(graph: Graph, choices: dict[str, int]) -> list[str]:
    name: str | None = "0"
    visited = []
    while name is not None:
        visited.append(name)
        name = graph[name][choices[name] % len(graph[name])]
    return visited


@given(graphs(), st.data())
def test_nested_code_takes_the_same_way(graph: Graph, data: st.DataObject) -> None:
    shape = structure("0", graph)
    choices = {name: data.draw(st.integers(0, 2)) for name in graph}
    assert _Nested(graph, shape, choices).run("0") == _walk(graph, choices)


@given(graphs())
def test_each_node_is_written_once(graph: Graph) -> None:
    shape = structure("0", graph)
    merged = [node for nodes in shape.merges.values() for node in nodes]
    assert len(merged) == len(set(merged))
    assert set(merged) == shape.shared
    assert shape.guarded <= shape.shared


def test_a_diamond_needs_no_guard() -> None:
    shape = structure("if", {"if": ("then", "else"), "then": ("after",), "else": ("after",), "after": (None,)})
    assert shape.merges["if"] == ("after",)
    assert shape.guarded == frozenset()


def test_a_cycle_is_said() -> None:
    with pytest.raises(Cycle):
        structure("a", {"a": ("b",), "b": ("a", None)})
