"""Deep Q-learning on a corridor: replay memory in shared variables, target network by updates,
Huber loss."""

from collections import OrderedDict

import numpy as np
import theano
import theano.tensor as T

floatX = theano.config.floatX
N = 7  # cells; reward at the right end


class QNetwork:
    def __init__(self, rng, hidden=16, batch=16, discount=0.9, lr=0.02):
        self.rng, self.batch = rng, batch

        def net():
            shapes = [(N, hidden), (hidden,), (hidden, 2), (2,)]
            return [
                theano.shared((0.3 * rng.randn(*s)).astype(floatX) * (len(s) > 1)) for s in shapes
            ]

        self.params, self.target = net(), net()
        states, next_states = T.matrix("states"), T.matrix("next_states")
        rewards, actions, terminals = T.col("rewards"), T.icol("actions"), T.icol("terminals")
        self.states_shared = theano.shared(np.zeros((batch, N), dtype=floatX))
        self.next_shared = theano.shared(np.zeros((batch, N), dtype=floatX))
        self.rewards_shared = theano.shared(
            np.zeros((batch, 1), dtype=floatX), broadcastable=(False, True)
        )
        self.actions_shared = theano.shared(
            np.zeros((batch, 1), dtype="int32"), broadcastable=(False, True)
        )
        self.terminals_shared = theano.shared(
            np.zeros((batch, 1), dtype="int32"), broadcastable=(False, True)
        )
        q_vals = self.q(states, self.params)
        next_q = theano.gradient.disconnected_grad(self.q(next_states, self.target))
        target = rewards + T.cast(1 - terminals, floatX) * np.float32(discount) * T.max(
            next_q, axis=1, keepdims=True
        )
        diff = target - q_vals[T.arange(batch), actions.reshape((-1,))].reshape((-1, 1))
        quadratic = T.minimum(abs(diff), 1.0)
        linear = abs(diff) - quadratic
        loss = T.sum(0.5 * quadratic**2 + linear)
        givens = {
            states: self.states_shared,
            next_states: self.next_shared,
            rewards: self.rewards_shared,
            actions: self.actions_shared,
            terminals: self.terminals_shared,
        }
        updates = OrderedDict()
        for p, g in zip(self.params, T.grad(loss, self.params)):
            updates[p] = p - T.cast(lr, floatX) * g
        self._train = theano.function([], [loss, q_vals], updates=updates, givens=givens)
        self._copy = theano.function([], [], updates=list(zip(self.target, self.params)))
        state = T.vector("state")
        self._q = theano.function([state], self.q(state.dimshuffle("x", 0), self.params)[0])

    def q(self, x, p):
        return T.dot(T.nnet.relu(T.dot(x, p[0]) + p[1]), p[2]) + p[3]

    def train(self, memory):
        pick = [memory[i] for i in self.rng.randint(0, len(memory), self.batch)]
        s, a, r, s2, t = zip(*pick)
        self.states_shared.set_value(np.array(s, dtype=floatX))
        self.next_shared.set_value(np.array(s2, dtype=floatX))
        self.actions_shared.set_value(np.array(a, dtype="int32").reshape(-1, 1))
        self.rewards_shared.set_value(np.array(r, dtype=floatX).reshape(-1, 1))
        self.terminals_shared.set_value(np.array(t, dtype="int32").reshape(-1, 1))
        loss, _ = self._train()
        return np.sqrt(loss)


def one_hot(i):
    return np.eye(N, dtype=floatX)[i]


def main():
    rng = np.random.RandomState(1)
    net = QNetwork(rng)
    memory, cell = [], 0
    for _ in range(600):
        action = rng.randint(2)
        new = min(max(cell + (1 if action else -1), 0), N - 1)
        done = new == N - 1
        memory.append((one_hot(cell), action, float(done), one_hot(new), int(done)))
        cell = 0 if done else new
    losses = []
    for step in range(1500):
        if step % 50 == 0:
            net._copy()
        losses.append(net.train(memory))
    assert np.mean(losses[-100:]) < np.mean(losses[:100])
    values = np.array([net._q(one_hot(i)) for i in range(N - 1)])
    assert (values.argmax(axis=1) == 1).all(), values
    exact = 0.9 ** np.arange(N - 2, -1, -1)
    np.testing.assert_allclose(values[:, 1], exact, atol=0.12)
    # The target network is a copy, not an alias.
    net._copy()
    before = net.target[0].get_value()
    net.train(memory)
    assert (net.target[0].get_value() == before).all()
    assert (net.params[0].get_value() != before).any()


if __name__ == "__main__":
    main()
