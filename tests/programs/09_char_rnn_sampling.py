"""Character model: vanilla RNN, truncated gradient, then text sampled inside scan with
multinomial + until."""

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams

floatX = theano.config.floatX
TEXT = "hello world. " * 12


class CharRNN(object):
    def __init__(self, vocab, hidden, seed=0):
        rng = np.random.RandomState(seed)

        def init(*shape):
            return theano.shared((0.3 * rng.randn(*shape)).astype(floatX))

        self.Wx, self.Wh, self.bh = init(vocab, hidden), init(hidden, hidden), init(hidden)
        self.Wy, self.by = init(hidden, vocab), init(vocab)
        self.params = [self.Wx, self.Wh, self.bh, self.Wy, self.by]
        self.hidden = hidden

    def step(self, i_t, h_tm1):
        h_t = T.tanh(self.Wx[i_t] + T.dot(h_tm1, self.Wh) + self.bh)
        return h_t

    def loss(self, idx):
        h, _ = theano.scan(
            fn=self.step,
            sequences=idx[:-1],
            outputs_info=T.zeros((self.hidden,), dtype=floatX),
            truncate_gradient=8,
        )
        p = T.nnet.softmax(T.dot(h, self.Wy) + self.by)
        return T.nnet.categorical_crossentropy(p, idx[1:]).mean()


def main():
    chars = sorted(set(TEXT))
    code = np.array([chars.index(c) for c in TEXT], dtype="int32")
    rnn = CharRNN(len(chars), 24, seed=3)
    idx = T.ivector("idx")
    cost = rnn.loss(idx)
    grads = [T.clip(g, -1, 1) for g in T.grad(cost, rnn.params)]
    # rmsprop
    updates = []
    for p, g in zip(rnn.params, grads):
        acc = theano.shared(np.zeros_like(p.get_value()))
        acc_new = 0.9 * acc + 0.1 * g**2
        updates.append((acc, acc_new))
        updates.append((p, p - 0.01 * g / T.sqrt(acc_new + 1e-6)))
    train = theano.function(inputs=[idx], outputs=cost, updates=updates, allow_input_downcast=True)
    costs = [train(code[k % 13 : k % 13 + 40]) for k in range(150)]
    assert np.mean(costs[-5:]) < 0.25 * costs[0], (costs[0], costs[-1])

    # Sampling: at each step draw a character from the distribution; stop after a dot.
    srng = MRG_RandomStreams(seed=42)
    first = T.iscalar("first")
    temperature = T.scalar("temperature")

    def sample_step(c_tm1, h_tm1):
        h_t = rnn.step(c_tm1, h_tm1)
        p = T.nnet.softmax((T.dot(h_t, rnn.Wy) + rnn.by) / temperature)
        one_hot = srng.multinomial(n=1, pvals=p, dtype=floatX)[0]
        c_t = T.cast(T.argmax(one_hot), "int32")
        return [c_t, h_t], theano.scan_module.until(T.eq(c_t, chars.index(".")))

    (drawn, _), scan_updates = theano.scan(
        sample_step,
        outputs_info=[first, T.zeros((rnn.hidden,), dtype=floatX)],
        n_steps=60,
    )
    sample = theano.function([first, temperature], drawn, updates=scan_updates)
    texts = ["h" + "".join(chars[i] for i in sample(chars.index("h"), 0.3)) for _ in range(6)]
    assert all(t.endswith(".") or len(t) == 61 for t in texts), texts
    assert sum(t == "hello world." for t in texts) >= 3, texts
    hot = {"".join(chars[i] for i in sample(chars.index("h"), 20.0)) for _ in range(6)}
    assert len(hot) > 3, hot


if __name__ == "__main__":
    main()
