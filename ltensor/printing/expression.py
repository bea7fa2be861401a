"""A variable as one line of text, by a table of printers: ``pp(x ** 2)`` is ``'(x ** 2)'``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ltensor.ir.graph import Apply, Constant, Op, Variable
from ltensor.ir.walks import toposort

__all__ = [
    "DefaultPrinter",
    "FunctionPrinter",
    "IgnorePrinter",
    "LeafPrinter",
    "MemberPrinter",
    "OperatorPrinter",
    "PPrinter",
    "PatternPrinter",
    "PrinterState",
    "default_printer",
    "leaf_printer",
    "pp",
    "pprint",
]

#: Names of variables that are shown as letters, in ASCII.
GREEK = {name: "\\" + name for name in ("alpha", "beta", "gamma", "delta", "epsilon")}


class PrinterState:
    """What printers share while one expression is printed."""

    def __init__(self, pprinter: PPrinter, **more: Any) -> None:
        self.pprinter = pprinter
        self.memo: dict[Variable, str] = {}
        self.precedence = -1000.0
        self.__dict__.update(more)

    def clone(self, **more: Any) -> PrinterState:
        """A state with some attributes changed; texts found so far are shared."""
        state = PrinterState(self.pprinter)
        state.__dict__.update(self.__dict__)
        state.__dict__.update(more)
        return state


class Printer:
    """Turns the output of an operation into text."""

    def process(self, output: Variable, pstate: PrinterState) -> str:
        """The text of ``output``."""
        node = output.owner
        if node is None:
            raise TypeError(
                f"{type(self).__name__} cannot print {output}, which is not the result of an "
                "operation"
            )
        operands = [pstate.pprinter.process(operand, pstate) for operand in node.inputs]
        return self.text(node, operands)

    def text(self, node: Apply, operands: list[str]) -> str:
        """The text of a node, given the texts of its operands."""
        raise NotImplementedError


class OperatorPrinter(Printer):
    """``(a + b)``; everything is put in parentheses.

    Parameters
    ----------
    operator : str
    precedence, assoc
        Kept, as Theano keeps them; parentheses do not depend on them.
    """

    def __init__(self, operator: str, precedence: float = 0, assoc: str = "left") -> None:
        self.operator = operator
        self.precedence = precedence
        self.assoc = assoc

    def text(self, node: Apply, operands: list[str]) -> str:
        """See `Printer.text`."""
        if len(operands) == 1:
            return f"({self.operator}{operands[0]})"
        return "(" + f" {self.operator} ".join(operands) + ")"


class PatternPrinter(Printer):
    """A text with holes: ``PatternPrinter(("|%(0)s|", -1000))``; the first pattern is used."""

    def __init__(self, *patterns: Any) -> None:
        self.patterns = [(p, ()) if isinstance(p, str) else (p[0], p[1:]) for p in patterns]

    def text(self, node: Apply, operands: list[str]) -> str:
        """See `Printer.text`."""
        return str(self.patterns[0][0] % {str(k): text for k, text in enumerate(operands)})


class FunctionPrinter(Printer):
    """``name(a, b)``; of several names each output takes its own."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def process(self, output: Variable, pstate: PrinterState) -> str:
        """See `Printer.process`."""
        node = output.owner
        if node is None:
            raise TypeError(f"{output} is not the result of an operation")
        name = self.names[(output.index or 0) % len(self.names)]
        operands = [pstate.pprinter.process(operand, pstate) for operand in node.inputs]
        return f"{name}({', '.join(operands)})"


