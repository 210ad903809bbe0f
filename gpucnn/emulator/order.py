"""The order in which a diverged warp goes through the basic blocks of a function.

Lanes that are behind go first, so that all lanes meet again where their paths join. "Behind" needs
an order in which every block comes before those that it leads to, except back to the head of a
loop, and every loop comes as a whole before what follows it: a weak topological order (Bourdoncle
1993, "Efficient chaotic iteration strategies with widenings").
"""

from __future__ import annotations

from collections.abc import Iterator

Edges = dict[int, list[int]]


def weak_order(nodes: list[int], edges: Edges) -> list[int]:
    """Return nodes in a weak topological order: each loop as a whole, loops within it as well.

    nodes: the first is the entry. edges: the successors of each node.
    """
    order: list[int] = []
    for head, *rest in reversed(_components(nodes, edges)):
        order.append(head)
        # In the order of a depth-first search from the head: first a successor of the head.
        order += weak_order(rest, edges)
    return order


def _components(nodes: list[int], edges: Edges) -> list[list[int]]:
    """Return the strongly connected components, the last first; each begins with its entry.

    Tarjan's algorithm, with a stack of its own instead of recursion. The nodes of a component are
    in the order in which the search finds them.
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

    for root in nodes:
        if root in index:
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
