"""Convolution in two and three dimensions: the three operations that are each other's gradients.

``conv2d`` (images, filters), ``conv2d_grad_weights`` (images, gradient of the result) and
``conv2d_grad_inputs`` (filters, gradient of the result) are linear in both operands, so a gradient
of any order is made of the same three. The functions programs call stand in ``conv_api``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ltensor.ir import dtypes as dt
from ltensor.ir.graph import Apply, Variable
from ltensor.ir.types import disconnected_type
from ltensor.ops.conv_base import FAMILIES, BaseConv, Frame
from ltensor.ops.conv_columns import Columns
from ltensor.ops.conv_loops import (
    Geometry,
    GraphSizes,
    NativeSizes,
    PlainSizes,
    forward_reference,
    inputs_reference,
    weights_reference,
    zero_fill,
)
from ltensor.ops.opdef import Declaration, Sample, declare, new_tensor
from ltensor.ops.samples import draw
from ltensor.ops.shape import dims_of, set_flags


class AbstractConv(BaseConv):
    """Convolution of images (batch, channels, ...) with filters (filters, channels, ...)."""

    def make_node(self, img: Any, kern: Any) -> Apply:
        img, kern = self.operands(img, kern)
        shape = [img.type.shape[0], kern.type.shape[0]]
        sizes: list[int | None] = [1 if s == 1 else None for s in shape]
        result = new_tensor(img.type.dtype, [*sizes, *[None] * self.convdim])
        return Apply(self, [img, kern], [result])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        img, kern = shapes
        places = [
            self.geometry.output_size(GraphSizes, axis, img[2 + axis], kern[2 + axis])
            for axis in range(self.convdim)
        ]
        return [(img[0], kern[0], *places)]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        img, kern = inputs
        if img.shape[1] != kern.shape[1] * self.num_groups:
            raise ValueError(
                f"the images have {img.shape[1]} channels, the filters take "
                f"{kern.shape[1] * self.num_groups}"
            )
        wide = dt.work_dtype(str(img.dtype))
        result = forward_reference(self.geometry, img.astype(wide), kern.astype(wide))
        output_storage[0][0] = result.astype(img.dtype)

    def lower(self, k: Any) -> None:
        b, groups = k.b, self.num_groups
        frame = Frame(self, k, k.node.outputs[0].type.dtype)
        img, kern = frame.operand(0), frame.operand(1)
        self.check_channels(k, img.dims[1], b.mul(kern.dims[1], groups), "images")
        self.check_groups(k, kern.dims[0], "filters")
        for axis in range(self.convdim):
            sizes = (img.dims[2 + axis], kern.dims[2 + axis])
            room = self.geometry.output_size(NativeSizes(b), axis, *sizes)
            k.check(b.gt(room, 0), "conv_empty", (room, *sizes), (axis,))
        out = frame.target()
        filters, channels = frame.share(kern.dims[0]), kern.dims[1]
        columns = Columns(
            b, self.geometry, frame.dtype, channels, img.dims[2:], kern.dims[2:], out.dims[2:]
        )
        loop = b.loop(img.dims[0], parallel=True, label=str(self))
        with loop as images, b.loop(groups) as group, columns.each_chunk() as (chunk, start, count):
            n, g = images.index, group.index
            channel, first = b.add(b.mul(g, channels), start), b.mul(g, filters)
            weights = b.add(b.mul(first, columns.rows), b.mul(start, columns.positions))
            target = b.mul(b.add(b.mul(n, kern.dims[0]), first), columns.places)
            beta = b.select(b.eq(chunk, 0), b.const(0, frame.dtype), b.const(1, frame.dtype))
            with columns.each_block() as block:
                block.gather(img, n, channel, count)
                frame.multiply(
                    filters, block.places, b.mul(count, columns.positions),
                    (kern, weights, columns.rows, 1), (columns.buffer, 0, columns.pitch, 1),
                    (out, b.add(target, block.start), columns.places), beta,
                )  # fmt: skip
        frame.finish(out)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        img, kern = inputs
        (g,) = output_grads
        return [
            _like(self.sibling("grad_inputs")(kern, g, dims_of(img)[2:]), img),
            _like(self.sibling("grad_weights")(img, g, dims_of(kern)[2:]), kern),
        ]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return _bilinear_rop(self, inputs, eval_points, [])


class AbstractConv_gradWeights(BaseConv):
    """The gradient of the filters: images, gradient of the result, the filters' spatial sizes."""

    def make_node(self, img: Any, topgrad: Any, shape: Any, *rest: Any) -> Apply:
        img, topgrad = self.operands(img, topgrad)
        sizes = self.spatial([shape, *rest] if rest else shape)
        flags = [topgrad.type.shape[1], img.type.shape[1] if self.num_groups == 1 else None]
        static: list[int | None] = [1 if s == 1 else None for s in flags]
        result = new_tensor(img.type.dtype, [*static, *[None] * self.convdim])
        return Apply(self, [img, topgrad, *sizes], [result])

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        channels = GraphSizes.floor_div(shapes[0][1], self.num_groups)
        return [(shapes[1][1], channels, *node.inputs[2:])]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        img, top, *sizes = inputs
        wide = dt.work_dtype(str(img.dtype))
        kernel = [int(s) for s in sizes]
        result = weights_reference(self.geometry, img.astype(wide), top.astype(wide), kernel)
        output_storage[0][0] = result.astype(img.dtype)

    def lower(self, k: Any) -> None:
        b = k.b
        frame = Frame(self, k, k.node.outputs[0].type.dtype)
        img, top = frame.operand(0), frame.operand(1)
        kernel = [k.operand(2 + axis) for axis in range(self.convdim)]
        self.check_channels(k, img.dims[0], top.dims[0], "batch")
        self.check_groups(k, img.dims[1], "channels")
        self.check_groups(k, top.dims[1], "filters")
        self.check_places(k, img.dims[2:], kernel, top.dims[2:])
        out = frame.target()
        filters, channels = frame.share(top.dims[1]), frame.share(img.dims[1])
        columns = Columns(
            b, self.geometry, frame.dtype, channels, img.dims[2:], kernel, top.dims[2:]
        )

        def add_image(n: Any, total: Any, above: Any) -> None:
            """Add what image ``n`` gives to ``total`` from element ``above`` on."""
            groups = b.loop(self.num_groups)
            with groups as group, columns.each_chunk() as (_, start, count):
                g = group.index
                channel, first = b.add(b.mul(g, channels), start), b.mul(g, filters)
                source = b.mul(b.add(b.mul(n, top.dims[1]), first), columns.places)
                target = b.add(b.mul(first, columns.rows), b.mul(start, columns.positions))
                with columns.each_block() as block:
                    block.gather(img, n, channel, count)
                    frame.multiply(
                        filters, b.mul(count, columns.positions), block.places,
                        (top, b.add(source, block.start), columns.places, 1),
                        (columns.buffer, 0, 1, columns.pitch),
                        (total, b.add(above, target), columns.rows), 1,
                    )  # fmt: skip

        frame.sum_images(img.dims[0], out, add_image, str(self))
        frame.finish(out)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        img, top, *sizes = inputs
        (g,) = output_grads
        return [
            _like(self.sibling("grad_inputs")(g, top, dims_of(img)[2:]), img),
            _like(self.sibling("forward")(img, g), top),
            *[disconnected_type.make_variable() for _ in sizes],
        ]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [True], *[[False] for _ in node.inputs[2:]]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return _bilinear_rop(self, inputs, eval_points, inputs[2:])


