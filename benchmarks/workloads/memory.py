"""Memory: how much the peak grows in a long call after a short one, each in a fresh process."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work
from benchmarks.workloads import w09_recurrent_nets as nets

Pair = tuple[Work, Work]

LAST_STEPS, GRADIENT_STEPS, WIDTH = 1_000_000, 100_000, 1000
SQUARE_ROOT = 320
LSTM_STEPS, LSTM_B, LSTM_H = 1000, 32, 128


def vectors(rng: np.random.Generator) -> Data:
    return {"v": rng.random(WIDTH), "a": 0.5 * rng.random(WIDTH)}


def last_lt(d: Data) -> Pair:
    import ltensor as theano
    import ltensor.tensor as T

    v, n = T.dvector("v"), T.lscalar("n")
    rows, _ = theano.scan(lambda s: s * 0.999 + 0.001, outputs_info=[v], n_steps=n)
    f = theano.function([v, n], rows[-1])
    return lambda: f(d["v"], 10), lambda: f(d["v"], LAST_STEPS)


def last_pytensor(d: Data) -> Pair:
    import pytensor as pt
    import pytensor.tensor as T

    v, n = T.dvector("v"), T.lscalar("n")
    rows = pt.scan(lambda s: s * 0.999 + 0.001, outputs_info=[v], n_steps=n, return_updates=False)
    f = pt.function([v, n], rows[-1])
    return lambda: f(d["v"], 10), lambda: f(d["v"], LAST_STEPS)


def last_jax(d: Data) -> Pair:
    from jax import jit, lax

    @jit
    def f(v, n):
        return lax.fori_loop(0, n, lambda _, s: s * 0.999 + 0.001, v)

    return lambda: f(d["v"], 10), lambda: f(d["v"], LAST_STEPS)


def gradient_graph(scan, grad, T):
    """Gradient of a long loop over a vector (ltensor and PyTensor)."""
    v, a, n = T.dvector("v"), T.dvector("a"), T.lscalar("n")
    rows = scan(lambda h, a: T.tanh(a * h + 0.5), outputs_info=v, non_sequences=a, n_steps=n)
    loss = (rows[-1] ** 2).sum()
    return [v, a, n], [loss, *grad(loss, [v, a])]


def gradient_lt(d: Data) -> Pair:
    import ltensor as theano
    import ltensor.tensor as T

    # as the JAX version does by hand with jax.checkpoint
    def scan(*a, **k):
        return theano.scan(*a, **k, checkpoint="auto")[0]

    given, results = gradient_graph(scan, T.grad, T)
    f = theano.function(given, results)
    return lambda: f(d["v"], d["a"], 10), lambda: f(d["v"], d["a"], GRADIENT_STEPS)


def gradient_pytensor(d: Data) -> Pair:
    import pytensor as pt
    import pytensor.tensor as T

    given, results = gradient_graph(partial(pt.scan, return_updates=False), pt.grad, T)
    f = pt.function(given, results)
    return lambda: f(d["v"], d["a"], 10), lambda: f(d["v"], d["a"], GRADIENT_STEPS)


def gradient_jax(d: Data) -> Pair:
    """With checkpoints by hand: a loop of loops, the inner ones computed again."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def make(steps: int):
        outer = steps // SQUARE_ROOT

        def loop(h, a, n):
            return lax.scan(lambda h, _: (jnp.tanh(a * h + 0.5), None), h, None, length=n)[0]

        inner = jax.checkpoint(partial(loop, n=SQUARE_ROOT))

        def loss(v, a):
            h = lax.scan(lambda h, _: (inner(h, a), None), v, None, length=outer)[0]
            return (loop(h, a, steps - outer * SQUARE_ROOT) ** 2).sum()

        f = jax.jit(jax.value_and_grad(loss, (0, 1)))

        def work():
            value, gradients = f(d["v"], d["a"])
            return [value, *gradients]

        return work

    return make(10), make(GRADIENT_STEPS)


def lstm_inputs(rng: np.random.Generator) -> Data:
    d = nets.inputs("lstm", True, LSTM_B, LSTM_H, rng)
    d["x"] = rng.standard_normal((LSTM_STEPS, LSTM_B, LSTM_H)).astype("float32")
    return d


def lstm(hoisted: bool, d: Data) -> Pair:
    """The net of W09 over a short and a long input."""
    if hoisted:
        import pytensor as pt
        import pytensor.tensor as T

        pt.config.floatX = "float32"
        scan = partial(pt.scan, return_updates=False)
        x, results = nets.graph(d, scan, pt.shared, pt.grad, T, T, True)
        f = pt.function([x], results)
    else:
        import ltensor as theano
        import ltensor.tensor as T

        def scan(*a, **k):
            return theano.scan(*a, **k)[0]

        x, results = nets.graph(d, scan, theano.shared, T.grad, T, T.nnet, False)
        f = theano.function([x], results)
    return lambda: f(d["x"][:2]), lambda: f(d["x"])


def lstm_jax(d: Data) -> Pair:
    import jax
    import jax.numpy as jnp
    from jax import lax, nn

    cell = nets.cells(nn.sigmoid, jnp.tanh, jnp.dot, LSTM_H)["lstm"]
    w = {name: jnp.asarray(value) for name, value in d["w"].items()}

    def loss(w, x):
        def step(states, z):
            states = cell(z, *states, w["u"])
            return states, states[0]

        zeros = [jnp.zeros((LSTM_B, LSTM_H), "float32")] * 2
        return (lax.scan(step, zeros, x @ w["wx"] + w["b"])[1] ** 2).mean()

    f = jax.jit(jax.value_and_grad(loss))

    def run(x):
        value, gradients = f(w, x)
        return [value, *(gradients[name] for name in d["w"])]

    return lambda: run(d["x"][:2]), lambda: run(d["x"])


UNITS = {"numba": "no graph: its memory is what the user writes"}

ROWS = [
    Row(
        "memory",
        "1e6 steps of 1000 numbers, last kept",
        vectors,
        {"lt": last_lt, "jax": last_jax, "pytensor": last_pytensor},
        kind="memory",
        limit=2**20,
        rtol=1e-6,
        notes=UNITS,
    ),
    Row(
        "memory",
        "gradient of 1e5 steps of 1000 numbers",
        vectors,
        {"lt": gradient_lt, "jax": gradient_jax, "pytensor": gradient_pytensor},
        kind="memory",
        limit=64 * 2**20,
        rtol=1e-6,
        atol=1e-30,
        notes=UNITS,
    ),
    Row(
        "memory",
        "LSTM trace, T=1000 B=32 H=128, float32",
        lstm_inputs,
        {"lt": partial(lstm, False), "jax": lstm_jax, "pytensor": partial(lstm, True)},
        kind="memory",
        steps=4 * LSTM_STEPS * LSTM_B * LSTM_H,
        limit=6,
        rtol=2e-3,
        atol=1e-7,
        notes=UNITS,
    ),
]
