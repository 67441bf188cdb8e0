"""A NIR graph made plain: one level, loops taken apart, in the order of computation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Graph:
    """Nodes by name, and from where each gets its input.

    Args:
        nodes: In an order in which each comes after those it needs.
        sources: For each node the names of those whose outputs are its input.
        recurrent: For a neuron, the node that maps its last spikes back to its input.
    """

    nodes: dict[str, Any]
    sources: dict[str, list[str]]
    recurrent: dict[str, Any]


def plain(nir: Any, graph: Any) -> Graph:
    """Takes a NIRGraph apart.

    Raises:
        ValueError: If there are loops other than a neuron's through one linear map.
    """
    nodes, edges = _flat(nir, graph, "")
    edges = list(dict.fromkeys(edges))
    recurrent = {}
    for name in list(nodes):
        if not isinstance(nodes[name], (nir.Affine, nir.Linear)):
            continue
        before, after = _before(edges, name), _after(edges, name)
        if len(before) == 1 and before == after:
            (neuron,) = before
            if neuron in recurrent:
                raise ValueError(
                    f"Node {neuron!r} ({type(nodes[neuron]).__name__}) has two recurrent "
                    "connections, and layers here have one; add their weights."
                )
            recurrent[neuron] = nodes.pop(name)
            edges = [edge for edge in edges if name not in edge]
    order = _in_order(nodes, edges)
    return Graph(
        {name: nodes[name] for name in order},
        {name: _before(edges, name) for name in order},
        recurrent,
    )


def _before(edges, name) -> list[str]:
    return [a for a, b in edges if b == name]


def _after(edges, name) -> list[str]:
    return [b for a, b in edges if a == name]


def _flat(nir, graph, prefix) -> tuple[dict, list]:
    """Nodes and edges of a graph and those within it, whose inputs and outputs are spliced."""
    nodes, edges = {}, [(prefix + a, prefix + b) for a, b in graph.edges]
    for name, node in graph.nodes.items():
        name = prefix + name
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, between = _flat(nir, node, f"{name}.")
        doors = {
            kind: [key for key, value in inner.items() if isinstance(value, getattr(nir, kind))]
            for kind in ("Input", "Output")
        }
        if len(doors["Input"]) != 1 or len(doors["Output"]) != 1:
            raise ValueError(f"Subgraph {name!r} has not one Input and one Output.")
        (entry,), (leave,) = doors["Input"], doors["Output"]
        edges = [(leave if a == name else a, entry if b == name else b) for a, b in edges]
        edges += between
        for door in (entry, leave):
            del inner[door]
            before, after = _before(edges, door), _after(edges, door)
            edges = [edge for edge in edges if door not in edge]
            edges += [(a, b) for a in before for b in after]
        nodes |= inner
    return nodes, edges


def _in_order(nodes, edges) -> list[str]:
    order, waiting = [], dict.fromkeys(nodes)
    while waiting:
        ready = [n for n in waiting if not any(source in waiting for source in _before(edges, n))]
        if not ready:
            raise ValueError(
                f"The nodes {sorted(waiting)} form a loop. Expected no loop but that of a neuron "
                "through one Affine or Linear node back to itself."
            )
        order += ready
        for name in ready:
            del waiting[name]
    return order
