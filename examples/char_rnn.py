"""A recurrent network that learns to write like this project's documentation, letter by letter.

    ltensor run examples/char_rnn.py [--steps 500] [--hidden 128] [--seq 48]

A gated recurrent layer runs over the text in one ``scan``; ``T.grad`` goes through it; Adam with
clipped gradients trains it on minibatches cut out of one shared array.  At the end a second
compiled function writes some text, drawing each letter inside its own ``scan``.  The whole run
takes less than a minute: training stops after ``--seconds`` whatever happens.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import theano
import theano.tensor as T
from theano.sandbox.rng_mrg import MRG_RandomStreams

theano.config.floatX = "float32"

BATCH = 32
CLIP = 5.0


def read_text():
    """Give the project's documentation, or this file's own text where that is not at hand."""
    root = Path(__file__).resolve().parent.parent
    pages = [root / "README.md", *sorted((root / "docs").glob("**/*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.is_file())
    if len(text) < 2000:
        text += __doc__ + Path(__file__).read_text(encoding="utf-8")
    return text[:400_000].encode("ascii", "replace").decode("ascii")


def streams_of(text, seq):
    """Cut the text into BATCH streams; gives the letters and an array (time, BATCH)."""
    letters = sorted(set(text))
    number = {letter: i for i, letter in enumerate(letters)}
    ids = np.array([number[letter] for letter in text], dtype="int32")
    length = max(len(ids) // BATCH, seq + 1)
    ids = np.resize(ids, length * BATCH)  # a very short text is repeated
    return letters, np.ascontiguousarray(ids.reshape(BATCH, length).T)


class Model:
    """The network: shared parameters, and expressions made from them."""

    def __init__(self, n_letters, n_hidden, rng):
        def weights(name, *shape):
            bound = (6.0 / sum(shape)) ** 0.5
            return theano.shared(rng.uniform(-bound, bound, shape).astype("float32"), name=name)

        self.n_hidden = n_hidden
        # A one-hot vector times a matrix is a row of it: the input weights are simply indexed.
        self.embed = weights("embed", n_letters, 3 * n_hidden)
        self.gates = weights("gates", n_hidden, 2 * n_hidden)
        self.candidate = weights("candidate", n_hidden, n_hidden)
        self.out = weights("out", n_hidden, n_letters)
        self.bias = theano.shared(np.zeros(n_letters, dtype="float32"), name="bias")
        self.params = [self.embed, self.gates, self.candidate, self.out, self.bias]

    def initial(self, batch):
        """Give the state before the first letter."""
        return T.zeros((batch, self.n_hidden))

    def step(self, x, h):
        """Give the next state from the input's share of the gates and the last state."""
        n = self.n_hidden
        gates = T.nnet.sigmoid(x[:, : 2 * n] + T.dot(h, self.gates))
        reset, update = gates[:, :n], gates[:, n:]
        new = T.tanh(x[:, 2 * n :] + T.dot(reset * h, self.candidate))
        return update * h + (1 - update) * new

    def logits(self, h):
        """Give unnormalized log probabilities of the next letter."""
        return T.dot(h, self.out) + self.bias

    def loss(self, x, y):
        """Mean cross-entropy of the next letters, in nats."""
        seen = self.embed[x.flatten()].reshape((x.shape[0], x.shape[1], 3 * self.n_hidden))
        h, _ = theano.scan(self.step, sequences=seen, outputs_info=self.initial(x.shape[1]))
        p = T.nnet.softmax(self.logits(h.reshape((-1, self.n_hidden))))
        return T.nnet.categorical_crossentropy(p, y.flatten()).mean()


def adam(loss, params, rate=0.004, decay=0.9, decay2=0.99):
    """Give the updates of Adam, with the norm of the whole gradient held below CLIP."""
    grads = T.grad(loss, params)
    norm = T.sqrt(sum(T.sum(T.sqr(g)) for g in grads))
    scale = T.minimum(1.0, CLIP / norm)
    count = theano.shared(np.float32(0), name="count")
    now = count + 1
    rate = rate * T.sqrt(1 - decay2**now) / (1 - decay**now)
    updates = [(count, now)]
    for param, grad in zip(params, grads, strict=True):
        mean = theano.shared(np.zeros_like(param.get_value()))
        square = theano.shared(np.zeros_like(param.get_value()))
        grad = scale * grad
        new_mean = decay * mean + (1 - decay) * grad
        new_square = decay2 * square + (1 - decay2) * T.sqr(grad)
        updates += [
            (mean, new_mean),
            (square, new_square),
            (param, param - rate * new_mean / (T.sqrt(new_square) + 1e-8)),
        ]
    return updates


