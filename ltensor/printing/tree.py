"""A graph as an indented tree of lines: `debugprint`."""

from __future__ import annotations

import io
import sys
from typing import Any

from ltensor.ir.graph import Apply, Variable

__all__ = ["char_from_number", "debugprint"]


def char_from_number(number: int) -> str:
    """0 -> A, 25 -> Z, 26 -> BA: the number in base 26."""
    text = chr(ord("A") + number % 26)
    while number >= 26:
        number //= 26
        text = chr(ord("A") + number % 26) + text
    return text


class _Tree:
    """One run of `debugprint`: the ids given so far and where lines go."""

    def __init__(
        self, file: Any, ids: str, print_type: bool, stop_on_name: bool, given: dict[Any, str]
    ) -> None:
        self.file = file
        self.ids = ids
        self.print_type = print_type
        self.stop_on_name = stop_on_name
        self.given = given
        self.expanded: set[Apply] = set()
        self.regions: list[Apply] = []

    def id_of(self, thing: Any) -> str:
        known = self.given.get(thing)
        if known is None:
            number = len(self.given)
            text = {
                "CHAR": char_from_number(number),
                "int": str(number),
                "id": str(id(thing)),
                "": "",
            }[self.ids]
            known = self.given[thing] = f"[id {text}]" if text else ""
        return known

    def print(
        self,
        root: Variable,
        depth: int,
        prefix: str = "",
        order: dict[Apply, int] | None = None,
    ) -> None:
        """The tree below ``root``; what has been printed is named by its id only."""
        # Own stack: graphs are often deeper than Python's.
        stack = [(root, prefix, prefix, depth)]
        while stack:
            variable, head, below, left = stack.pop()
            if left == 0:
                continue
            node = variable.owner
            if node is None:
                self._leaf(variable, head)
                continue
            self._node(variable, node, head, "" if order is None else str(order.get(node, "")))
            if node in self.expanded:
                continue
            self.expanded.add(node)
            if node.regions:
                self.regions.append(node)
            if self.stop_on_name and variable.name is not None:
                continue
            last = len(node.inputs) - 1
            for position in range(last, -1, -1):
                deeper = below + ("  " if position == last else " |")
                stack.append((node.inputs[position], below + " |", deeper, left - 1))

    def _type(self, variable: Variable) -> str:
        return f" <{variable.type}>" if self.print_type else ""

    def _leaf(self, variable: Variable, head: str) -> None:
        print(f"{head}{variable} {self.id_of(variable)}{self._type(variable)}", file=self.file)

    def _node(self, variable: Variable, node: Apply, head: str, order: str) -> None:
        which = "" if len(node.outputs) == 1 else f".{node.outputs.index(variable)}"
        name = variable.name or ""
        line = f"{head}{node.op}{which} {self.id_of(node)}{self._type(variable)} '{name}'"
        # two empty columns stand where Theano shows destroy and view maps
        print(f"{line}   {order}", file=self.file)


def debugprint(
    obj: Any,
    depth: int = -1,
    print_type: bool = False,
    file: Any = None,
    ids: str = "CHAR",
    stop_on_name: bool = False,
    done: Any = None,
    print_storage: bool = False,
    print_clients: bool = False,
    used_ids: dict[Any, str] | None = None,
) -> Any:
    """Print a graph, one line for each variable, operands below their operation.

    Parameters
    ----------
    obj : Variable, Apply, compiled function, or list of such
        Of a compiled function its optimized graph is shown, with the order of computation.
    depth : int
        How many levels; all by default.
    print_type : bool
        Whether to add types.
    file : file, ``'str'`` or None
        Where to print, standard output by default; ``'str'`` returns the text.
    ids : {'CHAR', 'int', 'id', ''}
        How to number what is printed.
    stop_on_name : bool
        Do not go below variables with a name.
    used_ids : dict, optional
        Ids from another call, to go on with.
    done, print_storage, print_clients
        Taken as Theano takes them, without effect.

    Examples
    --------
    >>> x = T.dscalar("x")
    >>> debugprint(x + 1)
    Elemwise{add,no_inplace} [id A] ''
     |x [id B]
     |TensorConstant{1} [id C]
    """
    if not isinstance(depth, int):
        raise Exception("depth parameter must be an int")
    if ids not in ("CHAR", "int", "id", ""):
        raise ValueError(f"ids must be 'CHAR', 'int', 'id' or '', not {ids!r}")
    target: Any = sys.stdout if file is None else io.StringIO() if file == "str" else file
    tree = _Tree(target, ids, print_type, stop_on_name, {} if used_ids is None else used_ids)
    for variable, order in _roots(obj):
        tree.print(variable, depth, order=order)
    _print_regions(tree, depth)
    if file is None:
        target.flush()
        return None
    return target.getvalue() if file == "str" else file


def _print_regions(tree: _Tree, depth: int) -> None:
    if not tree.regions:
        return
    print("\nInner graphs of the scan ops:", file=tree.file)
    for node in tree.regions:  # grows while inner loops are found
        print(file=tree.file)
        tree.print(node.outputs[0], depth)
        for region in node.regions:
            for output in region.outputs:
                tree.print(output, depth, prefix=" >")


def _roots(obj: Any) -> list[tuple[Variable, dict[Apply, int] | None]]:
    if isinstance(obj, (list, tuple, set)):
        return [root for item in obj for root in _roots(item)]
    if isinstance(obj, Variable):
        return [(obj, None)]
    if isinstance(obj, Apply):
        return [(output, None) for output in obj.outputs]
    graph = obj.maker.fgraph if hasattr(obj, "maker") else obj
    if hasattr(graph, "outputs") and hasattr(graph, "toposort"):
        order = {node: number for number, node in enumerate(graph.toposort())}
        return [(output, order) for output in graph.outputs]
    raise TypeError("debugprint cannot print an object of this type", obj)
