"""An operation of one's own: a cube root that also takes negative numbers.

``make_node`` says what goes in and out, ``perform`` computes with NumPy, ``grad`` gives the
gradient as an expression, ``infer_shape`` the shape without computing.  It then works everywhere:
in functions, in gradients, and inside a ``scan``.
"""

import numpy as np
import theano
import theano.tensor as T


class CubeRoot(theano.Op):
    """Element by element, the number whose third power is given."""

    __props__ = ()

    def make_node(self, x):
        x = T.as_tensor_variable(x)
        if x.dtype not in ("float32", "float64"):
            raise TypeError(f"CubeRoot takes floats, not {x.dtype}")
        return theano.Apply(self, [x], [x.type()])

    def perform(self, node, inputs, output_storage):
        (x,) = inputs
        output_storage[0][0] = np.asarray(np.cbrt(x), dtype=node.outputs[0].dtype)

    def grad(self, inputs, output_gradients):
        (x,) = inputs
        (gradient,) = output_gradients
        return [gradient / (3 * T.sqr(self(x)))]

    def infer_shape(self, node, input_shapes):
        return input_shapes


cube_root = CubeRoot()


@theano.as_op(itypes=[T.dvector], otypes=[T.dscalar])
def spread(x):
    """Largest minus smallest: the short way to an operation, without a gradient."""
    return np.asarray(x.max() - x.min())


def main():
    """Use it in every place."""
    values = np.array([-27.0, -1.0, 0.5, 8.0, 1000.0])

    x = T.dvector("x")
    f = theano.function([x], [cube_root(x), cube_root(x * 8) / 2, spread(x)])
    plain, scaled, width = f(values)
    np.testing.assert_allclose(plain, np.cbrt(values))
    np.testing.assert_allclose(scaled, plain)
    assert width == 1027.0
    print("cube roots:", np.round(plain, 4))

    gradient = theano.function([x], T.grad(cube_root(x).sum(), x))
    np.testing.assert_allclose(gradient(values), 1 / (3 * np.cbrt(values) ** 2))
    theano.gradient.verify_grad(cube_root, [values], rng=np.random.RandomState(1))

    shape = theano.function([x], cube_root(x).shape)
    np.testing.assert_array_equal(shape(values), [5])

    # In a loop: s <- cbrt(s + c) ends at the solution of s**3 = s + c.
    c, n = T.dscalar("c"), T.iscalar("n")
    path, _ = theano.scan(
        lambda s, c: cube_root(s + c),
        outputs_info=T.constant(np.float64(1)),
        non_sequences=c,
        n_steps=n,
    )
    solve = theano.function([c, n], [path[-1], T.grad(path[-1], c)])
    solution, slope = solve(6.0, 40)
    print(f"s**3 = s + 6 at s = {solution:.12f}, ds/dc = {slope:.12f}")
    np.testing.assert_allclose(solution, 2.0)
    np.testing.assert_allclose(slope, 1 / (3 * 2.0**2 - 1))

    try:
        cube_root(T.ivector())
    except TypeError as error:
        print("refused:", error)
    else:
        raise AssertionError("an integer argument must be refused")


if __name__ == "__main__":
    main()