def compile_training(model, data, seq):
    """Give the function that makes one step on minibatch number ``index``."""
    index = T.lscalar("index")
    x, y = T.imatrices("x", "y")
    loss = model.loss(x, y)
    start = index * seq
    return theano.function(
        [index],
        loss,
        updates=adam(loss, model.params),
        givens={x: data[start : start + seq], y: data[start + 1 : start + seq + 1]},
        name="train",
    )


def compile_sampling(model, n_letters, seed):
    """Give the function that writes ``n`` letters after given first ones."""
    random = MRG_RandomStreams(seed)
    first = T.lvector("first")
    n = T.iscalar("n")
    temperature = T.scalar("temperature")

    def write(letter, h, temperature):
        h = model.step(model.embed[letter], h)
        # The largest of log p + Gumbel noise is a draw from p.
        u = T.clip(random.uniform((first.shape[0], n_letters), nstreams=96), 1e-6, 1 - 1e-6)
        noisy = model.logits(h) / temperature - T.log(-T.log(u))
        return T.argmax(noisy, axis=1), h

    (letters, _), updates = theano.scan(
        write,
        outputs_info=[first, model.initial(first.shape[0])],
        non_sequences=temperature,
        n_steps=n,
    )
    return theano.function([first, n, temperature], letters, updates=updates, name="write")


class Progress:
    """One line kept up to date on a terminal, a line now and then elsewhere."""

    def __init__(self, total):
        self.total = total
        self.live = sys.stdout.isatty()
        self.started = time.perf_counter()
        self.shown = 0.0

    def show(self, done, loss):
        """Tell how far it is; cheap enough to be called at every step."""
        now = time.perf_counter()
        last = done == self.total
        if self.live:
            if now - self.shown < 0.1 and not last:
                return
        elif done % max(1, self.total // 10) and not last and done != 1:
            return
        self.shown = now
        speed = done / (now - self.started)
        bar = "#" * (24 * done // self.total)
        line = f"[{bar:24}] step {done}/{self.total}  loss {loss:.3f}  {speed:.0f} steps/s"
        print("\r" + line if self.live else line, end="" if self.live else "\n", flush=True)

    def finish(self):
        """Leave the line behind."""
        if self.live:
            print()


def train(step, n_batches, steps, seconds):
    """Train; gives the losses."""
    losses = []
    smooth = None
    progress = Progress(steps)
    for i in range(steps):
        loss = float(step(i % n_batches))
        losses.append(loss)
        smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
        progress.show(i + 1, smooth)
        if time.perf_counter() - progress.started > seconds:
            break
    progress.finish()
    took = time.perf_counter() - progress.started
    print(f"{len(losses)} steps in {took:.1f} s: {len(losses) / took:.1f} steps per second")
    return losses


def main(argv=None):
    """Compile, train, write."""
    parser = argparse.ArgumentParser(description="Train a recurrent character model.")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--seq", type=int, default=48, help="letters per minibatch row")
    parser.add_argument("--seconds", type=float, default=40, help="train no longer than this")
    parser.add_argument("--sample", type=int, default=300, help="letters to write at the end")
    options = parser.parse_args(argv)
    if min(options.steps, options.hidden, options.seq, options.sample) < 1:
        parser.error("--steps, --hidden, --seq and --sample take numbers from 1 on")

    text = read_text()
    letters, streams = streams_of(text, options.seq)
    n_batches = (len(streams) - 1) // options.seq
    print(f"{len(text)} characters, {len(letters)} different; {n_batches} minibatches")

    model = Model(len(letters), options.hidden, np.random.RandomState(1))
    started = time.perf_counter()
    step = compile_training(model, theano.shared(streams, name="data"), options.seq)
    write = compile_sampling(model, len(letters), seed=7)
    print(f"compiled in {time.perf_counter() - started:.2f} s")

    losses = train(step, n_batches, options.steps, options.seconds)
    tenth = max(1, len(losses) // 10)
    before, after = np.mean(losses[:tenth]), np.mean(losses[-tenth:])
    print(f"loss {before:.3f} at first, {after:.3f} at last (chance: {np.log(len(letters)):.3f})")
    assert np.all(np.isfinite(losses)), "the loss became infinite or not a number"
    assert len(losses) < 20 or after < before, "the loss did not fall"

    written = write([letters.index("T") if "T" in letters else 0], options.sample, 0.7)
    assert written.shape == (options.sample, 1)
    print("-" * 60)
    print("T" + "".join(letters[i] for i in written[:, 0]))
    print("-" * 60)


if __name__ == "__main__":
    main()
