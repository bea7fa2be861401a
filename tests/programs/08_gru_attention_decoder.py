"""Encoder-decoder with GRU and attention; one step compiled apart for greedy and beam decoding."""

import numpy
import theano
import theano.tensor as T

floatX = theano.config.floatX


class Model:
    def __init__(self, rng, vocab, dim):
        self.vocab, self.dim = vocab, dim
        self.params = []

        def param(name, *shape):
            value = rng.normal(0, 1.0 / numpy.sqrt(shape[0]), shape).astype(floatX)
            p = theano.shared(value, name=name)
            self.params.append(p)
            return p

        self.E = param("E", vocab, dim)
        self.enc = [param("Wx", dim, 3 * dim), param("Uh", dim, 3 * dim)]
        self.dec = [param("Wy", dim, 3 * dim), param("Uy", dim, 3 * dim), param("C", dim, 3 * dim)]
        self.att = [param("Wa", dim, dim), param("Ua", dim, dim), param("va", dim)]
        self.out = param("Wo", dim, vocab)

    def gru(self, gates, h, U):
        d = self.dim
        hu = T.dot(h, U)
        z = T.nnet.sigmoid(gates[:, :d] + hu[:, :d])
        r = T.nnet.sigmoid(gates[:, d : 2 * d] + hu[:, d : 2 * d])
        cand = T.tanh(gates[:, 2 * d :] + r * hu[:, 2 * d :])
        return (1.0 - z) * h + z * cand

    def encode(self, x, x_mask):
        emb = self.E[x]  # (time, batch, dim)
        assert emb.ndim == 3

        def step(e_t, m_t, h, W, U):
            new = self.gru(T.dot(e_t, W), h, U)
            return m_t[:, None] * new + (1 - m_t[:, None]) * h

        h0 = T.zeros((x.shape[1], self.dim))
        forward, _ = theano.scan(
            step, sequences=[emb, x_mask], outputs_info=h0, non_sequences=self.enc
        )
        backward, _ = theano.scan(
            step,
            sequences=[emb, x_mask],
            outputs_info=[h0],
            non_sequences=self.enc,
            go_backwards=True,
        )
        return forward + backward[::-1]

    def attend(self, h, ctx, ctx_proj, x_mask):
        Wa, _, va = self.att
        energy = T.dot(T.tanh(ctx_proj + T.dot(h, Wa)[None, :, :]), va)
        alpha = T.exp(energy - energy.max(axis=0, keepdims=True)) * x_mask
        alpha = alpha / alpha.sum(axis=0, keepdims=True)
        return alpha, (ctx * alpha[:, :, None]).sum(axis=0)

    def step(self, y_emb, h, ctx, ctx_proj, x_mask, Wy, Uy, C):
        alpha, c = self.attend(h, ctx, ctx_proj, x_mask)
        return self.gru(T.dot(y_emb, Wy) + T.dot(c, C), h, Uy), alpha

    def decode(self, y, ctx, x_mask):
        emb = self.E[y]
        shifted = T.zeros_like(emb)
        shifted = T.set_subtensor(shifted[1:], emb[:-1])
        ctx_proj = T.dot(ctx, self.att[1])
        (hs, alphas), _ = theano.scan(
            self.step,
            sequences=[shifted],
            outputs_info=[ctx.mean(0), None],
            non_sequences=[ctx, ctx_proj, x_mask] + self.dec,
            n_steps=y.shape[0],
            strict=False,
        )
        return hs, alphas

    def logits(self, h):
        return T.dot(h, self.out)


def clip_by_norm(grads, bound):
    g2 = 0.0
    for g in grads:
        g2 += (g**2).sum()
    return [T.switch(g2 > bound**2, g / T.sqrt(g2) * bound, g) for g in grads]


def adam(lr, params, grads):
    updates = []
    i = theano.shared(numpy.float32(0.0).astype(floatX))
    i_t = i + 1.0
    lr_t = lr * (T.sqrt(1.0 - 0.999**i_t) / (1.0 - 0.9**i_t))
    for p, g in zip(params, grads):
        m = theano.shared(p.get_value() * 0.0)
        v = theano.shared(p.get_value() * 0.0)
        m_t = 0.1 * g + 0.9 * m
        v_t = 0.001 * T.sqr(g) + 0.999 * v
        updates += [(m, m_t), (v, v_t), (p, p - lr_t * m_t / (T.sqrt(v_t) + 1e-8))]
    updates.append((i, i_t))
    return updates


def beam_search(f_init, f_next, x, m, k, length):
    ctx = f_init(x, m)
    beams = [(0.0, [], ctx.mean(0), -1)]
    for _ in range(length):
        candidates = []
        for score, words, state, last in beams:
            logp, new_state = f_next([last], state, ctx, m)
            for w in logp[0].argsort()[::-1][:k]:
                candidates.append((score + logp[0, w], [*words, int(w)], new_state, int(w)))
        beams = sorted(candidates, key=lambda b: -b[0])[:k]
    return beams


def main():
    rng = numpy.random.RandomState(5)
    vocab, dim, length = 6, 16, 4
    model = Model(rng, vocab, dim)
    x, y = T.lmatrix("x"), T.lmatrix("y")
    x_mask = T.matrix("x_mask")
    ctx = model.encode(x, x_mask)
    hs, alphas = model.decode(y, ctx, x_mask)
    logit = model.logits(hs)
    flat = T.nnet.softmax(logit.reshape([logit.shape[0] * logit.shape[1], logit.shape[2]]))
    idx = T.arange(y.size) * vocab + y.flatten()
    cost = -T.log(flat.flatten()[idx]).reshape(y.shape).sum(0).mean()
    grads = clip_by_norm(T.grad(cost, wrt=model.params), 5.0)
    train = theano.function([x, x_mask, y], cost, updates=adam(0.01, model.params, grads))
    f_alpha = theano.function([x, x_mask, y], alphas)
    f_init = theano.function([x, x_mask], ctx)

    last, state, context = T.lvector("last"), T.matrix("state"), T.tensor3("ctx")
    emb = T.switch(last[:, None] < 0, T.alloc(0.0, 1, dim), model.E[last])
    new_state, _ = model.step(emb, state, context, T.dot(context, model.att[1]), x_mask, *model.dec)
    f_next = theano.function(
        [last, state, context, x_mask], [T.log(T.nnet.softmax(model.logits(new_state))), new_state]
    )

    data = rng.randint(0, vocab, (length, 64))
    mask = numpy.ones((length, 64), dtype=floatX)
    target = data[::-1]  # say it backwards
    costs = [float(train(data, mask, target)) for _ in range(150)]
    assert costs[-1] < 0.25 * costs[0], (costs[0], costs[-1])
    a = f_alpha(data, mask, target)
    assert a.shape == (length, length, 64)
    numpy.testing.assert_allclose(a.sum(axis=1), 1.0, rtol=1e-5)

    right = 0
    for n in range(8):
        beams = beam_search(f_init, f_next, data[:, n : n + 1], mask[:, n : n + 1], 3, length)
        assert beams[0][0] >= beams[1][0] >= beams[2][0]
        right += beams[0][1] == list(target[:, n])
    assert right >= 6, right


if __name__ == "__main__":
    main()
