"""Instructions as LLVM IR text, for any number of lanes: what CPU and PTX renderer share."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ltensor.ir import dtypes as dt
from ltensor.lowering import vecmath
from ltensor.lowering.program import Value

_SCALARS = {
    "bool": "i1",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "i8",
    "uint16": "i16",
    "uint32": "i32",
    "uint64": "i64",
    "float16": "half",
    "float32": "float",
    "float64": "double",
    "ptr": "ptr",
}
_SUFFIX = {"float16": "f16", "float32": "f32", "float64": "f64"}


def scalar_type(dtype: str) -> str:
    """The LLVM type of one register element."""
    return _SCALARS[dtype]


def memory_type(dtype: str) -> str:
    """The LLVM type of one element in memory (bools are bytes)."""
    return _MEMORY.get(dtype) or _SCALARS[dtype]


#: elements whose form in memory is not that of the register; complex numbers are only addressed
_MEMORY = {"bool": "i8", "complex64": "i64", "complex128": "i128"}


def lanes_type(dtype: str, lanes: int, memory: bool = False) -> str:
    """The type of ``lanes`` elements."""
    element = memory_type(dtype) if memory else _SCALARS[dtype]
    return element if lanes == 1 else f"<{lanes} x {element}>"


def suffix(dtype: str, lanes: int, memory: bool = False) -> str:
    """The overload suffix of an intrinsic: ``v8f64``, ``i32``."""
    element = _SUFFIX.get(dtype) or (memory_type(dtype) if memory else _SCALARS[dtype])
    return element if lanes == 1 else f"v{lanes}{element}"


def literal(value: Any, dtype: str) -> str:
    """A constant as LLVM writes it."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype == "float64":
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    if dtype == "float32":
        try:
            rounded = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            rounded = float("inf") if value > 0 else float("-inf")
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    if dtype == "float16":
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if dtype == "ptr":
        return "null"
    bits = 8 * dt.item_size(dtype)
    value = int(value) & ((1 << bits) - 1)
    return str(value - (1 << bits) if value >> (bits - 1) else value)


_FLOAT_CMP = {
    "eq": "oeq",
    "ne": "une",
    "lt": "olt",
    "le": "ole",
    "gt": "ogt",
    "ge": "oge",
    "uno": "uno",
}
_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_UNARY = {
    "sqrt": "sqrt",
    "fabs": "fabs",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "trunc",
    "rint": "rint",
    "round": "round",
}


#: copies of a mathematical function's code in one module; further uses call it
MOST_INLINED = 12


