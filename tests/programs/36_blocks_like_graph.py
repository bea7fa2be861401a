"""Programs that look into graphs: roles by tag, variable filter, theano.clone for noise,
replacing, equal graphs."""

import numpy as np
import theano
import theano.tensor as T
from theano.gof.graph import Constant, Variable, clone_get_equiv, inputs
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.sharedvar import TensorSharedVariable

floatX = theano.config.floatX
WEIGHT, BIAS, OUTPUT = "weight", "bias", "output"


def add_role(variable, role):
    variable.tag.roles = getattr(variable.tag, "roles", []) + [role]
    return variable


class Linear:
    def __init__(self, name, rng, n_in, n_out):
        self.W = add_role(theano.shared(rng.randn(n_in, n_out).astype(floatX), name + ".W"), WEIGHT)
        self.b = add_role(theano.shared(np.zeros(n_out, dtype=floatX), name + ".b"), BIAS)
        self.name = name

    def apply(self, x):
        out = T.dot(x, self.W) + self.b
        out.name = self.name + "_output"
        return add_role(out, OUTPUT)


class ComputationGraph:
    def __init__(self, outputs):
        self.outputs = outputs if isinstance(outputs, list) else [outputs]
        self.variables, self.scans, self.updates = [], [], {}
        seen = set()

        def walk(var):
            if var in seen:
                return
            seen.add(var)
            owner = var.owner
            if owner is not None:
                if type(owner.op).__name__ == "Scan" or (
                    hasattr(owner.op, "fn") and hasattr(owner.op, "outputs")
                ):
                    self.scans.append(owner.op)
                for i in owner.inputs:
                    walk(i)
            update = getattr(var, "default_update", None)
            if update is not None:
                self.updates[var] = update
            self.variables.append(var)

        for o in self.outputs:
            walk(o)

    @property
    def inputs(self):
        return inputs(self.outputs)

    @property
    def shared_variables(self):
        return [v for v in self.variables if isinstance(v, TensorSharedVariable)]

    def filter(self, role):
        return [v for v in self.variables if role in getattr(v.tag, "roles", [])]

    def replace(self, replacements):
        return ComputationGraph(theano.clone(self.outputs, replace=replacements))


def main():
    rng = np.random.RandomState(0)
    x, y = T.matrix("features"), T.lvector("targets")
    first, second = Linear("first", rng, 4, 6), Linear("second", rng, 6, 3)
    h = T.tanh(first.apply(x))
    p = T.nnet.softmax(second.apply(h))
    cost = T.nnet.categorical_crossentropy(p, y).mean()
    cost.name = "cost"
    cg = ComputationGraph(cost)
    assert {v.name for v in cg.shared_variables} == {"first.W", "first.b", "second.W", "second.b"}
    assert [v.name for v in cg.filter(OUTPUT)] == ["first_output", "second_output"]
    weights = cg.filter(WEIGHT)
    assert {w.name for w in weights} == {"first.W", "second.W"}
    plain = {v for v in cg.inputs if not isinstance(v, (Constant, theano.compile.SharedVariable))}
    assert plain == {x, y}
    assert all(isinstance(v, Variable) for v in cg.variables)

    # Noise on the weights and dropout on an activation, by replacing in the graph.
    srng = MRG_RandomStreams(1)
    noisy = cg.replace({w: w + srng.normal(w.shape, std=0.1, dtype=floatX) for w in weights})
    dropped = cg.replace({h: h * srng.binomial(h.shape, p=0.5, dtype=floatX) * 2})
    xv = rng.randn(10, 4).astype(floatX)
    yv = rng.randint(0, 3, 10)
    f = theano.function([x, y], [cg.outputs[0], noisy.outputs[0], dropped.outputs[0]])
    c1, n1, d1 = f(xv, yv)
    c2, n2, d2 = f(xv, yv)
    assert c1 == c2 and n1 != n2 and d1 != d2 and n1 != c1
    assert noisy.updates and all(
        "state" in str(u.type).lower() or u.ndim == 2 for u in noisy.updates
    )
    # The gradient flows through the noise to the weights themselves.
    g = theano.function([x, y], T.grad(noisy.outputs[0], weights))(xv, yv)
    assert all(np.isfinite(v).all() and v.any() for v in g)

    # Weight decay by role; the extra term's gradient is 2*lambda*W.
    l2 = 0.1 * sum((w**2).sum() for w in weights)
    diff = [a - b for a, b in zip(T.grad(cost + l2, weights), T.grad(cost, weights))]
    for d, w in zip(theano.function([x, y], diff)(xv, yv), weights):
        np.testing.assert_allclose(d, 0.2 * w.get_value(), rtol=1e-3, atol=1e-6)

    # Owners, inputs and types by hand.
    assert cost.owner.op is not None and p.owner.inputs[0].name == "second_output"
    assert isinstance(h.owner.op, T.Elemwise) and h.type == T.matrix().type
    assert first.W.owner is None and first.W.container.storage[0].shape == (4, 6)
    assert h.owner.outputs[0] is h and h.owner.outputs.index(h) == h.index == 0
    assert x in theano.gof.graph.ancestors([cost]) and y not in theano.gof.graph.ancestors([p])

    # Copies of graphs.
    twin = theano.clone(p, replace={x: 2 * x})
    equal = theano.clone(p)
    got = theano.function([x], [p, twin, equal])(xv)
    doubled = theano.function([x], p)(2 * xv)
    np.testing.assert_allclose(got[1], doubled, rtol=1e-5)
    np.testing.assert_allclose(got[0], got[2])
    table = clone_get_equiv([x], [p])
    assert table[p] is not p and table[x] is not None
    assert theano.gof.graph.is_same_graph(p, T.nnet.softmax(p.owner.inputs[0]))
    strict = theano.clone(x.sum(), replace={x: T.zeros((2, 2))}, strict=False)
    assert strict.eval() == 0
    fg = theano.gof.FunctionGraph([x, y, *cg.shared_variables], [cost], clone=True)
    assert len(fg.toposort()) >= 5 and len(fg.inputs) == 6
    for node in fg.toposort():
        for out in node.outputs:
            assert isinstance(out.type, theano.gof.Type)

    # Scans inside, and their inner graph.
    seq, _ = theano.scan(lambda r, s: T.tanh(r + s), sequences=x, outputs_info=T.zeros((4,)))
    scan_op = next(
        n.op
        for n in theano.gof.graph.io_toposort([x], [seq])
        if isinstance(n.op, theano.scan_module.scan_op.Scan)
    )
    assert scan_op.n_seqs == 1 and len(scan_op.outputs) == 1 and len(scan_op.inputs) >= 2
    # is_same_graph with givens.
    a, b = T.vectors("a", "b")
    assert theano.gof.graph.is_same_graph(T.exp(a + b), T.exp(a + b))
    assert not theano.gof.graph.is_same_graph(T.exp(a + b), T.exp(a * b))


if __name__ == "__main__":
    main()
