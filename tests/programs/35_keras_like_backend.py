"""A backend module in the style of Keras' Theano backend: many small functions over tensors,
each checked."""

import numpy as np
import theano
from theano import tensor as T
from theano.printing import Print
from theano.sandbox.rng_mrg import MRG_RandomStreams as RandomStreams
from theano.tensor.nnet import bn, conv3d2d, h_softmax  # noqa: F401

_FLOATX = theano.config.floatX


def variable(value, dtype=_FLOATX, name=None):
    return theano.shared(value=np.asarray(value, dtype=dtype), name=name, strict=False)


def placeholder(shape=None, ndim=None, dtype=_FLOATX, name=None):
    ndim = ndim if shape is None else len(shape)
    return T.TensorType(dtype, (False,) * ndim)(name)


def shape(x):
    return x.shape


def evaluate(x):
    return x.eval()


def gather(reference, indices):
    return reference[indices]


def l2_normalize(x, axis):
    return x / T.sqrt(T.sum(T.square(x), axis=axis, keepdims=True))


def expand_dims(x, dim=-1):
    pattern = list(range(x.type.ndim))
    if dim < 0:
        dim = dim % (x.type.ndim + 1)
    pattern.insert(dim, "x")
    return x.dimshuffle(pattern)


def squeeze(x, axis):
    x = T.addbroadcast(x, axis)
    return T.squeeze(x)


def permute_dimensions(x, pattern):
    return x.dimshuffle(tuple(pattern))


def temporal_padding(x, padding=1):
    output = T.zeros((x.shape[0], x.shape[1] + 2 * padding, x.shape[2]))
    return T.set_subtensor(output[:, padding : x.shape[1] + padding, :], x)


def batch_dot(x, y, axes=None):
    if axes is None:
        axes = [x.ndim - 1, y.ndim - 2]
    return T.batched_tensordot(x, y, axes=axes)


def one_hot(indices, nb_classes):
    flat = T.flatten(indices)
    oh = T.extra_ops.to_one_hot(flat, nb_classes)
    return T.reshape(oh, tuple(indices.shape[i] for i in range(indices.ndim)) + (nb_classes,))


def softmax3(x):
    e = T.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def categorical_crossentropy(output, target, from_logits=False):
    output = T.nnet.softmax(output) if from_logits else output / output.sum(axis=-1, keepdims=True)
    output = T.clip(output, 1e-7, 1.0 - 1e-7)
    return T.nnet.categorical_crossentropy(output, target)


def rnn(step, inputs, initial_states, go_backwards=False, mask=None, unroll=False):
    inputs = inputs.dimshuffle([1, 0] + list(range(2, inputs.ndim)))
    if unroll:
        states, outs = initial_states, []
        for i in range(4):
            out, states = step(inputs[i], states)
            outs.append(out)
        return outs[-1], T.stack(outs).dimshuffle([1, 0, 2])
    if mask is not None:
        mask = mask.dimshuffle((1, 0)).dimshuffle(0, 1, "x")

        def _step(x, m, previous, *states):
            out, new = step(x, states)
            out = T.switch(m, out, previous)
            return [out] + [T.switch(m, n, s) for n, s in zip(new, states)]

        first = T.unbroadcast(T.zeros_like(initial_states[0]), 1)
        results, _ = theano.scan(
            _step,
            sequences=[inputs, mask],
            outputs_info=[first] + initial_states,
            go_backwards=go_backwards,
        )
    else:

        def _step(x, *states):
            out, new = step(x, states)
            return [out] + new

        results, _ = theano.scan(
            _step,
            sequences=inputs,
            outputs_info=[None] + initial_states,
            go_backwards=go_backwards,
        )
    outputs = T.squeeze(results[0]) if isinstance(results, list) else results
    return outputs[-1], outputs.dimshuffle([1, 0] + list(range(2, outputs.ndim)))


class Function(object):
    def __init__(self, inputs, outputs, updates=(), **kwargs):
        unique = {}
        for v in updates:
            unique[v[0]] = v[1]
        self.function = theano.function(
            inputs, outputs, updates=unique, allow_input_downcast=True, on_unused_input="ignore",
            name="backend", **kwargs
        )  # fmt: skip

    def __call__(self, inputs):
        assert isinstance(inputs, (list, tuple))
        return self.function(*inputs)


