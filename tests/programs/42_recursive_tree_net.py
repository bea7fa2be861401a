"""Recursive network over a tree given as arrays: a loop that writes the rows of a table."""

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX


class TreeNet:
    def __init__(self, rng, n_words, dim, n_classes):
        init = lambda *s: theano.shared((rng.randn(*s) * 0.4).astype(floatX))  # noqa: E731
        self.emb, self.Wl, self.Wr = init(n_words, dim), init(dim, dim), init(dim, dim)
        self.b, self.U, self.c = init(dim), init(dim, n_classes), init(n_classes)
        self.params = [self.emb, self.Wl, self.Wr, self.b, self.U, self.c]

    def states(self, words, children):
        """Leaves first, then an inner node for each row of ``children``."""
        leaves = self.emb[words]
        n = words.shape[0]
        table = T.concatenate([leaves, T.zeros((children.shape[0], leaves.shape[1]))], axis=0)

        def compose(pair, k, table):
            left, right = table[pair[0]], table[pair[1]]
            node = T.tanh(T.dot(left, self.Wl) + T.dot(right, self.Wr) + self.b)
            return T.set_subtensor(table[n + k], node)

        tables, _ = theano.scan(
            compose, sequences=[children, T.arange(children.shape[0])], outputs_info=table
        )
        return tables[-1]


def main():
    rng = np.random.RandomState(9)
    net = TreeNet(rng, 6, 8, 2)
    words, children, y = T.ivector("words"), T.imatrix("children"), T.iscalar("y")
    root = net.states(words, children)[-1]
    p = T.nnet.softmax(T.dot(root, net.U) + net.c)[0]
    cost = -T.log(p[y]) + 1e-4 * sum(T.sum(q**2) for q in net.params)
    grads = T.grad(cost, net.params)
    accs = [theano.shared(np.zeros_like(q.get_value())) for q in net.params]
    updates = []
    for q, g, a in zip(net.params, grads, accs):
        a_new = a + g**2
        updates += [(a, a_new), (q, q - 0.2 * g / T.sqrt(a_new + 1e-6))]
    train = theano.function([words, children, y], cost, updates=updates)
    look = theano.function([words, children, y], [cost, root] + grads)
    predict = theano.function([words, children], p.argmax())

    def tree():
        """Words 0..2 against 3..5; the label is the side of the last word's tree."""
        n = rng.randint(2, 6)
        w = rng.randint(0, 6, n).astype("int32")
        nodes, table = list(range(n)), []
        while len(nodes) > 1:
            k = rng.randint(len(nodes) - 1)
            table.append((nodes[k], nodes[k + 1]))
            nodes[k : k + 2] = [n + len(table) - 1]
        return w, np.array(table, dtype="int32"), int((w >= 3).sum() * 2 > n)

    # Against recursion in NumPy, and differences.
    w, t, label = tree()
    value = look(w, t, label)
    emb, Wl, Wr, b = [q.get_value() for q in net.params[:4]]
    rows = [emb[k] for k in w]
    for left, right in t:
        rows.append(np.tanh(rows[left].dot(Wl) + rows[right].dot(Wr) + b))
    np.testing.assert_allclose(value[1], rows[-1], rtol=1e-4, atol=1e-6)
    eps = 1e-5 if floatX == "float64" else 1e-2
    for k, q in enumerate(net.params):
        base, spot = q.get_value(), tuple(s // 2 for s in q.get_value().shape)
        if k == 0:
            spot = (w[0], 1)
        ends = []
        for sign in (1, -1):
            moved = base.copy()
            moved[spot] += sign * eps
            q.set_value(moved)
            ends.append(float(look(w, t, label)[0]))
        q.set_value(base)
        numeric = (ends[0] - ends[1]) / (2 * eps)
        np.testing.assert_allclose(value[2 + k][spot], numeric, rtol=1e-2, atol=1e-3)

    trees = [tree() for _ in range(60)]
    first = np.mean([train(*s) for s in trees])
    for _ in range(15):
        last = np.mean([train(*s) for s in trees])
    assert last < 0.4 * first, (first, last)
    assert np.mean([predict(w, t) == label for w, t, label in trees]) > 0.9


if __name__ == "__main__":
    main()
