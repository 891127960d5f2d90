"""What a report says of data: pure functions of arrays."""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = ["choose_rows", "missing_patterns", "observed_shares"]

Array = np.ndarray


def observed_shares(x: Array) -> Array:
    """The share of a view's entries that each sample has, (n,).

    Examples
    --------
    >>> observed_shares(np.array([[1.0, np.nan], [2.0, 3.0]]))
    array([0.5, 1. ])
    """
    shares: Array = 1 - np.isnan(x).reshape(len(x), -1).mean(axis=1)
    return shares


def missing_patterns(present: Array) -> list[tuple[tuple[bool, ...], int]]:
    """Which views samples have together, and how many samples have just these; the most frequent first.

    Parameters
    ----------
    present : array of bool, (n, M)
        Whether a sample has a view.

    Examples
    --------
    >>> missing_patterns(np.array([[True, False], [True, True], [True, True]]))
    [((True, True), 2), ((True, False), 1)]
    """
    return Counter(tuple(row) for row in present.tolist()).most_common()


def choose_rows(n: int, held_out: Array, most: int) -> Array:
    """Positions of at most so many of n samples, in order; at random, but held-out ones before others.

    Up to half of them are held-out samples, or more if there are not enough others.

    Examples
    --------
    >>> choose_rows(3, np.array([1]), 5)
    array([0, 1, 2])
    >>> len(choose_rows(100, np.arange(3), 10)), 2 in choose_rows(100, np.arange(3), 10)
    (10, True)
    """
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(0)
    held = rng.permutation(held_out)
    others = rng.permutation(np.setdiff1d(np.arange(n), held_out))
    n_held = min(len(held), max(most // 2, most - len(others)))
    return np.sort(np.concatenate([held[:n_held], others[: most - n_held]]))