def main():
    rng = np.random.RandomState(0)
    x2, x3 = placeholder(ndim=2, name="x2"), placeholder(shape=(None, 4, 3))
    ids = placeholder(ndim=2, dtype="int32")
    a, b = rng.rand(5, 3), rng.rand(2, 4, 3)

    def same(output, expected, inputs=(x2, x3)):
        got = Function(list(inputs), [output])([a, b])[0]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)

    v = variable(a, name="v")
    assert evaluate(v).shape == (5, 3) and evaluate(T.sum(v)).shape == ()
    x3._keras_shape = (None, 4, 3)  # attributes may be put on variables
    assert x3._keras_shape[1] == 4
    same(l2_normalize(x2, 1), a / np.linalg.norm(a, axis=1, keepdims=True))
    same(expand_dims(x2, -1), a[:, :, None])
    same(squeeze(expand_dims(x2, 1), 1), a)
    same(permute_dimensions(x3, (1, 0, 2)), b.transpose(1, 0, 2))
    same(temporal_padding(x3, 2), np.pad(b, [(0, 0), (2, 2), (0, 0)]))
    same(batch_dot(x3, x3, [2, 2]), np.einsum("nij,nkj->nik", b, b))
    same(softmax3(x3).sum(axis=-1), np.ones((2, 4)))
    same(T.std(x3, axis=[0, 1]), b.std(axis=(0, 1)))
    same(T.var(x3, axis=-1, keepdims=True), b.var(axis=-1, keepdims=True))
    same(T.prod(x2, axis=0), a.prod(axis=0))
    same(T.cumsum(x2, axis=1), a.cumsum(axis=1))
    same(T.cumprod(x3, axis=-1), b.cumprod(axis=-1))
    same(T.any(x2 > 0.9, axis=1), (a > 0.9).any(axis=1))
    same(T.all(T.ge(x2, 0.0)), True)
    same(T.argmax(x3, axis=-1), b.argmax(-1))
    same(T.max(x3, axis=(1, 2)), b.max(axis=(1, 2)))
    same(T.clip(x2, 0.25, 0.75), a.clip(0.25, 0.75))
    same(T.pow(x2, 3) + T.square(x2), a**3 + a**2)
    same(T.maximum(x2, 0.5) - T.minimum(x2, 0.5), np.maximum(a, 0.5) - np.minimum(a, 0.5))
    same(T.concatenate([x2, 2 * x2], axis=-1), np.concatenate([a, 2 * a], -1))
    same(x3.flatten(ndim=2), b.reshape(2, 12))
    same(T.reshape(x3, (-1, 3)), b.reshape(-1, 3))
    same(T.extra_ops.repeat(x2, 2, axis=0), a.repeat(2, axis=0))
    same(T.tile(x2, (1, 2)), np.tile(a, (1, 2)))
    same(T.sqrt(T.clip(x2 - 0.5, 0.0, np.inf)), np.sqrt((a - 0.5).clip(0)))
    same(T.log(T.sum(T.exp(x3), axis=-1)), np.log(np.exp(b).sum(-1)))
    same(T.sgn(x2 - 0.5) * abs(x2 - 0.5), a - 0.5)
    same(T.round(x2, mode="half_to_even"), a.round())
    same(T.neq(x2, x2) + T.isnan(x2) + T.isinf(x2), np.zeros_like(a))
    same(T.nnet.softsign(x2) + T.nnet.softplus(x2), a / (1 + a) + np.log1p(np.exp(a)))
    same(T.eye(3)[T.constant(np.array([0, 2]))], np.eye(3)[[0, 2]])
    oh = Function([ids], [one_hot(ids, 4), gather(v, ids)])([np.array([[0, 3], [1, 1]])])
    np.testing.assert_allclose(oh[0], np.eye(4)[[[0, 3], [1, 1]]])
    np.testing.assert_allclose(oh[1], a[[[0, 3], [1, 1]]], rtol=1e-6)
    target = np.eye(3)[[0, 1, 2, 0, 1]].astype(_FLOATX)
    same(
        categorical_crossentropy(x2, target),
        -np.log((a / a.sum(1, keepdims=True))[range(5), [0, 1, 2, 0, 1]]),
    )
    same(
        categorical_crossentropy(x2, T.constant(np.array([0, 1, 2, 0, 1])), from_logits=True),
        np.log(np.exp(a).sum(1)) - a[range(5), [0, 1, 2, 0, 1]],
    )

    # RNN loop: scanned, unrolled and masked agree; the updates of several kinds.
    W, U = variable(rng.randn(3, 2)), variable(rng.randn(2, 2))
    h0 = T.unbroadcast(T.alloc(np.float32(0).astype(_FLOATX), x3.shape[0], 2), 1)

    def step(x, states):
        h = T.tanh(T.dot(x, W) + T.dot(states[0], U))
        return h, [h]

    last, seq = rnn(step, x3, [h0])
    last_u, seq_u = rnn(step, x3, [h0], unroll=True)
    mask = placeholder(ndim=2, dtype="uint8")
    last_m, _ = rnn(step, x3, [h0], mask=mask)
    f = Function([x3, mask], [last, seq, last_u, seq_u, last_m])
    l1, s1, l2, s2, l3 = f([b, np.array([[1, 1, 1, 1], [1, 1, 0, 0]])])
    np.testing.assert_allclose(l1, l2, rtol=1e-5)
    np.testing.assert_allclose(s1, s2, rtol=1e-5)
    np.testing.assert_allclose(l3[0], l1[0], rtol=1e-5)
    np.testing.assert_allclose(l3[1], s1[1, 1], rtol=1e-5)
    n = variable(0.0)
    tick = Function([x2], [n], updates=[(n, n + T.cast(x2.shape[0], _FLOATX))])
    assert tick([a])[0] == 0 and tick([a])[0] == 5 and n.get_value() == 10
    # dropout with a noise shape, truncated normal by rejection, and a Print in the way
    srng = RandomStreams(seed=4)
    keep = srng.binomial((x3.shape[0], 1, x3.shape[2]), p=0.5, dtype=_FLOATX)
    drop = Function([x3], [x3 * T.patternbroadcast(keep, [False, True, False]) / 0.5])([b])[0]
    assert ((drop == 0).all(axis=1) | (drop > 0).all(axis=1)).all()
    assert isinstance(Print("x")(x2), T.TensorVariable)
    normal = evaluate(srng.normal(size=(2000,), avg=1.0, std=0.5, dtype=_FLOATX))
    assert abs(normal.mean() - 1) < 0.05 and abs(normal.std() - 0.5) < 0.05


if __name__ == "__main__":
    main()
