"""What the convolution operations share: attributes, checks, and the loops around the products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ltensor.errors import UnsupportedError
from ltensor.ir import dtypes as dt
from ltensor.ir.build import as_tensor, constant_value
from ltensor.ir.graph import Variable
from ltensor.ops.conv_loops import Geometry, NativeSizes, zero_fill
from ltensor.ops.linalg import (
    convert_into,
    converted,
    product_symbol,
    scalar_arguments,
)
from ltensor.ops.opdef import DeclaredOp
from ltensor.ops.shape import vector_length

#: rank -> the classes ``forward``, ``grad_weights`` and ``grad_inputs``; filled by ``conv``
FAMILIES: dict[int, dict[str, Any]] = {}


def normalize_border(border: Any, rank: int) -> Any:
    """A border mode as text, or as a pair of ints per dimension.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(border, str):
        if border not in ("valid", "full", "half"):
            raise ValueError(
                f"invalid border_mode {border}, which must be either 'valid', 'full', 'half', an "
                f"integer or a tuple of {rank} integers or pairs of integers"
            )
        return border
    if isinstance(border, (int, np.integer)):
        border = (int(border),) * rank
    if not isinstance(border, (tuple, list)) or len(border) != rank:
        raise ValueError(f"invalid border_mode {border}: {rank} dimensions are padded")
    pairs = []
    for pad in border:
        pair = (pad, pad) if isinstance(pad, (int, np.integer)) else tuple(pad)
        if len(pair) != 2 or any(int(p) < 0 for p in pair):
            raise ValueError(f"invalid border_mode {border}: padding must not be negative")
        pairs.append((int(pair[0]), int(pair[1])))
    return tuple(pairs)


def _tuple_of(value: Any, rank: int, name: str) -> tuple[int, ...]:
    if isinstance(value, (int, np.integer)):
        value = (value,) * rank
    result = tuple(int(v) for v in value)
    if len(result) != rank or any(v < 1 for v in result):
        raise ValueError(f"{name} must be {rank} positive integers, not {value}")
    return result


def _known_shape(shape: Any) -> tuple[int | None, ...] | None:
    """A shape hint as ints and None."""
    if shape is None:
        return None
    sizes: list[int | None] = []
    for size in shape:
        known = size if size is None else constant_value(as_tensor(size))
        sizes.append(None if known is None else int(known))
    return tuple(sizes)


class BaseConv(DeclaredOp):
    """What the three operations share: the attributes and the operands' types.

    Parameters
    ----------
    imshp, kshp : tuple, optional
        Shape hints for images and filters, as Theano takes them; not relied upon.
    border_mode : str, int or tuple
        ``'valid'``, ``'full'``, ``'half'``, or the padding per dimension: an int for both sides or
        a pair.
    subsample, filter_dilation : tuple of int
        Step of the result's and of the filters' places.
    filter_flip : bool
        True for a convolution, False for a correlation.
    num_groups : int
        Channels are cut into this many groups that do not mix.
    """

    __props__ = ("border_mode", "subsample", "filter_flip", "filter_dilation", "num_groups")
    kind = "kernel"
    dense_operands = True
    convdim: ClassVar[int] = 2

    def __init__(
        self,
        imshp: Any = None,
        kshp: Any = None,
        border_mode: Any = "valid",
        subsample: Any = None,
        filter_flip: bool = True,
        filter_dilation: Any = None,
        num_groups: int = 1,
        unshared: bool = False,
        convdim: int | None = None,
    ) -> None:
        if unshared:
            raise UnsupportedError(
                "unshared convolution is not compiled. Cut patches with images2neibs and multiply "
                "them by the filters of each place (batched_dot)."
            )
        rank = self.convdim
        if convdim not in (None, rank):
            raise ValueError(f"{type(self).__name__} has {rank} spatial dimensions, not {convdim}")
        if num_groups < 1:
            raise ValueError("num_groups must be at least 1")
        self.border_mode = normalize_border(border_mode, rank)
        self.subsample = _tuple_of(
            (1,) * rank if subsample is None else subsample, rank, "subsample"
        )
        dilation = (1,) * rank if filter_dilation is None else filter_dilation
        self.filter_dilation = _tuple_of(dilation, rank, "filter_dilation")
        self.filter_flip = bool(filter_flip)
        self.num_groups = int(num_groups)
        self.imshp, self.kshp = _known_shape(imshp), _known_shape(kshp)
        self.unshared = False

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__props__)
        return f"{type(self).__name__}{{{inside}}}"

    @property
    def geometry(self) -> Geometry:
        """The attributes without hints."""
        return Geometry(
            self.border_mode,
            self.subsample,
            self.filter_dilation,
            self.filter_flip,
            self.num_groups,
        )

    def sibling(self, name: str) -> Any:
        """The operation ``forward``, ``grad_weights`` or ``grad_inputs`` with these attributes."""
        return FAMILIES[self.convdim][name](
            self.imshp, self.kshp, self.border_mode, self.subsample, self.filter_flip,
            self.filter_dilation, self.num_groups,
        )  # fmt: skip

    def operands(self, *values: Any) -> list[Variable]:
        """The two operands in their common dtype; errors name what is wrong."""
        from ltensor.ops.cast import cast

        variables = [as_tensor(v) for v in values]
        for v in variables:
            if v.type.ndim != 2 + self.convdim:
                raise TypeError(f"{type(self).__name__}: {v} must be {2 + self.convdim}D tensor")
        common = dt.upcast(*(v.type.dtype for v in variables))
        if common == "bool":
            raise TypeError("convolution of bools: cast them to int8 first")
        if dt.is_complex(common):
            raise UnsupportedError(
                "convolution of complex numbers is not compiled. Convolve real(x) and imag(x)."
            )
        return [cast(v, common) for v in variables]

    def spatial(self, shape: Any) -> list[Variable]:
        """The sizes given to a gradient as int64 scalars."""
        from ltensor.ops.alloc import as_sizes
        from ltensor.ops.cast import cast
        from ltensor.ops.indexing import getitem

        if isinstance(shape, Variable) and shape.type.ndim == 1 and vector_length(shape) is None:
            shape = [getitem(shape, axis) for axis in range(self.convdim)]
        sizes = [cast(s, "int64") for s in as_sizes(shape)]
        if len(sizes) != self.convdim:
            raise ValueError(f"shape must have {self.convdim} elements, not {len(sizes)}")
        return sizes

    # ---------------------------------------------------------------- lowering

    def check_places(self, k: Any, image: Any, kernel: Any, out: Any) -> None:
        """Positive sizes that fit each other."""
        sizes = NativeSizes(k.b)
        for axis in range(self.convdim):
            want = self.geometry.output_size(sizes, axis, image[axis], kernel[axis])
            record = (out[axis], want, image[axis], kernel[axis])
            k.check(k.b.eq(out[axis], want), "conv_size", record, (axis,))

    def check_channels(self, k: Any, have: Any, want: Any, what: str) -> None:
        """Channels of two operands fit, and the groups divide them."""
        k.check(k.b.eq(have, want), "conv_channels", (have, want), (what,))

    def check_groups(self, k: Any, count: Any, what: str) -> None:
        """The groups divide a number of channels."""
        if self.num_groups > 1:
            rest = k.b.remainder(count, self.num_groups)
            k.check(k.b.eq(rest, 0), "conv_groups", (count,), (what, self.num_groups))


