"""Convolutions as products of matrices, a block of pixels at a time.

Forward, gradient of the filters and gradient of the images share a matrix, the *columns*: row
(channel, kernel position), column (output position), element the pixel those two meet at. With
filters as a matrix W: ``out = W columns``, ``dW = d_out columns'``, ``d_columns = W' d_out``. It is
made for one image in blocks that stay in the second cache: some channels, some rows of the output.

A row of it consists of runs of adjacent pixels, one for each row of the output. Where images are
padded or every second pixel counts, they are laid out first so that this holds (`Columns.frame`):
with the zeros around them, and a row's pixels sorted by their remainder modulo the stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ltensor.ops.conv_loops import Geometry, NativeSizes, zero_fill
from ltensor.ops.linalg import product_symbol

#: rows of a block: as many as a product reads without packing
DEPTH = 512
#: columns of a block, at least and if there are few rows
PLACES, ELEMENTS = 256, 1 << 16


class Columns:
    """The columns of one group of channels of one image.

    Parameters
    ----------
    b : Builder
    geometry : Geometry
    dtype : str
    channels : Value
        Channels of a group.
    image, kernel, out : sequence of Value
        Spatial sizes.
    """

    def __init__(
        self,
        b: Any,
        geometry: Geometry,
        dtype: str,
        channels: Any,
        image: Sequence[Any],
        kernel: Sequence[Any],
        out: Sequence[Any],
    ) -> None:
        self.b, self.geometry, self.dtype = b, geometry, dtype
        self.channels = channels
        self.image, self.kernel, self.out = list(image), list(kernel), list(out)
        self.positions = b.size(self.kernel)
        self.rows = b.mul(channels, self.positions)
        self.places = b.size(self.out)
        depth = b.max(self._quotient(DEPTH, self.positions), 1)
        self.chunks, self.chunk = self._even(channels, depth)
        wide = b.max(self._quotient(ELEMENTS, b.mul(self.chunk, self.positions)), PLACES)
        # a part of a row of the output, or whole rows, or whole slices: adjacent places
        self.blocks: list[tuple[Any, Any]] = []
        inside = b.const(1)
        for size in reversed(self.out):
            self.blocks.insert(0, self._even(size, b.max(self._quotient(wide, inside), 1)))
            inside = b.mul(inside, size)
        self.pitch = b.size([size for _, size in self.blocks])
        self.buffer = b.temporary(dtype, [b.mul(self.chunk, self.positions), self.pitch])
        self.framed = geometry.padded() or geometry.stride[-1] != 1
        if self.framed:
            self._make_frame()

    def _quotient(self, a: Any, divisor: Any) -> Any:
        """Of sizes; the divisor may be zero where there is nothing to do."""
        b = self.b
        a = b.const(a) if isinstance(a, int) else a
        return b.int_divide(a, b.max(divisor, 1))

    def _even(self, total: Any, most: Any) -> tuple[Any, Any]:
        """How many blocks of at most ``most`` there are, and their size: as equal as can be."""
        b = self.b
        count = b.max(self._quotient(b.sub(b.add(total, most), 1), most), 1)
        # one block even of nothing: a product without terms is zero, not what was there before
        return count, b.max(self._quotient(b.sub(b.add(total, count), 1), count), 1)

    def span(self, axis: int, places: Any) -> Any:
        """How many pixels so many places of the output meet along a dimension."""
        b, geometry = self.b, self.geometry
        between = b.mul(b.max(b.sub(places, 1), 0), geometry.stride[axis])
        return b.add(b.add(between, b.mul(b.sub(self.kernel[axis], 1), geometry.dilation[axis])), 1)

    def _make_frame(self) -> None:
        """A buffer for the pixels that a block's places meet."""
        b, geometry = self.b, self.geometry
        sizes = NativeSizes(b)
        zeros = [geometry.pad(sizes, axis, n)[0] for axis, n in enumerate(self.kernel)]
        self.before = [b.const(n) if isinstance(n, int) else n for n in zeros]
        self.extent = [self.span(axis, size) for axis, (_, size) in enumerate(self.blocks)]
        step = geometry.stride[-1]
        self.part = sizes.floor_div(b.add(self.extent[-1], step - 1), step)
        dims = [self.chunk, *self.extent[:-1], b.const(step), self.part]
        self.frame = b.temporary(self.dtype, dims)

    # ------------------------------------------------------------------ blocks

    @contextmanager
    def each_chunk(self) -> Iterator[tuple[Any, Any, Any]]:
        """A loop over chunks of channels: number, first channel, count."""
        b = self.b
        with b.loop(self.chunks) as loop:
            first = b.mul(loop.index, self.chunk)
            yield loop.index, first, b.min(self.chunk, b.sub(self.channels, first))

    @contextmanager
    def each_block(self) -> Iterator[Block]:
        """Loops over the blocks of the output's places."""
        b = self.b
        with ExitStack() as stack:
            first, places = [], []
            for (count, size), total in zip(self.blocks, self.out, strict=True):
                start = b.mul(stack.enter_context(b.loop(count)).index, size)
                first.append(start)
                places.append(b.min(size, b.sub(total, start)))
            yield Block(self, first, places)