class AbstractConv_gradInputs(BaseConv):
    """The gradient of the images: filters, gradient of the result, the images' spatial sizes."""

    def make_node(self, kern: Any, topgrad: Any, shape: Any = None, *rest: Any) -> Apply:
        kern, topgrad = self.operands(kern, topgrad)
        if shape is None:
            shape = self._smallest(kern, topgrad)
        sizes = self.spatial([shape, *rest] if rest else shape)
        flags = [topgrad.type.shape[0], kern.type.shape[1] if self.num_groups == 1 else None]
        static: list[int | None] = [1 if s == 1 else None for s in flags]
        result = new_tensor(kern.type.dtype, [*static, *[None] * self.convdim])
        return Apply(self, [kern, topgrad, *sizes], [result])

    def _smallest(self, kern: Variable, topgrad: Variable) -> list[Any]:
        """The sizes from the hint, or the smallest that fit."""
        kernel, out = dims_of(kern)[2:], dims_of(topgrad)[2:]
        result = []
        for axis in range(self.convdim):
            hint = None if self.imshp is None else self.imshp[2 + axis]
            sizes = (out[axis], kernel[axis])
            result.append(
                self.geometry.input_size(GraphSizes, axis, *sizes) if hint is None else hint
            )
        return result

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        channels = GraphSizes.mul(shapes[0][1], self.num_groups)
        return [(shapes[1][0], channels, *node.inputs[2:])]

    def perform(self, node: Apply, inputs: list[Any], output_storage: list[list[Any]]) -> None:
        kern, top, *sizes = inputs
        wide = dt.work_dtype(str(kern.dtype))
        image = [int(s) for s in sizes]
        result = inputs_reference(self.geometry, kern.astype(wide), top.astype(wide), image)
        output_storage[0][0] = result.astype(kern.dtype)

    def lower(self, k: Any) -> None:
        b = k.b
        frame = Frame(self, k, k.node.outputs[0].type.dtype)
        kern, top = frame.operand(0), frame.operand(1)
        image = [k.operand(2 + axis) for axis in range(self.convdim)]
        self.check_channels(k, top.dims[1], kern.dims[0], "filters")
        self.check_groups(k, kern.dims[0], "filters")
        self.check_places(k, image, kern.dims[2:], top.dims[2:])
        out = frame.target()
        filters, channels = frame.share(kern.dims[0]), kern.dims[1]
        columns = Columns(
            b, self.geometry, frame.dtype, channels, image, kern.dims[2:], top.dims[2:]
        )
        loop = b.loop(top.dims[0], parallel=True, label=str(self))
        groups = b.loop(self.num_groups)
        with loop as images:
            n = images.index
            # while it is at hand
            zero_fill(b, b.row(out, n))
            with groups as group, columns.each_chunk() as (_, start, count):
                g = group.index
                channel, first = b.add(b.mul(g, channels), start), b.mul(g, filters)
                source = b.mul(b.add(b.mul(n, kern.dims[0]), first), columns.places)
                weights = b.add(b.mul(first, columns.rows), b.mul(start, columns.positions))
                with columns.each_block() as block:
                    frame.multiply(
                        b.mul(count, columns.positions), block.places, filters,
                        (kern, weights, 1, columns.rows),
                        (top, b.add(source, block.start), columns.places, 1),
                        (columns.buffer, 0, columns.pitch), 0,
                    )  # fmt: skip
                    block.scatter(out, n, channel, count)
        frame.finish(out)

    def L_op(self, inputs: list[Variable], outputs: Any, output_grads: list[Variable]) -> list[Any]:
        kern, top, *sizes = inputs
        (g,) = output_grads
        return [
            _like(self.sibling("grad_weights")(g, top, dims_of(kern)[2:]), kern),
            _like(self.sibling("forward")(g, kern), top),
            *[disconnected_type.make_variable() for _ in sizes],
        ]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True], [True], *[[False] for _ in node.inputs[2:]]]

    def R_op(self, inputs: list[Variable], eval_points: list[Any]) -> list[Any]:
        return _bilinear_rop(self, inputs, eval_points, inputs[2:])