class InstructionText:
    """Formats pure instructions; subclasses provide registers and collect the lines."""

    target = "cpu"
    fma = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declares: set[str] = set()
        #: how often each mathematical function was wanted
        self.uses: dict[tuple[str, str, int], int] = {}
        #: definitions of mathematical functions that are called
        self.functions: dict[str, str] = {}
        self._counter = 0

    def fresh(self) -> str:
        """A new register name."""
        self._counter += 1
        return f"%v{self._counter}"

    def label(self, hint: str) -> str:
        """A new block label."""
        self._counter += 1
        return f"{hint}{self._counter}"

    def put(self, text: str) -> str:
        """Append ``register = text`` and return the register."""
        register = self.fresh()
        self.lines.append(f"  {register} = {text}")
        return register

    def line(self, text: str) -> None:
        """Append a statement."""
        self.lines.append("  " + text)

    def intrinsic(self, name: str, result: str, types: Sequence[str], args: Sequence[str]) -> str:
        """Call an LLVM intrinsic."""
        self.declares.add(f"declare {result} @{name}({', '.join(types)})")
        inside = ", ".join(f"{t} {a}" for t, a in zip(types, args, strict=True))
        return self.put(f"call {result} @{name}({inside})")

    def compute(self, value: Value, args: Sequence[str], lanes: int) -> str:
        """A pure instruction on operand registers of ``lanes`` lanes."""
        op, dtype = value.op, value.dtype
        kind = lanes_type(dtype, lanes)
        first = value.args[0].dtype if value.args else dtype
        floating = first.startswith("float")
        if op in ("add", "sub", "mul", "div", "rem"):
            if floating:
                # a product and a sum may fuse, as C compilers do by default
                return self.put(f"{_FLOAT_OPS[op]} contract {kind} {args[0]}, {args[1]}")
            if op in ("div", "rem"):
                if lanes > 1 and value.args[1].op != "const" and dt.item_size(first) < 8:
                    return self._divide_lanes(op, first, args, lanes)
                op = ("s" if first.startswith("int") else "u") + op
            return self.put(f"{op} {kind} {args[0]}, {args[1]}")
        if op in ("and", "or", "xor", "lshr", "ashr"):
            return self.put(f"{op} {kind} {args[0]}, {args[1]}")
        if op == "neg":
            return self.put(f"fneg {kind} {args[0]}")
        if op == "cmp":
            return self._compare(value.attr, first, args, lanes)
        if op == "select":
            mask = lanes_type("bool", lanes)
            return self.put(f"select {mask} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")
        if op == "cast":
            return self._cast(first, dtype, args[0], lanes)
        if op in ("max", "min"):
            if floating:
                name = "maximum" if op == "max" else "minimum"
                return self._extremum(name, kind, dtype, args, lanes)
            sign = "s" if first.startswith("int") else "u"
            name = f"llvm.{sign}{op}.{suffix(dtype, lanes)}"
            return self.intrinsic(name, kind, (kind, kind), args)
        if op in _UNARY:
            return self.intrinsic(f"llvm.{_UNARY[op]}.{suffix(dtype, lanes)}", kind, (kind,), args)
        if op == "copysign":
            return self.intrinsic(f"llvm.copysign.{suffix(dtype, lanes)}", kind, (kind, kind), args)
        if op == "frem":
            return self.put(f"frem {kind} {args[0]}, {args[1]}")
        if op == "math":
            return self.function(value.attr, dtype, lanes, args)
        if op == "packed":
            return self._packed(value, args)
        if op == "lane":
            lane, count = value.attr
            return self.put(f"extractelement {lanes_type(dtype, count)} {args[0]}, i64 {lane}")
        raise NotImplementedError(f"instruction {op} of {dtype}")

    def _divide_lanes(self, op: str, dtype: str, args: Sequence[str], lanes: int) -> str:
        """A quotient or remainder of integers, which no machine divides in lanes.

        A float with twice as many bits tells a quotient just below a whole number from it.
        """
        kind, signed = lanes_type(dtype, lanes), dtype.startswith("int")
        wide = lanes_type("float32" if dt.item_size(dtype) < 4 else "float64", lanes)
        a, b = (self.put(f"{'s' if signed else 'u'}itofp {kind} {x} to {wide}") for x in args)
        ratio = self.put(f"fdiv {wide} {a}, {b}")
        quotient = self.put(f"fpto{'s' if signed else 'u'}i {wide} {ratio} to {kind}")
        if op == "div":
            return quotient
        whole = self.put(f"mul {kind} {quotient}, {args[1]}")
        return self.put(f"sub {kind} {args[0]}, {whole}")

    def _packed(self, value: Value, args: Sequence[str]) -> str:
        """An instruction on several scalars at once, in the lanes of one register."""
        op, attr, lanes = value.attr
        vectors = []
        for start in range(0, len(args), lanes):
            element = scalar_type(value.args[start].dtype)
            kind = lanes_type(value.args[start].dtype, lanes)
            vector = "poison"
            for lane, register in enumerate(args[start : start + lanes]):
                vector = self.put(
                    f"insertelement {kind} {vector}, {element} {register}, i64 {lane}"
                )
            vectors.append(vector)
        inside = Value(op, value.dtype, value.args[::lanes], attr, value.scope, value.owner)
        return self.compute(inside, vectors, lanes)

    def _extremum(self, name: str, kind: str, dtype: str, args: Sequence[str], lanes: int) -> str:
        # what x86 does in three instructions: its extremum gives the first operand if either is
        # NaN, so only the second's NaN is left; in a reduction no comparison with it waits
        test = "ogt" if name == "maximum" else "olt"
        mask = lanes_type("bool", lanes)
        better = self.put(f"fcmp {test} {kind} {args[1]}, {args[0]}")
        known = self.put(f"select {mask} {better}, {kind} {args[1]}, {kind} {args[0]}")
        unknown = self.put(f"fcmp uno {kind} {args[1]}, {args[1]}")
        return self.put(f"select {mask} {unknown}, {kind} {args[1]}, {kind} {known}")

    def function(self, name: str, dtype: str, lanes: int, args: Sequence[str]) -> str:
        """A mathematical function: in place, or called if it skips rare work by branches."""
        uses = self.uses[name, dtype, lanes] = self.uses.get((name, dtype, lanes), 0) + 1
        if name in vecmath.WITH_RARE_BRANCH or uses > MOST_INLINED:
            return self._called_function(name, dtype, lanes, args)
        lines, result, declares = vecmath.emit_inline(
            name, dtype, lanes, list(args), self.fresh, fma=self.fma, target=self.target
        )
        self.lines.extend(lines)
        self.declares |= declares
        return result

    def _called_function(self, name: str, dtype: str, lanes: int, args: Sequence[str]) -> str:
        symbol = vecmath.symbol(name, dtype, lanes)
        if symbol not in self.functions:
            _, text, _, declares = vecmath.emit_function(
                name, dtype, lanes, fma=self.fma, target=self.target
            )
            self.functions[symbol] = text.replace("#lt_math", "nounwind")
            self.declares |= declares
        kind = lanes_type(dtype, lanes)
        inside = ", ".join(f"{kind} {a}" for a in args)
        return self.put(f'call {kind} @"{symbol}"({inside})')

    def _compare(self, test: str, dtype: str, args: Sequence[str], lanes: int) -> str:
        kind = lanes_type(dtype, lanes)
        if dtype.startswith("float"):
            return self.put(f"fcmp {_FLOAT_CMP[test]} {kind} {args[0]}, {args[1]}")
        if test not in ("eq", "ne"):
            test = ("s" if dtype.startswith("int") else "u") + test
        return self.put(f"icmp {test} {kind} {args[0]}, {args[1]}")

    def _cast(self, source: str, target: str, arg: str, lanes: int) -> str:
        a, b = lanes_type(source, lanes), lanes_type(target, lanes)
        from_float, to_float = source.startswith("float"), target.startswith("float")
        signed = source.startswith("int")
        if from_float and to_float:
            op = "fpext" if dt.item_size(target) > dt.item_size(source) else "fptrunc"
        elif from_float:
            op = "fptosi" if target.startswith("int") else "fptoui"
        elif to_float:
            op = "sitofp" if signed else "uitofp"
        else:
            bits_from = 1 if source == "bool" else 8 * dt.item_size(source)
            bits_to = 8 * dt.item_size(target)
            if bits_from == bits_to:
                return arg
            op = "trunc" if bits_to < bits_from else ("sext" if signed else "zext")
        return self.put(f"{op} {a} {arg} to {b}")
