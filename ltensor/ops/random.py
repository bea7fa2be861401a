"""Draws from a Mersenne Twister, bit for bit those of `numpy.random.RandomState`.

`RandomFunction` takes a random state, the sizes of the draw and the distribution's parameters,
and gives the state after the draw and the sample. The state it is given is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant, constant_value
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import (
    NullType,
    RandomStateType,
    TensorType,
    disconnected_type,
    random_state_type,
    tensor_type,
)
from ltensor.ops.opdef import Declaration, DeclaredOp, declare
from ltensor.ops.random_draws import CHUNK, METHODS, Method, copy_state
from ltensor.ops.uniform_draw import checked_dims

STATE_WORDS = 640


class RandomFunction(DeclaredOp):
    """One draw of a distribution.

    Parameters
    ----------
    fn : str or callable
        A name in `ltensor.ops.random_draws.METHODS`, Theano's name of it, or a function of
        that name.
    outtype : TensorType
        The type of the sample.
    inplace : bool
        Accepted and ignored: whether a state is overwritten is the compiler's concern.
    ndim_added : int
        Axes that one draw has itself; known from ``fn``.
    """

    __props__ = ("method", "dtype", "pattern")
    kind = "kernel"
    ir_name = "random"

    def __init__(
        self, fn: Any, outtype: TensorType, inplace: bool = False, ndim_added: int = 0
    ) -> None:
        name = fn if isinstance(fn, str) else getattr(fn, "__name__", str(fn))
        found = [key for key, m in METHODS.items() if name in (key, m.shown)]
        if not found:
            raise UnsupportedError(
                f"RandomFunction: no distribution {name!r}; there are {sorted(METHODS)}. Build "
                f"others of these by expressions, or write an Op with a perform method."
            )
        self.method = found[0]
        self.dtype = outtype.dtype
        self.pattern = outtype.broadcastable
        if dt.is_complex(self.dtype):
            raise TypeError(f"a random sample cannot be {self.dtype}")

    def __str__(self) -> str:
        return f"RandomFunction{{{self.spec.shown}}}"

    __repr__ = __str__

    @property
    def spec(self) -> Method:
        """The distribution."""
        return METHODS[self.method]

    @property
    def ndim_added(self) -> int:
        """Axes that one draw has itself."""
        return self.spec.added

    @property
    def outtype(self) -> TensorType:
        """The type of the sample, without known sizes."""
        return TensorType(self.dtype, self.pattern)

    @property
    def sizes(self) -> int:
        """How many inputs after the state are sizes."""
        return len(self.pattern) - self.spec.added

    # ------------------------------------------------------------------ building

    def make_node(self, rng: Any, *args: Any) -> Apply:
        """From (rng, sizes..., parameters...), or Theano's (rng, size vector, parameters...)."""
        if not isinstance(rng, Variable) or not isinstance(rng.type, RandomStateType):
            raise TypeError(f"the first argument of {self} must be a random state, not {rng}")
        operands = list(args)
        if len(operands) == 1 + self.spec.parameters and _is_vector(operands[0]):
            operands[:1] = _sizes_of(operands[0], self.sizes)
        if len(operands) != self.sizes + self.spec.parameters:
            raise TypeError(
                f"{self} takes {self.sizes} sizes and {self.spec.parameters} parameters, "
                f"got {len(operands)} arguments"
            )
        variables = [as_tensor(v) for v in operands]
        for v in variables[: self.sizes]:
            if v.type.ndim or not dt.is_integer(v.type.dtype):
                raise TypeError("shape must be an integer vector or list", v, v.type.dtype)
        for v in variables[self.sizes :]:
            if dt.is_complex(v.type.dtype):
                raise TypeError(f"{self}: a parameter cannot be complex: {v}")
        self._check_ranks(variables[self.sizes :])
        shape: list[int | None] = []
        for flag, size in zip(self.pattern, self._size_variables(variables), strict=True):
            known = None if size is None else constant_value(size)
            exact = None if known is None or int(known) < 0 else int(known)
            if flag and exact not in (None, 1):
                raise ValueError(f"{self}: size {exact} where the type declares 1")
            shape.append(1 if flag else (None if exact == 1 else exact))
        sample = tensor_type(self.dtype, tuple(shape)).make_variable()
        return Apply(self, [rng, *variables], [random_state_type.make_variable(), sample])

    def _check_ranks(self, parameters: Sequence[Variable]) -> None:
        limits = [self.sizes] * len(parameters)
        if self.method == "choice":
            limits = [1, 0, 1]
            if parameters[2].type.ndim != 1:
                raise ValueError(f"p.ndim ({parameters[2].type.ndim}) must be 1")
        elif self.method == "permutation":
            limits = [0]
        elif self.method == "multinomial":
            limits = [self.sizes, self.sizes + 1]
            if parameters[1].type.ndim == 0:
                raise ValueError("pvals must have a dimension of categories")
        for variable, limit in zip(parameters, limits, strict=True):
            extra = variable.type.ndim - limit
            if extra > 0 and not (limit == 0 and all(variable.type.broadcastable)):
                raise ValueError(
                    f"{self}: parameter {variable} has {variable.type.ndim} dimensions, "
                    f"at most {limit} fit the size of the draw"
                )

    def _size_variables(self, variables: Sequence[Variable]) -> list[Variable | None]:
        sizes: list[Variable | None] = list(variables[: self.sizes])
        if self.method == "permutation":
            n = variables[self.sizes]
            sizes.append(n if n.type.ndim == 0 else None)
        elif self.method == "multinomial":
            pvals = variables[self.sizes + 1]
            last = pvals.type.shape[-1]
            sizes.append(None if last is None else constant(last, dtype="int64"))
        return sizes

    # ------------------------------------------------------------------ meaning

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        state = copy_state(inputs[0])
        shape = tuple(int(s) for s in inputs[1 : 1 + self.sizes])
        sample = self.spec.reference(state, shape, *inputs[1 + self.sizes :])
        output_storage[0][0] = state
        with np.errstate(all="ignore"):
            output_storage[1][0] = np.asarray(sample).astype(self.dtype)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        from ltensor.ops.cast import cast

        sizes = [cast(s, "int64") for s in node.inputs[1 : 1 + self.sizes]]
        first = 1 + self.sizes
        if self.method == "permutation":
            n = node.inputs[first]
            sizes.append(cast(n if n.type.ndim == 0 else n[(0,) * n.type.ndim], "int64"))
        elif self.method == "multinomial":
            sizes.append(shapes[first + 1][-1])
        return [None, tuple(sizes)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        shape = [[False, False] for _ in range(1 + self.sizes)]
        return [*shape, *[[False, True] for _ in range(self.spec.parameters)]]

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: Any) -> list[Any]:
        result = [disconnected_type.make_variable() for _ in range(1 + self.sizes)]
        for number, variable in enumerate(inputs[1 + self.sizes :]):
            # Theano's numbering: the state, the vector of sizes, then the parameters
            text = (
                f"This variable is Null because the grad method for input {number + 2} "
                f"({variable}) of the {self} op is mathematically undefined. "
                "No gradient defined through raw random numbers op"
            )
            result.append(NullType(text).make_variable())
        return result

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return [None, None]

    # ------------------------------------------------------------------ native code

    def lower(self, k: Any) -> None:
        b, spec = k.b, self.spec
        dims = self._checked_dims(k)
        state = b.temporary("uint32", (b.const(STATE_WORDS),))
        b.memcpy(state.pointer, b.shifted(k.operand(0), 0), b.const(4 * STATE_WORDS))
        count = b.size(dims)
        draw = spec.prepare(k, 1 + self.sizes, dims, state.pointer)
        population = k.node.inputs[1 + self.sizes] if self.method == "choice" else None
        gathers = population is not None and population.type.ndim == 1
        exact = self.dtype == spec.dtype and not gathers
        if not dims:
            one = b.temporary(spec.dtype, (b.const(1),))
            self._succeed(k, draw(one.pointer, b.const(0), count))
            value = b.load(one, (0,))
            if gathers:
                value = b.load(k.operand(1 + self.sizes), (value,))
            k.result(b.cast(value, self.dtype), 1)
        else:
            target = k.output(1, dims)
            if exact and target.dense:
                self._succeed(k, draw(b.shifted(target, 0), b.const(0), count))
            elif spec.whole or not target.dense:
                drawn = b.temporary(spec.dtype, dims)
                self._succeed(k, draw(drawn.pointer, b.const(0), count))
                source = k.operand(1 + self.sizes) if gathers else None
                with ExitStack() as stack:
                    index = []
                    for axis, dim in enumerate(dims):
                        kind = "vector" if axis == len(dims) - 1 else "serial"
                        index.append(stack.enter_context(b.loop(dim, kind=kind)).index)
                    value = b.load(drawn, index)
                    if source is not None:
                        value = b.load(source, (value,))
                    b.store(target, index, b.cast(value, self.dtype))
            else:
                self._in_chunks(k, draw, target, count)
        k.result(state, 0)

    def _checked_dims(self, k: Any) -> list[Any]:
        b, dims = k.b, checked_dims(k)
        for flag, given in zip(self.pattern, k.node.inputs[1 : 1 + self.sizes], strict=False):
            if flag and constant_value(given) is None:
                size = b.cast(k.block.scalar(given), "int64")
                k.check(b.eq(size, 1), "random_shape", (size, b.const(1)), (0,))
        return dims

    def _in_chunks(self, k: Any, draw: Any, target: Any, count: Any) -> None:
        """Draw in the native dtype into a buffer that stays in cache, and convert from there."""
        b = k.b
        buffer = b.temporary(self.spec.dtype, (b.const(CHUNK),))
        base = b.shifted(target, 0)
        flat = type(target)(self.dtype, base, (count,))
        chunks = b.int_divide(b.add(count, CHUNK - 1), CHUNK)
        with b.loop(chunks) as outer:
            start = b.mul(outer.index, CHUNK)
            length = b.min(b.sub(count, start), CHUNK)
            self._succeed(k, draw(buffer.pointer, start, length))
            with b.loop(length, kind="vector") as inner:
                value = b.load(buffer, (inner.index,))
                b.store(flat, (b.add(start, inner.index),), b.cast(value, self.dtype))

    def _succeed(self, k: Any, status: Any) -> None:
        b = k.b
        if self.method == "uniform":
            k.check(b.ne(status, 2), "random_overflow")
        if self.method == "choice":
            k.check(b.ne(status, 3), "random_size")
        k.check(b.eq(status, 0), "random", (), (self.method, self.spec.domain))

    def attributes(self) -> dict[str, Any]:
        return {"method": self.method, "dtype": self.dtype, "pattern": self.pattern}


def _make(method: str, dtype: str, pattern: Sequence[bool]) -> RandomFunction:
    return RandomFunction(method, TensorType(dtype, tuple(pattern)))


def _is_vector(value: Any) -> bool:
    if value is None or isinstance(value, (list, tuple)):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Variable) and getattr(value.type, "ndim", 0) == 1


def _sizes_of(value: Any, count: int) -> list[Variable]:
    from ltensor.ops.shape import split_sizes

    if value is None:
        value = []
    if isinstance(value, Variable):
        return split_sizes(value, count)
    return [as_tensor(int(s) if isinstance(s, np.integer) else s) for s in value]


declare(
    Declaration(
        "random",
        "A draw from a Mersenne Twister state.",
        _make,
        differentiable=False,
    )
)