class Block:
    """A block of the output's places.

    Parameters
    ----------
    columns : Columns
    first, extent : sequence of Value
        The first place and how many there are, per dimension.

    Attributes
    ----------
    start, places : Value
        Its first place in an output of one channel, and how many there are.
    """

    def __init__(self, columns: Columns, first: Sequence[Any], extent: Sequence[Any]) -> None:
        self.columns, b = columns, columns.b
        self.first, self.extent = list(first), list(extent)
        self.start: Any = b.const(0)
        for place, size in zip(first, columns.out, strict=True):
            self.start = b.add(b.mul(self.start, size), place)
        self.places = b.size(self.extent)

    def gather(self, images: Any, number: Any, first: Any, count: Any) -> None:
        """Make the columns of ``count`` channels from channel ``first`` of image ``number`` on."""
        if self.columns.framed:
            zero_fill(self.columns.b, self.columns.frame)
            self._exchange(images, number, first, count, inwards=True)
        self._move("copy", images, number, first, count)

    def scatter(self, images: Any, number: Any, first: Any, count: Any) -> None:
        """Add the columns to the pixels they were made of."""
        if self.columns.framed:
            zero_fill(self.columns.b, self.columns.frame)
        self._move("add", images, number, first, count)
        if self.columns.framed:
            self._exchange(images, number, first, count, inwards=False)

    def _exchange(self, images: Any, number: Any, first: Any, count: Any, *, inwards: bool) -> None:
        """Copy the pixels of the frame from the image, or add them to it."""
        c = self.columns
        b, geometry, frame = c.b, c.geometry, c.frame
        step = geometry.stride[-1]
        low, high, shift = [], [], []
        for axis, size in enumerate(c.image):
            # where the frame begins in the image, and which part of it lies inside
            origin = b.sub(b.mul(self.first[axis], geometry.stride[axis]), c.before[axis])
            start = b.max(b.sub(b.const(0), origin), 0)
            stop = b.min(c.span(axis, self.extent[axis]), b.sub(size, origin))
            shift.append(origin)
            low.append(start)
            high.append(b.max(stop, start))
        with ExitStack() as stack:

            def along(axis: int) -> Any:
                loop = stack.enter_context(b.loop(b.sub(high[axis], low[axis])))
                return b.add(low[axis], loop.index)

            if step == 1:
                # runs of the last dimension: channels outside, rows inside
                outer = [along(axis) for axis in range(geometry.rank - 2)]
                inner = [*outer, low[-2]]
                here = [number, first, *map(b.add, inner, shift), b.add(low[-1], shift[-1])]
                there = b.address(frame, [b.const(0), *inner, b.const(0), low[-1]])
                flat = type(images)(images.dtype, images.pointer, images.dims)
                place = b.address(flat, here)
                # another image is another address, for those who look who writes where
                pointer = b.shifted(images, place)
                ends = [(pointer, b.const(0)), (frame.pointer, there)]
                far = [b.size(images.dims[2:]), b.size(frame.dims[1:])]
                near = [images.dims[-1], c.part]
                if not inwards:
                    ends, far, near = ends[::-1], far[::-1], near[::-1]
                rows, length = (b.sub(high[axis], low[axis]) for axis in (-2, -1))
                form = "copy" if inwards else "add"
                move_runs(b, form, c.dtype, (count, *far), (rows, *near), length, *ends)
                return
            channel = stack.enter_context(b.loop(count)).index
            above = [along(axis) for axis in range(geometry.rank - 1)]
            image = [number, b.add(first, channel), *map(b.add, above, shift)]
            for rest in range(step):
                # the pixels q step + rest of the frame
                q_low, q_high = (
                    b.int_divide(b.max(b.add(b.sub(limit, rest), step - 1), 0), step)
                    for limit in (low[-1], high[-1])
                )
                with b.loop(b.sub(q_high, q_low), kind="vector") as loop:
                    q = b.add(q_low, loop.index)
                    pixel = [*image, b.add(b.add(b.mul(q, step), rest), shift[-1])]
                    framed = [channel, *above, b.const(rest), q]
                    if inwards:
                        b.store(frame, framed, b.load(images, pixel))
                    else:
                        b.store(images, pixel, b.add(b.load(images, pixel), b.load(frame, framed)))

    def _move(self, form: str, images: Any, number: Any, first: Any, count: Any) -> None:
        """Runs between columns and pixels, for all kernel positions."""
        c = self.columns
        b, geometry, rank = c.b, c.geometry, c.geometry.rank
        step = geometry.stride[-1]
        if c.framed:
            pixels, sizes = c.frame.pointer, [*c.extent[:-1], b.mul(c.part, step)]
        else:
            sizes = c.image
            origin = b.mul(b.add(b.mul(number, images.dims[1]), first), b.size(sizes))
            pixels = b.shifted(images, origin)
        strides = [b.size(sizes[axis + 1 :]) for axis in range(rank)]
        with ExitStack() as stack:
            kernel = [stack.enter_context(b.loop(n)).index for n in c.kernel]
            row: Any = b.const(0)
            for axis, position in enumerate(kernel):
                row = b.add(b.mul(row, c.kernel[axis]), position)
            # dimensions before the last two; the rows are the helper's
            outer = [stack.enter_context(b.loop(n)).index for n in self.extent[: rank - 2]]
            here: Any = b.const(0)
            for axis, position in enumerate(kernel):
                if geometry.flip:
                    position = b.sub(b.sub(c.kernel[axis], 1), position)
                shift = b.mul(position, geometry.dilation[axis])
                above = outer[axis] if axis < rank - 2 else b.const(0)
                if not c.framed:
                    above = b.add(above, self.first[axis])
                shift = b.add(shift, b.mul(above, geometry.stride[axis]))
                if axis == rank - 1 and step != 1:
                    part, rest = b.floor_div(shift, step), b.mod(shift, step)
                    shift = b.add(b.mul(rest, c.part), part)
                here = b.add(here, b.mul(shift, strides[axis]))
            there: Any = b.const(0)
            for axis in range(rank - 2):
                there = b.add(b.mul(there, self.extent[axis]), outer[axis])
            there = b.mul(there, b.size(self.extent[rank - 2 :]))
            there = b.add(b.mul(row, c.pitch), there)
            far = [b.size(sizes), b.mul(c.positions, c.pitch)]
            near = [b.mul(strides[-2], geometry.stride[-2]), self.extent[-1]]
            ends = [(pixels, here), (c.buffer.pointer, there)]
            if form == "add":
                far, near, ends = far[::-1], near[::-1], ends[::-1]
            rows, length = self.extent[-2:]
            move_runs(b, form, c.dtype, (count, *far), (rows, *near), length, *ends)


def move_runs(
    b: Any,
    form: str,
    dtype: str,
    outer: tuple[Any, Any, Any],
    inner: tuple[Any, Any, Any],
    length: Any,
    source: tuple[Any, Any],
    target: tuple[Any, Any],
) -> None:
    """Copy or add runs of adjacent elements by the run time's ``lt_runs_...``.

    Parameters
    ----------
    form : str
        ``"copy"`` or ``"add"``.
    outer, inner : tuple of Value
        How many groups of runs, and runs in a group; their distance in source and target.
    length : Value
        Elements of a run.
    source, target : tuple of Value
        Pointer and offset of the first run.
    """
    numbers = [*outer, *inner, length]
    b.call(product_symbol(dtype, f"runs_{form}"), [*numbers, *source, *target])
