"""Every classic update rule on one ill-conditioned problem, each against the same rule in NumPy."""

from collections import OrderedDict

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


def as_float(x):
    return np.asarray(x, dtype=floatX)


def sgd(grads, params, lr=0.05):
    return OrderedDict((p, p - lr * g) for p, g in zip(params, grads))


def apply_momentum(updates, params, momentum=0.9, nesterov=False):
    updates = OrderedDict(updates)
    for param in params:
        value = param.get_value(borrow=True)
        velocity = theano.shared(
            np.zeros(value.shape, dtype=value.dtype), broadcastable=param.broadcastable
        )
        if nesterov:
            x = momentum * velocity + updates[param] - param
            updates[velocity] = x
            updates[param] = momentum * x + updates[param]
        else:
            x = momentum * velocity + updates[param]
            updates[velocity] = x - param
            updates[param] = x
    return updates


def adagrad(grads, params, lr=0.5):
    updates = OrderedDict()
    for p, g in zip(params, grads):
        acc = theano.shared(np.zeros_like(p.get_value(borrow=True)), broadcastable=p.broadcastable)
        new = acc + g**2
        updates[acc] = new
        updates[p] = p - (lr * g / T.sqrt(new + 1e-6))
    return updates


def rmsprop(grads, params, lr=0.1, rho=0.9):
    updates = OrderedDict()
    one = T.constant(1)
    for p, g in zip(params, grads):
        acc = theano.shared(np.zeros_like(p.get_value(borrow=True)), broadcastable=p.broadcastable)
        new = rho * acc + (one - rho) * g**2
        updates[acc] = new
        updates[p] = p - (lr * g / T.sqrt(new + 1e-6))
    return updates


def adamax(grads, params, lr=0.1, b1=0.9, b2=0.999):
    t_prev = theano.shared(as_float(0.0))
    updates = OrderedDict()
    t = t_prev + 1
    a_t = lr / (1 - b1**t)
    for p, g in zip(params, grads):
        m = theano.shared(p.get_value() * 0, broadcastable=p.broadcastable)
        u = theano.shared(p.get_value() * 0, broadcastable=p.broadcastable)
        m_t = b1 * m + (1 - b1) * g
        u_t = T.maximum(b2 * u, abs(g))
        updates[m], updates[u] = m_t, u_t
        updates[p] = p - a_t * m_t / (u_t + 1e-8)
    updates[t_prev] = t
    return updates


def total_norm_constraint(tensors, max_norm, epsilon=1e-7, return_norm=False):
    norm = T.sqrt(sum(T.sum(tensor**2) for tensor in tensors))
    target_norm = T.clip(norm, 0, as_float(max_norm))
    multiplier = target_norm / (as_float(epsilon) + norm)
    scaled = [step * multiplier for step in tensors]
    return (scaled, norm) if return_norm else scaled


def norm_constraint(tensor_var, max_norm):
    sum_over = tuple(range(1, tensor_var.ndim))
    norms = T.sqrt(T.sum(T.sqr(tensor_var), axis=sum_over, keepdims=True))
    target = T.clip(norms, 0, as_float(max_norm))
    return tensor_var * (target / (1e-7 + norms))


def reference(rule, x, steps):
    a, v, s = np.array([1.0, 10.0]), np.zeros(2), np.zeros(2)
    for t in range(1, steps + 1):
        g = a * x
        if rule == "sgd":
            x = x - 0.05 * g
        elif rule == "momentum":
            v = 0.9 * v - 0.05 * g
            x = x + v
        elif rule == "nesterov":
            v = 0.9 * v - 0.05 * g
            x = x + 0.9 * v - 0.05 * g
        elif rule == "adagrad":
            s = s + g**2
            x = x - 0.5 * g / np.sqrt(s + 1e-6)
        elif rule == "rmsprop":
            s = 0.9 * s + 0.1 * g**2
            x = x - 0.1 * g / np.sqrt(s + 1e-6)
        elif rule == "adamax":
            v = 0.9 * v + 0.1 * g
            s = np.maximum(0.999 * s, abs(g))
            x = x - 0.1 / (1 - 0.9**t) * v / (s + 1e-8)
    return x


def main():
    rules = {
        "sgd": sgd,
        "momentum": lambda g, p: apply_momentum(sgd(g, p), p),
        "nesterov": lambda g, p: apply_momentum(sgd(g, p), p, nesterov=True),
        "adagrad": adagrad,
        "rmsprop": rmsprop,
        "adamax": adamax,
    }
    for name, rule in rules.items():
        w = theano.shared(as_float([[1.0, -1.0]]), name="w", broadcastable=(True, False))
        cost = 0.5 * T.sum(as_float([1.0, 10.0]) * w**2)
        updates = rule(T.grad(cost, [w]), [w])
        train = theano.function([], cost, updates=updates, name=name)
        for _ in range(25):
            train()
        expected = reference(name, np.array([1.0, -1.0]), 25)
        np.testing.assert_allclose(w.get_value()[0], expected, rtol=2e-3, atol=1e-5, err_msg=name)
        assert w.get_value().dtype == floatX

    # Norm clipping.
    a, b = T.matrix("a"), T.vector("b")
    scaled, norm = total_norm_constraint([a, b], 1.0, return_norm=True)
    f = theano.function([a, b], [*scaled, norm])
    sa, sb, n = f(as_float([[3.0, 0], [0, 0]]), as_float([4.0]))
    np.testing.assert_allclose(n, 5.0, rtol=1e-6)
    np.testing.assert_allclose([sa[0, 0], sb[0]], [0.6, 0.8], rtol=1e-5)
    rows = theano.function([a], norm_constraint(a, 2.0))(as_float([[3, 4], [0.3, 0.4]]))
    np.testing.assert_allclose(rows, [[1.2, 1.6], [0.3, 0.4]], rtol=1e-5)
    x = T.vector("x")
    clipped = T.grad((theano.gradient.grad_clip(x, -1, 1) ** 2).sum(), x)
    np.testing.assert_allclose(theano.function([x], clipped)(as_float([0.1, 5, -9])), [0.2, 1, -1])


if __name__ == "__main__":
    main()
