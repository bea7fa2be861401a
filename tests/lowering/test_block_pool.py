"""The pool of blocks for temporaries."""

import ctypes
import random
import threading

import numpy as np
import pytest

import ltensor as theano
import ltensor.tensor as T
from ltensor.lowering.cpu import block_pool


@pytest.fixture
def pool():
    block_pool.release()
    take = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(block_pool.address("lt_block_take"))
    give = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(block_pool.address("lt_block_give"))
    yield take, give
    block_pool.release()


def test_large_blocks_are_used_again(pool):
    take, give = pool
    first = take(1 << 20)
    assert first % 64 == 0
    give(first)
    assert block_pool.kept_bytes() >= 1 << 20
    assert take((1 << 20) - 5000) == first
    assert block_pool.kept_bytes() == 0
    other = take(1 << 20)
    assert other != first
    give(first)
    give(other)
    block_pool.release()
    assert block_pool.kept_bytes() == 0


def test_a_much_larger_block_is_not_wasted(pool):
    take, give = pool
    large = take(8 << 20)
    give(large)
    small = take(1 << 20)
    assert small != large
    give(small)


def test_null_small_and_absurd_sizes(pool):
    take, give = pool
    give(None)
    blocks = [take(n) for n in (0, 1, 100)]
    assert len(set(blocks)) == 3
    assert all(b % 64 == 0 for b in blocks)
    for b in blocks:
        give(b)
    assert block_pool.kept_bytes() == 0
    assert take((1 << 63) - 1) is None


def test_no_more_than_the_limit_is_kept(pool):
    take, give = pool
    for _ in range(3):
        blocks = [take(40 << 20) for _ in range(10)]
        for b in blocks:
            give(b)
        assert 0 < block_pool.kept_bytes() <= block_pool.DEFAULT_LIMIT
    many = [take(20_000 + 7 * k) for k in range(300)]
    for b in many:
        give(b)
    assert block_pool.kept_bytes() <= block_pool.DEFAULT_LIMIT


def test_no_block_is_handed_out_twice(pool):
    take, give = pool
    wrong = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        mine: list[tuple[int, int]] = []
        for _ in range(400):
            if mine and draw.random() < 0.5:
                block, mark = mine.pop(draw.randrange(len(mine)))
                if ctypes.c_int64.from_address(block).value != mark:
                    wrong.append(block)
                give(block)
            else:
                block = take(draw.choice([100, 20_000, 70_000, 300_000]))
                mark = draw.getrandbits(60)
                ctypes.c_int64.from_address(block).value = mark
                mine.append((block, mark))
        for block, _ in mine:
            give(block)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_functions_share_it(pool):
    x = T.dvector("x")
    # the sorted copy is a temporary
    f = theano.function([x], T.sort(x)[0] + 1)
    g = theano.function([x], T.sort(-x)[0] + 1)
    value = np.random.RandomState(0).rand(100_000)
    g(value)
    after_one = block_pool.kept_bytes()
    assert after_one >= value.nbytes
    for _ in range(3):
        np.testing.assert_allclose(f(value), value.min() + 1)
        np.testing.assert_allclose(g(value), 1 - value.max())
    assert block_pool.kept_bytes() <= after_one