class Product:
    """A product of matrices in buffers, one group of channels at a time."""

    def __init__(self, k: Any, dtype: str) -> None:
        self.b = k.b
        self.dtype = dtype

    def __call__(self, m: Any, n: Any, depth: Any, x: Any, y: Any, z: Any, beta: Any) -> None:
        """``z = x y + beta z``: operands are (view, offset, row stride, column stride).

        ``beta`` is a number or a scalar of the dtype.
        """
        b = self.b
        arguments = []
        for view, offset, row, column in (x, y):
            arguments += [b.shifted(view, offset), row, column]
        view, offset, row = z
        arguments += [b.shifted(view, offset), row]
        lifted = [b.const(a) if isinstance(a, int) else a for a in (m, n, depth, *arguments)]
        scalars = scalar_arguments(b, self.dtype, 1, beta if isinstance(beta, int) else 0)
        if not isinstance(beta, int):
            scalars[-1] = beta
        b.call(product_symbol(self.dtype), [*lifted, *scalars])


class Frame:
    """Operands in the working dtype, and the loops over images and groups."""

    def __init__(self, op: BaseConv, k: Any, dtype: str) -> None:
        self.op, self.k, self.b = op, k, k.b
        self.dtype = dt.work_dtype(dtype)
        self.multiply = Product(k, self.dtype)

    def operand(self, position: int) -> Any:
        """An operand in the working dtype."""
        return converted(self.b, self.k.operand(position), self.dtype)

    def target(self) -> Any:
        """A dense buffer in the working dtype for the result."""
        self.result = self.k.output(0)
        if self.result.dtype == self.dtype and self.result.dense:
            return self.result
        return self.b.temporary(self.dtype, self.result.dims)

    def finish(self, target: Any) -> None:
        """Convert into the result if it was computed elsewhere."""
        if target is not self.result:
            convert_into(self.b, self.result, target)

    def sum_images(
        self, images: Any, out: Any, add_image: Callable[[Any, Any, Any], None], label: str
    ) -> None:
        """Sum over images: ``add_image(number, total, offset)`` adds an image's share.

        Every thread that there may be sums some of the images for itself.
        """
        b, threads = self.b, self.b.threads
        if threads < 2:
            zero_fill(b, out)
            with b.loop(images, label=label) as loop:
                add_image(loop.index, out, b.const(0))
            return
        size = b.size(out.dims)
        totals = b.temporary(self.dtype, [b.const(threads), size])
        share = b.int_divide(b.add(images, threads - 1), b.const(threads))
        # sizes inside are those of blocks, not known here: such as pay for threads
        with b.loop(threads, parallel=True, label=label, inner_steps=b.const(32)) as part:
            with b.loop(size, kind="vector") as loop:
                b.store(totals, [part.index, loop.index], b.const(0, self.dtype))
            first = b.mul(part.index, share)
            with b.loop(b.min(share, b.sub(images, first))) as loop:
                add_image(b.add(first, loop.index), totals, b.mul(part.index, size))
        flat = type(out)(out.dtype, out.pointer, (size,), None, out.offset)
        with b.loop(size, kind="vector", parallel=True) as loop:
            total = b.load(totals, [b.const(0), loop.index])
            for number in range(1, threads):
                total = b.add(total, b.load(totals, [b.const(number), loop.index]))
            b.store(flat, [loop.index], total)

    def share(self, count: Any) -> Any:
        """The part of a number of channels that belongs to one group."""
        groups = self.op.num_groups
        return count if groups == 1 else self.b.int_divide(count, groups)