def _like(gradient: Variable, x: Variable) -> Variable:
    """A gradient with the flags of the variable it belongs to."""
    return set_flags(gradient, x.type.broadcastable)


def _bilinear_rop(
    op: BaseConv, inputs: Sequence[Variable], points: Sequence[Any], sizes: Sequence[Variable]
) -> list[Any]:
    """The directional derivative of an operation linear in both operands."""
    from ltensor.ops.arithmetic import add

    terms = []
    for position in (0, 1):
        if points[position] is not None:
            moved = list(inputs[:2])
            moved[position] = points[position]
            terms.append(op(*moved, list(sizes)) if sizes else op(*moved))
    if not terms:
        return [None]
    return [terms[0] if len(terms) == 1 else add(*terms)]


class AbstractConv2d(AbstractConv):
    """`AbstractConv` of images with two spatial dimensions."""

    ir_name = "conv2d"

    @staticmethod
    def getOutputShape(
        inshp: Sequence[int], kshp: Sequence[int], stride: Any = (1, 1), mode: str = "valid"
    ) -> tuple[int, ...]:
        """The spatial sizes of a result (a method of Theano's ``ConvOp``)."""
        geometry = Geometry(mode, tuple(stride), (1, 1), True, 1)
        return tuple(
            int(geometry.output_size(PlainSizes, axis, inshp[axis], kshp[axis])) for axis in (0, 1)
        )


class AbstractConv2d_gradWeights(AbstractConv_gradWeights):
    """`AbstractConv_gradWeights` of images with two spatial dimensions."""

    ir_name = "conv2d_grad_weights"