class MemberPrinter(Printer):
    """``a.name``."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def text(self, node: Apply, operands: list[str]) -> str:
        """See `Printer.text`."""
        return f"{operands[0]}.{self.names[0]}"


class IgnorePrinter(Printer):
    """The operand itself."""

    def text(self, node: Apply, operands: list[str]) -> str:
        """See `Printer.text`."""
        return operands[0]


class DefaultPrinter(Printer):
    """``Op{...}(a, b)``."""

    def process(self, output: Variable, pstate: PrinterState) -> str:
        """See `Printer.process`."""
        if output.owner is None:
            return leaf_printer.process(output, pstate)
        return super().process(output, pstate)

    def text(self, node: Apply, operands: list[str]) -> str:
        """See `Printer.text`."""
        return f"{node.op}({', '.join(operands)})"


class LeafPrinter(Printer):
    """Inputs and constants by their names."""

    def process(self, output: Variable, pstate: PrinterState) -> str:
        """See `Printer.process`."""
        if output.name in GREEK and not isinstance(output, Constant):
            return GREEK[output.name]
        return str(output)


leaf_printer = LeafPrinter()
default_printer = DefaultPrinter()


class _ElementwisePrinter(Printer):
    def text(self, node: Apply, operands: list[str]) -> str:
        name = str(node.op)
        if name.startswith("Elemwise{Cast{"):
            name = name[len("Elemwise{Cast{") :].rstrip("}")
        elif name.startswith("Elemwise{"):
            name = name[len("Elemwise{") :].split(",")[0]
        return f"{name}({', '.join(operands)})"


class _DimShufflePrinter(Printer):
    """Axes added on the left and none moved: nothing to see; reversed: ``.T``."""

    def text(self, node: Apply, operands: list[str]) -> str:
        order = list(node.op.new_order)
        while order and order[0] == "x":
            order.pop(0)
        natural = list(range(node.inputs[0].type.ndim))
        if order == natural:
            return operands[0]
        if order == natural[::-1]:
            return f"{operands[0]}.T"
        return f"DimShuffle{{{', '.join(map(str, order))}}}({operands[0]})"


class _SizesPrinter(Printer):
    """Ops with a shape in separate operands, where Theano has one vector."""

    def text(self, node: Apply, operands: list[str]) -> str:
        from ltensor.ir.build import constant

        sizes = node.inputs[1:]
        known = [int(size.data) for size in sizes if isinstance(size, Constant)]
        if sizes and len(known) == len(sizes):
            vector = str(constant(known, dtype="int64"))
        else:
            vector = f"[{', '.join(operands[1:])}]"
        return f"{node.op}({operands[0]}, {vector})"


class _VectorPrinter(Printer):
    def text(self, node: Apply, operands: list[str]) -> str:
        return f"[{', '.join(operands)}]"


class _IndexPrinter(Printer):
    """``x[i, 1:n]``."""

    def text(self, node: Apply, operands: list[str]) -> str:
        from ltensor.ops.slicing import resolve

        entries = resolve(node.op.pattern, operands[1:])
        return f"{operands[0]}[{', '.join(map(_entry_text, entries))}]"


def _entry_text(entry: Any) -> str:
    if not isinstance(entry, tuple):
        return _number_text(entry)
    start, stop, step = ("" if part is None else _number_text(part) for part in entry)
    return f"{'' if start == '0' else start}:{stop}" + (f":{step}" if step else "")


def _number_text(part: Any) -> str:
    text = str(part)
    # a scalar constant stands for its number
    return text[15:-1] if text.startswith("TensorConstant{") else text


#: Printers by the name of an operation (``op.ir_name``).
_BY_NAME: dict[str, Printer] = {
    "abs": PatternPrinter(("|%(0)s|", -1000)),
    "add": OperatorPrinter("+", -2, "either"),
    "alloc": FunctionPrinter("alloc"),
    "dimshuffle": _DimShufflePrinter(),
    "dot": OperatorPrinter("\\dot", -1, "left"),
    "int_div": OperatorPrinter("//", -1, "left"),
    "join": FunctionPrinter("join"),
    "make_vector": _VectorPrinter(),
    "mul": OperatorPrinter("*", -1, "either"),
    "neg": OperatorPrinter("-", 0, "either"),
    "pow": OperatorPrinter("**", 1, "right"),
    "reshape": _SizesPrinter(),
    "second": FunctionPrinter("fill"),
    "shape": MemberPrinter("shape"),
    "sub": OperatorPrinter("-", -2, "left"),
    "subtensor": _IndexPrinter(),
    "true_div": OperatorPrinter("/", -1, "left"),
}
_ELEMENTWISE = _ElementwisePrinter()


class PPrinter:
    """Prints expressions by a table of printers, to which programs may add.

    Attributes
    ----------
    printers : list of (condition, printer)
        Tried in order; ``condition(pstate, variable)`` says whether to use the printer.
    printers_dict : dict
        Printers by op or by class of op; tried first.
    """

    def __init__(self) -> None:
        self.printers: list[tuple[Callable[[PrinterState, Variable], Any], Any]] = []
        self.printers_dict: dict[Any, Any] = {}

    def assign(self, condition: Any, printer: Any) -> None:
        """Use ``printer`` for an op, a class of ops, or where ``condition`` holds."""
        if isinstance(condition, (Op, type)):
            self.printers_dict[condition] = printer
        else:
            self.printers.insert(0, (condition, printer))

    def process(self, r: Any, pstate: PrinterState | None = None) -> str:
        """The text of a variable (or of a list of variables).

        Parameters
        ----------
        r : Variable, or list of them
        pstate : PrinterState, optional
            Handed on by printers that print their operands.
        """
        if isinstance(r, (list, tuple)):
            return "[" + ", ".join(self.process(item) for item in r) + "]"
        if pstate is None:
            pstate = PrinterState(self)
            # Operands first, so that long chains need no deep recursion.
            for node in toposort([r]):
                for output in node.outputs:
                    self.process(output, pstate)
        known = pstate.memo.get(r)
        if known is None:
            known = pstate.memo[r] = self._printer(r, pstate).process(r, pstate)
        return known

    def _printer(self, r: Variable, pstate: PrinterState) -> Any:
        op = None if r.owner is None else r.owner.op
        if op is not None:
            found = self.printers_dict.get(op) or self.printers_dict.get(type(op))
            if found is not None:
                return found
        for condition, printer in self.printers:
            if condition(pstate, r):
                return printer
        if op is None:
            return leaf_printer
        if getattr(op, "kind", "") == "pointwise":
            return _BY_NAME.get(op.ir_name, _ELEMENTWISE)
        return _BY_NAME.get(getattr(op, "ir_name", ""), default_printer)

    def clone(self) -> PPrinter:
        """A printer with the same table, to add to."""
        copy = PPrinter()
        copy.printers = list(self.printers)
        copy.printers_dict = dict(self.printers_dict)
        return copy

    def clone_assign(self, condition: Any, printer: Any) -> PPrinter:
        """A copy with one more printer."""
        copy = self.clone()
        copy.assign(condition, printer)
        return copy

    def process_graph(
        self,
        inputs: Any,
        outputs: Any,
        updates: dict[Variable, Variable] | None = None,
        display_inputs: bool = False,
    ) -> str:
        """Lines ``name = expression`` for the outputs and the updates."""
        listed = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        given: Sequence[Variable] = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        lines = []
        if display_inputs:
            lines.append("inputs: " + ", ".join(map(str, given)))
        lines += [f"{output.name or 'out'} = {self.process(output)}" for output in listed]
        lines += [f"{old} <- {self.process(new)}" for old, new in (updates or {}).items()]
        return "\n".join(lines)

    def __call__(self, *args: Any) -> str:
        """`process` of one argument, `process_graph` of several."""
        if len(args) == 1:
            return self.process(_outputs_of(args[0]))
        if len(args) in (2, 3):
            return self.process_graph(*args)
        raise TypeError("pprint takes a variable, or inputs, outputs and updates")


def _outputs_of(thing: Any) -> Any:
    """A compiled function stands for its output(s)."""
    maker = getattr(thing, "maker", None)
    if maker is None:
        return thing
    outputs = list(maker.fgraph.outputs)
    return outputs[0] if len(outputs) == 1 else outputs


pprint = PPrinter()
pp = pprint
