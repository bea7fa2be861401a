"""W09: vanilla, GRU and LSTM nets over 100 steps, float32: forward, and value with gradients.

The loss is the mean square of all states. The input products stand outside the loop for JAX and
PyTensor, as their users write them; ltensor moves them out itself.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.row import Data, Row, Work

T_STEPS = 100
GATES = {"vanilla": 1, "gru": 3, "lstm": 4}


def inputs(cell: str, train: bool, b: int, h: int, rng: np.random.Generator) -> Data:
    def some(*shape):
        return rng.standard_normal(shape).astype("float32")

    g, d = GATES[cell], h
    weights = {"wx": some(d, g * h) / d**0.5, "u": some(h, g * h) / h**0.5, "b": 0.1 * some(g * h)}
    if cell == "gru":
        weights["u"] = some(h, 2 * h) / h**0.5
        weights["uc"] = some(h, h) / h**0.5
    names = ("wx", "u", "uc", "b") if cell == "gru" else ("wx", "u", "b")
    weights = {n: np.ascontiguousarray(weights[n], dtype="float32") for n in names}
    return {
        "cell": cell,
        "train": train,
        "B": b,
        "H": h,
        "D": d,
        "w": weights,
        "x": some(T_STEPS, b, d),
    }


def cells(sigmoid, tanh, dot, h_size):
    """The three cells over the projected input z: (z, states, weights) to the new states."""
    n = h_size

    def vanilla(z, h, u):
        return [tanh(z + dot(h, u))]

    def lstm(z, h, c, u):
        z = z + dot(h, u)
        i, f, o = sigmoid(z[:, :n]), sigmoid(z[:, n : 2 * n]), sigmoid(z[:, 2 * n : 3 * n])
        c = f * c + i * tanh(z[:, 3 * n :])
        return [o * tanh(c), c]

    def gru(z, h, u, uc):
        gates = sigmoid(z[:, : 2 * n] + dot(h, u))
        reset, update = gates[:, :n], gates[:, n:]
        candidate = tanh(z[:, 2 * n :] + dot(reset * h, uc))
        return [update * h + (1 - update) * candidate]

    return {"vanilla": vanilla, "lstm": lstm, "gru": gru}


def recurrent(d: Data) -> list[str]:
    return ["u", "uc"] if d["cell"] == "gru" else ["u"]


def graph(d: Data, scan, shared, grad, T, nnet, hoisted: bool):
    """Input and results (ltensor and PyTensor)."""
    x = T.ftensor3("x")
    w = {name: shared(value, name=name) for name, value in d["w"].items()}
    step = cells(nnet.sigmoid, T.tanh, T.dot, d["H"])[d["cell"]]
    zero = T.zeros((x.shape[1], d["H"]), dtype="float32")
    zeros = [zero] * (2 if d["cell"] == "lstm" else 1)
    last = [w[name] for name in recurrent(d)]
    if hoisted:
        rows = scan(step, T.dot(x, w["wx"]) + w["b"], zeros, last)
    else:

        def whole(x, *rest):
            return step(T.dot(x, rest[-2]) + rest[-1], *rest[:-2])

        rows = scan(whole, x, zeros, [*last, w["wx"], w["b"]])
    h = rows[0] if isinstance(rows, list) else rows
    if not d["train"]:
        return x, h
    loss = (h**2).mean()
    return x, [loss, *grad(loss, list(w.values()))]


def lt(d: Data) -> Work:
    import ltensor as theano
    import ltensor.tensor as T

    x, results = graph(
        d, lambda *a, **k: theano.scan(*a, **k)[0], theano.shared, T.grad, T, T.nnet, False
    )
    f = theano.function([x], results)
    return lambda: f(d["x"])


def pytensor(d: Data) -> Work:
    import pytensor as pt
    import pytensor.tensor as T

    pt.config.floatX = "float32"
    scan = partial(pt.scan, return_updates=False)
    x, results = graph(d, scan, pt.shared, pt.grad, T, T, True)
    f = pt.function([x], results)
    pt.config.floatX = "float64"
    return lambda: f(d["x"])


def jax(d: Data) -> Work:
    import jax.numpy as jnp
    from jax import jit, lax, nn, value_and_grad

    w = {name: jnp.asarray(value) for name, value in d["w"].items()}
    x = jnp.asarray(d["x"])
    cell = cells(nn.sigmoid, jnp.tanh, jnp.dot, d["H"])[d["cell"]]
    zeros = [jnp.zeros((d["B"], d["H"]), "float32")] * (2 if d["cell"] == "lstm" else 1)

    def states(w, x):
        z = x @ w["wx"] + w["b"]

        def step(states, z):
            states = cell(z, *states, *(w[name] for name in recurrent(d)))
            return states, states[0]

        return lax.scan(step, zeros, z)[1]

    if not d["train"]:
        forward = jit(states)
        return lambda: forward(w, x).block_until_ready()
    f = jit(value_and_grad(lambda w, x: (states(w, x) ** 2).mean()))

    def work():
        value, gradients = f(w, x)
        value.block_until_ready()
        return [value, *(gradients[name] for name in d["w"])]

    return work


def c(d: Data) -> Work:
    import ctypes

    from benchmarks import kernels

    cell, b, h, g = d["cell"], d["B"], d["H"], GATES[d["cell"]]

    def buffer(*shape):
        return np.zeros(shape, "float32")

    hs, z = buffer(T_STEPS + 1, b, h), buffer(T_STEPS, b, g * h)
    kept = {
        "vanilla": [hs, z],
        "lstm": [hs, buffer(T_STEPS + 1, b, h), z],
        "gru": [hs, buffer(T_STEPS, b, h), z],
    }[cell]
    sizes = (T_STEPS, b, d["D"], h)
    given = (kernels.sgemm(), d["x"], *d["w"].values(), *kept)
    if not d["train"]:
        f = kernels.call("recurrent", cell, *given, *sizes)

        def work():
            f()
            return hs[1:]

        return work
    adjoints = [buffer(b, h) for _ in range(1 if cell == "vanilla" else 2)]
    gradients = [np.zeros_like(value) for value in d["w"].values()]
    train = kernels.call(
        "recurrent",
        f"{cell}_train",
        *given,
        *adjoints,
        *gradients,
        *sizes,
        result=ctypes.c_float,
    )
    return lambda: [train(), *gradients]


def floor(d: Data) -> Work:
    from benchmarks import kernels

    b, h, g = d["B"], d["H"], GATES[d["cell"]]
    u, z = np.ones((h, g * h), "float32"), np.ones((T_STEPS, b, g * h), "float32")
    hs = np.zeros((T_STEPS + 1, b, h), "float32")
    return kernels.call(
        "recurrent", "products", kernels.sgemm(), d["x"], d["w"]["wx"], u, hs, z,
        np.empty_like(d["w"]["wx"]), np.empty_like(u), T_STEPS, b, d["D"], h, g, int(d["train"]),
    )  # fmt: skip


def numpy_(d: Data) -> Work:
    """Forward and backward by hand."""
    w, x, n, b = d["w"], d["x"], d["H"], d["B"]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    cell = cells(sigmoid, np.tanh, np.dot, n)[d["cell"]]
    last = [w[name] for name in recurrent(d)]

    def forward(z):
        states = [np.zeros((b, n), "float32")] * (2 if d["cell"] == "lstm" else 1)
        kept = [states]
        for t in range(T_STEPS):
            states = cell(z[t], *states, *last)
            kept.append(states)
        return kept

    def vanilla_back(z, e, before, after):
        e = e[0] * (1 - after[0] ** 2)
        return e, [e @ w["u"].T], [before[0].T @ e]

    def lstm_back(z, e, before, after):
        z = z + before[0] @ w["u"]
        s = sigmoid(z[:, : 3 * n])
        i, f, o, g = s[:, :n], s[:, n : 2 * n], s[:, 2 * n :], np.tanh(z[:, 3 * n :])
        t = np.tanh(after[1])
        ec = e[1] + e[0] * o * (1 - t**2)
        e = np.hstack(
            [
                ec * g * i * (1 - i),
                ec * before[1] * f * (1 - f),
                e[0] * t * o * (1 - o),
                ec * i * (1 - g**2),
            ]
        )
        return e, [e @ w["u"].T, ec * f], [before[0].T @ e]

    def gru_back(z, e, before, after):
        h, e = before[0], e[0]
        gates = sigmoid(z[:, : 2 * n] + h @ w["u"])
        r, v = gates[:, :n], gates[:, n:]
        g = np.tanh(z[:, 2 * n :] + (r * h) @ w["uc"])
        eg = e * (1 - v) * (1 - g**2)
        eq = eg @ w["uc"].T
        gate = np.hstack([eq * h * r * (1 - r), e * (h - g) * v * (1 - v)])
        return (
            np.hstack([gate, eg]),
            [e * v + eq * r + gate @ w["u"].T],
            [h.T @ gate, (r * h).T @ eg],
        )

    back = {"vanilla": vanilla_back, "lstm": lstm_back, "gru": gru_back}[d["cell"]]

    def work():
        z = x @ w["wx"] + w["b"]
        kept = forward(z)
        hs = np.array([states[0] for states in kept[1:]])
        if not d["train"]:
            return hs
        e = [np.zeros((b, n), "float32") for _ in kept[0]]
        sums = [np.zeros_like(value) for value in last]
        ez = np.empty_like(z)
        for t in range(T_STEPS - 1, -1, -1):
            e[0] = e[0] + np.float32(2 / hs.size) * hs[t]
            ez[t], e, parts = back(z[t], e, kept[t], kept[t + 1])
            sums = [a + p for a, p in zip(sums, parts, strict=True)]
        flat = ez.reshape(-1, ez.shape[2])
        return [(hs**2).mean(), x.reshape(-1, d["D"]).T @ flat, *sums, flat.sum(0)]

    return work


PEERS = {"lt": lt, "c": c, "jax": jax, "pytensor": pytensor, "numpy": numpy_, "floor": floor}
CASES = [(False, 1, 128, 0.5, 0.9), (True, 1, 128, 0.5, 0.9), (True, 32, 128, 0.55, 0.7),
         (False, 128, 512, 0.55, 0.7)]  # fmt: skip

ROWS = [
    Row(
        "W09",
        f"{cell} B={b} H={h} {'train' if train else 'forward'}",
        partial(inputs, cell, train, b, h),
        PEERS,
        steps=T_STEPS,
        graph=graph_target,
        c=c_target,
        speedup=1.7 if train and b == 32 else None,
        rtol=2e-3,
        atol=1e-7,
        floor="the products alone, by OpenBLAS",
        notes={"numba": "has no gradients or BLAS of its own; the loop by hand is the C one"},
    )
    for cell in ("lstm", "gru", "vanilla")
    for train, b, h, graph_target, c_target in CASES
]