class AbstractConv2d_gradInputs(AbstractConv_gradInputs):
    """`AbstractConv_gradInputs` of images with two spatial dimensions."""

    ir_name = "conv2d_grad_inputs"


class AbstractConv3d(AbstractConv):
    """`AbstractConv` of images with three spatial dimensions."""

    ir_name = "conv3d"
    convdim = 3


class AbstractConv3d_gradWeights(AbstractConv_gradWeights):
    """`AbstractConv_gradWeights` of images with three spatial dimensions."""

    ir_name = "conv3d_grad_weights"
    convdim = 3


class AbstractConv3d_gradInputs(AbstractConv_gradInputs):
    """`AbstractConv_gradInputs` of images with three spatial dimensions."""

    ir_name = "conv3d_grad_inputs"
    convdim = 3


FAMILIES[2] = {
    "forward": AbstractConv2d,
    "grad_weights": AbstractConv2d_gradWeights,
    "grad_inputs": AbstractConv2d_gradInputs,
}
FAMILIES[3] = {
    "forward": AbstractConv3d,
    "grad_weights": AbstractConv3d_gradWeights,
    "grad_inputs": AbstractConv3d_gradInputs,
}

# --------------------------------------------------------------------------------- registry

_PLAIN: dict[str, Any] = {}
#: images, filters, attributes
_CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 6, 7), (4, 3, 3, 2), _PLAIN),
    ((1, 1, 5, 5), (1, 1, 3, 3), {"border_mode": "full"}),
    ((2, 2, 5, 6), (3, 2, 3, 3), {"border_mode": "half", "filter_flip": False}),
    ((2, 2, 7, 8), (3, 2, 2, 3), {"subsample": (2, 3), "border_mode": 1}),
    ((1, 2, 9, 8), (2, 2, 3, 2), {"filter_dilation": (2, 3), "border_mode": ((1, 0), (0, 2))}),
    ((2, 4, 5, 20), (6, 2, 2, 2), {"num_groups": 2, "border_mode": (1, 2)}),
    ((0, 2, 4, 4), (3, 2, 2, 2), _PLAIN),
    ((2, 0, 4, 4), (3, 0, 2, 2), _PLAIN),
    ((1, 2, 6, 7), (2, 2, 2, 2), {"subsample": (3, 3), "border_mode": "full"}),
)
_CASES_3D: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 2, 3, 4, 5), (3, 2, 2, 2, 3), _PLAIN),
    ((1, 2, 4, 5, 4), (2, 2, 2, 3, 2), {"border_mode": (1, 0, 1), "subsample": (2, 1, 2)}),
    ((1, 2, 3, 4, 4), (2, 1, 2, 2, 2), {"num_groups": 2, "filter_dilation": (1, 2, 1)}),
)


def _result_shape(rank: int, image: Any, kern: Any, attributes: Any) -> tuple[int, ...]:
    geometry = FAMILIES[rank]["forward"](**attributes).geometry
    places = [
        geometry.output_size(PlainSizes, axis, image[2 + axis], kern[2 + axis])
        for axis in range(rank)
    ]
    return (image[0], kern[0], *places)


def _conv_samples(rank: int, name: str) -> Any:
    def samples(rng: np.random.Generator, dtype: str) -> Iterator[Sample]:
        op = FAMILIES[rank][name]
        for image, kern, attributes in _CASES if rank == 2 else _CASES_3D:
            top = _result_shape(rank, image, kern, attributes)
            shapes = {
                "forward": (image, kern),
                "grad_weights": (image, top),
                "grad_inputs": (kern, top),
            }[name]
            sizes = {"forward": None, "grad_weights": kern[2:], "grad_inputs": image[2:]}[name]

            made = op(**attributes)

            def build(x: Any, y: Any, made: Any = made, sizes: Any = sizes) -> Any:
                return made(x, y) if sizes is None else made(x, y, list(sizes))

            arrays = [draw(rng, dtype, shape) for shape in shapes]
            yield Sample(build, arrays, f"{'x'.join(map(str, image))} {attributes}")

    return samples


_DTYPES = (*dt.FLOATS, "int32")
for _rank, _family in FAMILIES.items():
    for _name, _class in _family.items():
        declare(
            Declaration(
                _class.ir_name,
                _class.__mro__[1].__doc__ or "",
                _class,
                _conv_samples(_rank, _name),
                256,
                _DTYPES,
            )
        )
