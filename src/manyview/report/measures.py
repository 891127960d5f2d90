r"""The numbers behind a report: pure functions of arrays.

All rest on one measure of how well values are predicted, the share of their variance that is explained,

.. math:: R^2 = 1 - \frac{\sum_i (x_i - \hat x_i)^2}{\sum_i (x_i - \bar x)^2},

against the mean of the training data, over the observed entries. It is 1 for a perfect prediction, 0 for one no better
than the mean, and below 0 for a worse one. Of zeros and ones and of one-hot classes, predicted by probabilities, it is
the Brier skill score: the same formula, against the frequencies in the training data.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = [
    "accuracy",
    "choose_rows",
    "missing_patterns",
    "observed_shares",
    "r_squared",
    "r_squared_by_feature",
    "squared_errors",
]

Array = np.ndarray


def squared_errors(x: Array, predicted: Array) -> Array:
    r"""The squared errors of each feature, summed over its observed entries.

    Parameters
    ----------
    x : array of shape (n, \*shape)
        Data; NaN where missing.
    predicted : array of a shape that broadcasts to it
        What is expected of them.

    Returns
    -------
    array of shape (D,)
        One number for each feature, flattened: sums of several stretches of rows can be added.

    Examples
    --------
    >>> squared_errors(np.array([[1.0, 2.0], [3.0, np.nan]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    array([4., 4.])
    """
    errors = np.square(np.asarray(x, dtype=np.float64) - predicted)
    sums: Array = np.nansum(errors, axis=0).reshape(-1)
    return sums


def r_squared_by_feature(errors: Array, reference: Array) -> Array:
    """R² of each feature.

    Parameters
    ----------
    errors, reference : array of shape (D,)
        The squared errors of the prediction, and of the training mean.

    Returns
    -------
    array of shape (D,)
        NaN where a feature has no variance, or was not observed.

    Examples
    --------
    >>> r_squared_by_feature(np.array([1.0, 3.0, 0.0]), np.array([4.0, 3.0, 0.0]))
    array([0.75, 0.  ,  nan])
    """
    varies = reference > 0
    return np.where(varies, 1 - errors / np.where(varies, reference, 1.0), np.nan)


def r_squared(errors: Array, reference: Array, scale: Array | float = 1.0) -> float:
    """R² of all features together, each in units of its scale; NaN if none of them varies.

    Parameters
    ----------
    errors, reference : array of shape (D,)
        The squared errors of the prediction, and of the training mean.
    scale : array of shape (D,) or float, default 1.0
        What makes the features comparable, such as their standard deviations.

    Examples
    --------
    >>> r_squared(np.array([1.0, 100.0]), np.array([4.0, 400.0]), np.array([1.0, 10.0]))
    0.75
    """
    total = float(np.sum(reference / np.square(scale)))
    return 1 - float(np.sum(errors / np.square(scale))) / total if total > 0 else float("nan")


def accuracy(x: Array, probabilities: Array, *, one_hot: bool) -> float:
    """The share of right answers, where the most probable one is given; NaN without data.

    Parameters
    ----------
    x : array of shape (n, D)
        Zeros and ones; NaN where missing.
    probabilities : array of a shape that broadcasts to it
        What is expected of them.
    one_hot : bool
        Whether a row is one answer, the class whose entry is 1, or each entry is an answer of its own.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> accuracy(x, np.array([[0.6, 0.4], [0.9, 0.4]]), one_hot=False)
    0.5
    >>> accuracy(x, np.array([0.3, 0.7]), one_hot=True)
    0.5
    """
    known = ~np.isnan(x)
    probabilities = np.broadcast_to(probabilities, x.shape)
    if one_hot:
        rows = known.all(axis=1)
        right = x[rows].argmax(axis=1) == probabilities[rows].argmax(axis=1)
    else:
        right = (probabilities >= 0.5)[known] == (x[known] == 1)
    return float(right.mean()) if right.size else float("nan")


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
