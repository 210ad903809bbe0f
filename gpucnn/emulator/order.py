"""The order in which a diverged warp goes through the basic blocks of a function.

Lanes that are behind go first, so that all lanes meet again where their ways do. "Behind" needs an
order in which every block comes before those that it leads to, except back to the head of a loop,
and every loop comes as a whole before what follows it: a weak topological order (Bourdoncle 1993,
"Efficient chaotic iteration strategies with widenings").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Edges = dict[int, list[int]]


def weak_order(nodes: list[int], edges: Edges, entries: Sequence[int] = ()) -> list[int]:
    """Return nodes in a weak topological order: each loop as a whole, loops within it as well.

    edges: the successors of each node. entries: the nodes where a way into them begins; by default
    the first node.
    """
    order: list[int] = []
    for component in reversed(_components(nodes, edges, entries)):
        head, *rest = component
        order.append(head)
        if rest:
            order += weak_order(rest, edges, edges[head])
    return order


def _components(nodes: list[int], edges: Edges, entries: Sequence[int]) -> list[list[int]]:
    """Return the strongly connected components, the last first; each begins with its entry.

    Tarjan's algorithm, with a stack of its own instead of recursion.
    """
    inside = set(nodes)
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    work: list[tuple[int, Iterator[int]]] = []

    def visit(node: int) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        work.append((node, iter(edges.get(node, ()))))

    for root in [*entries, *nodes]:
        if root in index or root not in inside:
            continue
        visit(root)
        while work:
            node, successors = work[-1]
            for other in successors:
                if other in inside and other not in index:
                    visit(other)
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = stack[stack.index(node) :]
                    del stack[-len(component) :]
                    on_stack.difference_update(component)
                    found.append(component)
    return found
