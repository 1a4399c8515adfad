"""Random numbers for weights, shuffles, dropout and splits, as a function of a counter.

All of them come from Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a
function from a 256-bit counter and a 128-bit key to four 64-bit integers.  The generator has no state that
changes, so every backend, in any order and with any number of threads, gets the same integers:

========  ======================  ======================================================
used for  key                     counter (four words; `block` counts up along the data)
========  ======================  ======================================================
weights   (seed, 1)               (block, layer, 0, 0)
shuffle   (seed, 2)               (block, epoch, 0, 0)
dropout   (seed, 3)               (block, layer, step, epoch), step counted within the epoch
split     (seed, 4)               (block, 0, 0, 0)
blocks    (seed, 5)               (block, epoch, 0, 0), and (block, epoch, 1 + window, 0)
rows      (seed, 6)               (block, part, 0, 0)
========  ======================  ======================================================

A block is four words.  Dropout uses each word as two 32-bit integers, the low half first, so a block is enough
for eight units.  Row i of a layer of n units uses ceil(n / 8) blocks, starting with block i * ceil(n / 8).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.errors import ConfigurationError

WEIGHTS, SHUFFLE, DROPOUT, SPLIT, BLOCKS, ROWS = 1, 2, 3, 4, 5, 6
UNITS_PER_BLOCK = 8
_WORD = 2**64


def check_seed(seed: Any) -> int:
    """Return `seed` as an int, or raise `ConfigurationError` if it is not an integer from 0 to 2**64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < _WORD:
        raise ConfigurationError(f"seed must be an integer from 0 to 2**64 - 1, not {seed!r}.")
    return int(seed)


def words(key: tuple[int, int], counter: tuple[int, int, int, int], count: int) -> NDArray[np.uint64]:
    """The first `count` words of Philox4x64-10, starting at `counter`; its first word counts the blocks.

    Examples
    --------
    The published test vector for a key and a counter of all ones (Random123, ``kat_vectors``):

    >>> ones = 2**64 - 1
    >>> [hex(word) for word in words((ones, ones), (ones, ones, ones, ones), 2)]
    ['0x87b092c3013fe90b', '0x438c3c67be8d0224']
    """
    value = sum(word << (64 * position) for position, word in enumerate(counter))
    # NumPy's generator increments its counter before it returns a block, so it starts at the previous block
    generator = np.random.Philox(key=key[0] + (key[1] << 64), counter=(value - 1) % 2**256)
    return generator.random_raw(count)


def uniform(seed: int, layer: int, count: int) -> NDArray[np.float64]:
    """`count` numbers in (0, 1) for the initial weights of a layer: (word // 2**11 + 1/2) / 2**53."""
    whole = words((seed, WEIGHTS), (0, layer, 0, 0), count) >> np.uint64(11)
    return (whole.astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, layer: int, count: int) -> NDArray[np.float64]:
    """`count` standard normal numbers for the initial weights of a layer, by inversion of `uniform`."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniform(seed, layer, count)), dtype=np.float64)


def permutation(seed: int, epoch: int, count: int, *, stream: int = SHUFFLE, part: int = 0) -> NDArray[np.int64]:
    """The order of the rows in an epoch: row numbers sorted by random integers; equal integers, by row number.

    `part` is the third word of the counter, for an order that has several parts.

    Examples
    --------
    >>> permutation(0, 0, 5), permutation(0, 1, 5)
    (array([3, 1, 2, 4, 0]), array([2, 4, 3, 0, 1]))
    """
    # random bits in the high part, row number in the low part: keys are distinct, so all sorts give the same order
    shift = np.uint64(max(count - 1, 1).bit_length())
    keys = words((seed, stream), (0, epoch, part, 0), count) >> shift << shift
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    keys &= (np.uint64(1) << shift) - np.uint64(1)
    return keys.astype(np.int64)


def chosen_rows(seed: int, fraction: float, rows: range, *, part: int = 0) -> NDArray[np.bool_]:
    """Mask of the rows that are chosen at random, each with probability `fraction`, by its number alone.

    So a part of the rows can be split off without an array of all of them.

    Parameters
    ----------
    seed : int
    fraction : float
        0 <= fraction < 1.
    rows : range
        Row numbers, one after the other.
    part : int
        For a split of the rows that another split has left.

    Examples
    --------
    >>> chosen_rows(0, 0.5, range(8)).astype(int)
    array([1, 1, 1, 1, 0, 0, 1, 1])
    """
    skipped = rows.start % 4
    raw = words((seed, ROWS), (rows.start // 4, part, 0, 0), skipped + len(rows))[skipped:]
    return raw < np.uint64(int(fraction * _WORD))


def dropout_threshold(rate: float) -> int:
    """A unit is dropped if its 32-bit integer is below this threshold: round(rate * 2**32)."""
    return min(round(rate * 2**32), 2**32 - 1)


def keep_mask(
    rows: int, units: int, rate: float, counter: tuple[int, int, int, int], first_row: int = 0
) -> NDArray[np.bool_]:
    """Mask of the units that dropout keeps.

    Parameters
    ----------
    rows, units : int
        Shape of the mask.
    rate : float
        Probability of a drop, 0 <= rate < 1.
    counter : tuple of int
        (seed, epoch, step, layer).
    first_row : int
        Position of the first row in the batch that the counter belongs to.

    Returns
    -------
    ndarray of bool, shape (rows, units)

    Examples
    --------
    >>> keep_mask(2, 10, 0.5, (0, 0, 0, 1)).astype(int)
    array([[0, 1, 0, 1, 1, 0, 0, 0, 0, 1],
           [1, 0, 0, 1, 0, 0, 0, 1, 1, 0]])
    """
    seed, epoch, step, layer = counter
    blocks = -(-units // UNITS_PER_BLOCK)
    raw = words((seed, DROPOUT), (first_row * blocks, layer, step, epoch), rows * blocks * 4)
    halves = raw.astype("<u8", copy=False).view("<u4").reshape(rows, blocks * UNITS_PER_BLOCK)
    return halves[:, :units] >= np.uint32(dropout_threshold(rate))
