"""Errors of a call: clear, raised before anything is overwritten; the function works on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor import function, shared
from ltensor.ifelse import ifelse
from ltensor.random.streams import RandomStreams

m, n = T.dmatrices("m", "n")
v, w = T.dvectors("v", "w")
x = T.dscalar("x")
i, j = T.lscalars("i", "j")
iv, jv = T.lvectors("iv", "jv")
t3, u3 = T.dtensor3("t3"), T.dtensor3("u3")
t4, u4 = T.dtensor4("t4"), T.dtensor4("u4")
mask = T.TensorType("bool", [False])("mask")


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


def ints(*values: int) -> np.ndarray:
    return np.array(values)


def _loop(state: Any, **keywords: Any) -> Any:
    return theano.scan(lambda a: a * 2, outputs_info=state, **keywords)[0]


#: name -> inputs, expression, arguments that fail, arguments that do not, exception, its first line
Case = tuple[list[Any], Any, list[Any], list[Any], type[Exception], str]
CASES: dict[str, Case] = {
    "add": (
        [m, n], m + n, [ones(2, 3), ones(2, 4)], [ones(2, 3), ones(2, 3)], ValueError,
        "Input dimension mis-match. (input[0].shape[1] = 3, input[1].shape[1] = 4)",
    ),
    "add_one_row": (
        [m, n], m + n, [ones(2, 3), ones(1, 3)], [ones(1, 3), ones(1, 3)], ValueError,
        "Input dimension mis-match. (input[0].shape[0] = 2, input[1].shape[0] = 1)",
    ),
    "matrix_vector": (
        [m, v], m * v, [ones(2, 3), ones(2)], [ones(2, 3), ones(3)], ValueError,
        "Input dimension mis-match. (input[0].shape[1] = 3, input[1].shape[1] = 2)",
    ),
    "inside_fused": (
        [m, n], (T.exp(m) * T.tanh(n + 1).sum(axis=0)).sum(), [ones(2, 3), ones(2, 4)],
        [ones(2, 3), ones(5, 3)], ValueError, "Input dimension mis-match. (input[0].shape[1] = 3",
    ),
    "switch": (
        [v, w], T.switch(v > 0, v, w), [ones(2), ones(3)], [ones(3), ones(3)], ValueError,
        "Input dimension mis-match. (input[0].shape[0] = 2, input[2].shape[0] = 3)",
    ),
    "dot": (
        [m, n], T.dot(m, n), [ones(2, 3), ones(4, 5)], [ones(2, 3), ones(3, 5)], ValueError,
        "Shape mismatch: x has 3 cols (and 2 rows) but y has 4 rows (and 5 cols)",
    ),
    "dot_vectors": (
        [v, w], T.dot(v, w), [ones(3), ones(4)], [ones(4), ones(4)], ValueError, "Shape mismatch",
    ),
    "dot_matrix_vector": (
        [m, v], T.dot(m, v), [ones(2, 3), ones(4)], [ones(2, 3), ones(3)], ValueError,
        "Shape mismatch: shapes (2, 3) and (4,) not aligned: 3 != 4",
    ),
    "batched_dot": (
        [t3, u3], T.batched_dot(t3, u3), [ones(2, 3, 4), ones(3, 4, 5)],
        [ones(2, 3, 4), ones(2, 4, 5)], ValueError, "batched_dot",
    ),
    "tensordot": (
        [t3, u3], T.tensordot(t3, u3, axes=1), [ones(2, 3, 4), ones(3, 4, 5)],
        [ones(2, 3, 4), ones(4, 3, 5)], ValueError, "Shape mismatch",
    ),
    "concatenate": (
        [m, n], T.concatenate([m, n]), [ones(2, 3), ones(2, 4)], [ones(2, 3), ones(5, 3)],
        ValueError, "all the input array dimensions except for the concatenation axis must match",
    ),
    "stack": (
        [v, w], T.stack([v, w]), [ones(2), ones(3)], [ones(2), ones(2)], ValueError,
        "all the input",
    ),
    "reshape": (
        [m], m.reshape((4, 2)), [ones(3, 3)], [ones(2, 4)], ValueError,
        "Cannot reshape input of shape (3, 3) to shape [4 2]",
    ),
    "reshape_unknown": (
        [m, i], m.reshape((-1, i)), [ones(3, 3), 2], [ones(3, 3), 9], ValueError, "Cannot reshape",
    ),
    "reshape_two_unknown": (
        [m, i, j], m.reshape((i, j)), [ones(3, 3), -1, -1], [ones(3, 3), -1, 3], ValueError,
        "Cannot reshape",
    ),
    "conv_channels": (
        [t4, u4], T.nnet.conv2d(t4, u4), [ones(1, 2, 5, 5), ones(1, 3, 2, 2)],
        [ones(1, 2, 5, 5), ones(1, 2, 2, 2)], ValueError, "conv",
    ),
    "conv_too_small": (
        [t4, u4], T.nnet.conv2d(t4, u4), [ones(1, 2, 2, 2), ones(1, 2, 3, 3)],
        [ones(1, 2, 3, 3), ones(1, 2, 3, 3)], ValueError, "conv",
    ),
    "index": (
        [v, i], v[i], [ones(2), 5], [ones(2), -2], IndexError,
        "index 5 is out of bounds for size 2",
    ),
    "index_negative": (
        [v, i], v[i] * 2, [ones(2), -3], [ones(2), 1], IndexError,
        "index -3 is out of bounds for size 2",
    ),
    "index_second": (
        [m, i, j], m[i, j], [ones(2, 3), 1, 3], [ones(2, 3), 1, 2], IndexError,
        "index 3 is out of bounds for size 3",
    ),
    "index_constant": (
        [v], v[7], [ones(2)], [ones(8)], IndexError, "index 7 is out of bounds for size 2",
    ),
    "gather": (
        [v, iv], v[iv].sum(), [ones(2), ints(0, 5)], [ones(2), ints(0, -2)], IndexError,
        "index 5 is out of bounds for size 2",
    ),
    "gather_two": (
        [m, iv, jv], m[iv, jv], [ones(2, 2), ints(0, 1), ints(0, 2)],
        [ones(2, 2), ints(0, 1), ints(0, 1)], IndexError, "index 2 is out of bounds for size 2",
    ),
    "gather_sizes": (
        [m, iv, jv], m[iv, jv], [ones(2, 2), ints(0, 1), ints(0, 1, 0)],
        [ones(2, 2), ints(0, 1), ints(0, 1)], IndexError, "shape mismatch",
    ),
    "mask": (
        [v, mask], v[mask], [ones(3), np.array([True, False])],
        [ones(2), np.array([True, False])], IndexError, "boolean index did not match",
    ),
    "set_subtensor": (
        [v, w], T.set_subtensor(v[1:3], w), [ones(4), ones(3)], [ones(4), ones(2)], ValueError,
        "could not put size 3",
    ),
    "inc_subtensor_index": (
        [v, i], T.inc_subtensor(v[i], 1.0), [ones(4), 9], [ones(4), 3], IndexError, "index 9",
    ),
    "inc_subtensor_gathered": (
        [v, iv, w], T.inc_subtensor(v[iv], w), [ones(4), ints(0, 9), ones(2)],
        [ones(4), ints(0, 0), ones(2)], IndexError, "index 9 is out of bounds for size 4",
    ),
    "inc_subtensor_sizes": (
        [v, iv, w], T.inc_subtensor(v[iv], w), [ones(4), ints(0, 1), ones(3)],
        [ones(4), ints(0, 1), ones(2)], ValueError, "",
    ),
    "alloc": (
        [v, i], T.alloc(v, 2, i), [ones(3), 4], [ones(3), 3], ValueError, "could not stretch",
    ),
    "alloc_negative": ([i], T.cumsum(T.ones((i,))), [-1], [0], ValueError, "negative dimensions"),
    "eye_negative": ([i], T.eye(i), [-1], [0], ValueError, "negative dimensions"),
    "eye_negative_unstored": ([i], T.eye(i).sum(), [-1], [4], ValueError, "negative dimensions"),
    "repeat_negative": (
        [v, i], T.repeat(v, i), [ones(2), -1], [ones(2), 0], ValueError, "negative",
    ),
    "integer_division": (
        [iv, jv], iv // jv, [ints(1, 2), ints(1, 0)], [ints(1, 2), ints(1, 2)], ZeroDivisionError,
        "integer division or modulo by zero",
    ),
    "integer_modulo": (
        [iv, jv], (iv % jv).sum(), [ints(1, 2), ints(1, 0)], [ints(1, 2), ints(1, 2)],
        ZeroDivisionError, "integer division or modulo by zero",
    ),
    "scalar_division": ([i, j], i // j, [1, 0], [1, 2], ZeroDivisionError, "integer division"),
    "division_in_a_size": (
        [i], T.ones((T.constant(3) // i,)), [0], [1], ZeroDivisionError, "integer division",
    ),
    "negative_power": (
        [iv, jv], iv**jv, [ints(2, 2), ints(1, -1)], [ints(2, 2), ints(1, 0)], ValueError,
        "Integers to negative integer powers are not allowed.",
    ),
    "max_of_nothing": (
        [m], m.max(axis=0), [ones(0, 3)], [ones(1, 3)], ValueError,
        "zero-size array to reduction operation max which has no identity",
    ),
    "argmax_of_nothing": (
        [m], m.argmax(axis=1), [ones(3, 0)], [ones(0, 3)], ValueError,
        "zero-size array to reduction operation argmax which has no identity",
    ),
    "nan_as_index": (
        [v, x], v[T.cast(x, "int64")], [ones(3), np.nan], [ones(3), 2.0], IndexError, "index -",
    ),
    "nan_among_indices": (
        [v, w], v[T.cast(w, "int32")], [ones(3), np.array([np.nan])], [ones(3), ones(1)],
        IndexError,
        "index -2147483648 is out of bounds for size 3",
    ),
    "arange_step": ([i], T.arange(0, 5, i), [0], [2], ZeroDivisionError, "integer division"),
    "arange_float_step": ([x], T.arange(0.0, 5.0, x), [0.0], [2.0], ZeroDivisionError, ""),
    "arange_nan": ([x], T.arange(0.0, x, 1.0), [np.nan], [2.0], ValueError, "arange"),
    "arange_infinite": ([x], T.arange(0.0, x, 1.0), [np.inf], [2.0], ValueError, "arange"),
    "slice_step": (
        [v, i], v[::i], [ones(3), 0], [ones(3), -(2**63)], ValueError, "slice step cannot be zero",
    ),
    "split": (
        [v], T.split(v, [1, 2], 2)[0], [ones(4)], [ones(3)], ValueError, "the splits sum up to 3",
    ),
    "broken_flag": (
        [m], T.addbroadcast(m, 0) + 1, [ones(2, 2)], [ones(1, 2)], ValueError,
        "Dimension 0 in Rebroadcast's input was supposed to be 1 (got 2 instead)",
    ),
    "crossentropy_class": (
        [m, iv], T.nnet.categorical_crossentropy(T.nnet.softmax(m), iv).mean(),
        [ones(2, 3), ints(0, 3)], [ones(2, 3), ints(0, 2)], ValueError, "y_i value out of bounds",
    ),
    "one_hot": (
        [iv], T.extra_ops.to_one_hot(iv, 2), [ints(3)], [ints(1)], IndexError, "index 3",
    ),
    "bincount": ([iv], T.extra_ops.bincount(iv), [ints(-1, 2)], [ints(1, 2)], IndexError, "index"),
    "choose": (
        [iv, v, w], T.choose(iv, [v, w]), [ints(0, 2), ones(2), ones(2)],
        [ints(0, 1), ones(2), ones(2)], IndexError, "index 2",
    ),
    "scan_steps": (
        [v, i], _loop(v, n_steps=i), [ones(2), -1], [ones(2), 0], IndexError,
        "Scan was asked to run for negative number of step -1",
    ),
    "scan_body": (
        [v, w], theano.scan(lambda a, b: a + b, outputs_info=v, non_sequences=w, n_steps=3)[0],
        [ones(2), ones(3)], [ones(2), ones(2)], ValueError, "Input dimension mis-match",
    ),
    "scan_state_grows": (
        [v], theano.scan(lambda a: T.concatenate([a, a[:1]])[: 4], outputs_info=v, n_steps=3)[0],
        [ones(2)], [ones(4)], ValueError, "Scan",
    ),
    "scan_index": (
        [iv, v], theano.scan(lambda a, b: b[a], sequences=iv, non_sequences=v)[0],
        [ints(0, 5), ones(2)], [ints(0, 1), ones(2)], IndexError, "index 5",
    ),
    "inverse_singular": (
        [m], T.nlinalg.matrix_inverse(m), [np.zeros((2, 2))], [np.eye(2)], np.linalg.LinAlgError,
        "Singular matrix",
    ),
    "inverse_oblong": (
        [m], T.nlinalg.matrix_inverse(m), [ones(2, 3)], [np.eye(2)], np.linalg.LinAlgError,
        "Last 2 dimensions of the array must be square",
    ),
    "cholesky": (
        [m], T.slinalg.cholesky(m), [-ones(2, 2)], [np.eye(2)], np.linalg.LinAlgError,
        "Matrix is not",
    ),
    "taken_branch": (
        [i, v], ifelse(i, v[5], v[0]), [1, ones(2)], [0, ones(2)], IndexError, "index 5",
    ),
    "too_large": (
        [i], T.eye(i), [2**40], [2], MemoryError, "an array of shape (1099511627776, 109951162",
    ),
    "too_large_unstored": (
        [i], (T.ones((i, i)) * i).max(), [2**32], [2], MemoryError, "an array of shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_run_time_errors(name: str) -> None:
    inputs, expression, bad, good, error, first_line = CASES[name]
    grown, count, last = shared(np.zeros(2)), shared(1.0), shared(0.0)
    # the failure is in the last update
    total = T.cast(expression, "float64").sum()
    f = function(
        inputs,
        total,
        updates=[(grown, T.concatenate([grown, grown])), (count, count + 1), (last, total)],
    )
    alone = function(inputs, expression)
    for number, call in enumerate((f, alone)):
        for _ in range(2):
            with pytest.raises(error) as caught:
                call(*bad)
            text = str(caught.value)
            assert text.startswith(first_line), text
            assert "Apply node that caused the error: " in text
            assert "Toposort index: " in text
            assert "Inputs types: [" in text
            assert "HINT: " in text
            assert f'File "{__file__}", line ' in text
            assert count.get_value() == 1 + number
            assert grown.get_value().shape == (2 + 2 * number,)
        call(*good)
    assert count.get_value() == 2
    assert grown.get_value().shape == (4,)


def test_a_mismatch_names_input_axis_sizes_and_line() -> None:
    line = sys._getframe().f_lineno + 1
    total = m + n * 2
    with pytest.raises(ValueError, match="dimension mis-match") as caught:
        function([m, n], total)(ones(2, 3), ones(2, 4))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("Input dimension mis-match. (input[0].shape[1] = 3, ")
    assert any(text.startswith("Inputs shapes: [(2, 3), (2, 4)") for text in lines)
    assert any(text.startswith("Inputs strides: [(24, 8), (32, 8)") for text in lines)
    assert f'  File "{__file__}", line {line}, in {sys._getframe().f_code.co_name}' in lines


def test_reductions_of_nothing() -> None:
    for name, expected in [
        ("sum", 0.0), ("prod", 1.0), ("mean", np.nan), ("var", np.nan), ("std", np.nan),
        ("any", False), ("all", True), ("cumsum", []), ("sort", []),
    ]:  # fmt: skip
        result = function([v], getattr(T, name)(v))(np.zeros(0))
        np.testing.assert_array_equal(result, expected)
    for shape in [(0, 3), (3, 0), (0, 0)]:
        empty = np.zeros(shape)
        got = function(
            [m],
            [m.sum(axis=0), m.T + 1, T.nnet.softmax(m), T.dot(m, m.T), T.dot(m.T, m), m[::-1],
             T.concatenate([m, m]), m.flatten(), T.repeat(m, 2, axis=0), m * m.sum(axis=1)[:,
             None]],
        )(empty)  # fmt: skip
        want = [
            empty.sum(0), empty.T, empty, empty @ empty.T, empty.T @ empty, empty,
            np.concatenate([empty, empty]), empty.ravel(), np.repeat(empty, 2, 0), empty,
        ]  # fmt: skip
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_loop_without_steps() -> None:
    rows = T.dmatrix("rows")
    trace, _ = theano.scan(lambda r, a: r + a, sequences=rows, outputs_info=T.zeros((3,)))
    mapped = theano.map(lambda r: r.sum(), rows)[0]
    f = function([rows], [trace, mapped, trace.sum(), T.grad(trace.sum(), rows)])
    got = f(np.zeros((0, 3)))
    assert [a.shape for a in got] == [(0, 3), (0,), (), (0, 3)]
    last = function([rows], mapped[-1])
    with pytest.raises(IndexError):
        last(np.zeros((0, 3)))


def test_random_parameters() -> None:
    streams = RandomStreams(3)
    for make, bad, error in [
        (lambda: streams.normal((i,)), -1, ValueError),
        (lambda: streams.binomial((3,), 1, x), 2.0, ValueError),
    ]:
        inputs = [i] if isinstance(bad, int) else [x]
        f = function(inputs, make())
        with pytest.raises(error):
            f(bad)
        f(type(bad)(1))


_CHILD = """
import resource
import numpy as np
import ltensor as theano, ltensor.tensor as T

i = T.lscalar('i')
line = T.arange(i) * 1.0
loop, _ = theano.scan(lambda a: a + 1, outputs_info=T.zeros(()), n_steps=i)
kept = theano.shared(np.ones(3))
other = theano.shared(np.ones(3))
big = {
    'output': theano.function([i], T.zeros((i,))),
    'temporary': theano.function([i], T.cumsum(T.ones((i,)))[-1]),
    'outer': theano.function(
        [i], T.dot(T.outer(line, line), T.ones((i,)))
    ),
    'scan': theano.function(
        [i], theano.scan(lambda a: a + 1, outputs_info=T.zeros(()), n_steps=i)[0]
    ),
    'update': theano.function([i], [], updates=[(other, other[:2]), (kept, T.zeros((i,)))]),
}
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
for name, f in big.items():
    for size in (2**27, 2**40, 2**61, 2**62 + 1):
        if name == 'outer':
            size = int(size ** 0.5)
        try:
            f(size)
        except MemoryError as error:
            assert str(error), name
        else:
            raise SystemExit(f'{name} of {size} did not fail')
    assert kept.get_value().shape == other.get_value().shape == (3,)
    f(2)
    kept.set_value(np.ones(3)); other.set_value(np.ones(3))
print('survived')
"""


def test_memory_that_there_is_not() -> None:
    import subprocess

    child = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "survived" in child.stdout, child.stderr
