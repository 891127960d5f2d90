r"""Views that go missing, by mechanisms that are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from sklearn.utils import check_random_state

from manyview.data.views import Views, as_views
from manyview.messages import closest

__all__ = ["Mechanism", "remove", "removed"]

Array = np.ndarray

Mechanism = Literal["mcar", "mar", "mnar", "view", "block"]


def remove(
    views: Any, fraction: float | Mapping[str, float], mechanism: Mechanism = "mcar", random_state: Any = None
) -> Views:
    r"""Take views away from samples: at random, by view, not at random, or block by block.

    Under the first three mechanisms sample i loses view m with probability :math:`\pi_{im}`, independently of its
    other views:

    .. math:: \pi_{im} = \begin{cases}
        f & \text{mcar: it depends on nothing} \\
        \operatorname{sigmoid}(a + 2\, s_{i0}) \text{ for } m \ne 0, \quad \pi_{i0} = 0
        & \text{mar: on the first view, which is always observed} \\
        \operatorname{sigmoid}(a + 2\, s_{im}) & \text{mnar: on the values that go missing}
        \end{cases}

    where f is the `fraction`, :math:`s_{im}` the first feature of view m that varies, standardised over the samples
    (0 where it is missing), and a such that the mean of :math:`\pi_{im}` over the entries that are there is f. The
    other two take numbers of samples that are fixed:

    - view: view m is lost by :math:`\operatorname{round}(f_m n_m)` of the :math:`n_m` samples that have it, drawn
      without replacement, as where some measurements are dearer than others;
    - block: samples that lack the same views come in groups, as where cohorts were measured differently. The n samples
      are put on a circle in random order, and view m is lost along an arc of :math:`\operatorname{round}(f n)` of them;
      the arcs of the M views start at equal distances. With :math:`f \le 1/M` no two of them meet.

    A sample that has lost all its views gets one back, drawn at random: the share that is missing in the end is smaller
    by 1/M of the share of such samples (under mcar, by :math:`f^M / M`).

    Parameters
    ----------
    views : Views, or anything that estimators take
        The data; what is missing of them already stays so. They are not changed.
    fraction : float, or mapping of view name to float
        Share f of the entries (sample, view) to remove, in [0, 1): of those that are there. Under mar and block at
        most (M - 1) / M. By view only under mechanism "view", where views that are not named stay as they are.
    mechanism : {"mcar", "mar", "mnar", "view", "block"}, default "mcar"
        What it depends on whether an entry goes missing.
    random_state : int, RandomState or None
        Seeds the draws.

    Returns
    -------
    Views
        The same samples, NaN where a view went missing.

    Raises
    ------
    ValueError
        If the share is out of range, or the mechanism or a view unknown.

    References
    ----------
    D. B. Rubin, "Inference and missing data", Biometrika 63(3), 581-592, 1976.
    https://doi.org/10.1093/biomet/63.3.581

    L. Yuan, Y. Wang, P. M. Thompson, V. A. Narayan, J. Ye, "Multi-source feature learning for joint analysis of
    incomplete multiple heterogeneous neuroimaging data", NeuroImage 61(3), 622-632, 2012: data missing in blocks.
    https://doi.org/10.1016/j.neuroimage.2012.03.059

    Examples
    --------
    >>> from manyview.datasets import make_multiview, remove
    >>> views = make_multiview(100, (5, 7, 3), random_state=0)
    >>> remove(views, 0.25, "block", random_state=0)
    Views(n=100, view_0=(5,), view_1=(7,), view_2=(3,), missing: view_0 25, view_1 25, view_2 25)
    >>> remove(views, {"view_2": 0.6}, "view", random_state=0)
    Views(n=100, view_0=(5,), view_1=(7,), view_2=(3,), missing: view_2 60)
    """
    return removed(as_views(views), fraction, mechanism, check_random_state(random_state), "fraction")


def removed(
    views: Views,
    fraction: float | Mapping[str, float],
    mechanism: Mechanism,
    rng: np.random.RandomState,
    argument: str,
) -> Views:
    """What :func:`remove` returns; `argument` is what the caller's user knows the share as."""
    if mechanism not in get_args(Mechanism):
        raise ValueError(f"mechanism={mechanism!r} is unknown{closest(mechanism, get_args(Mechanism))}")
    had = views.present
    shares = _shares(views, fraction, mechanism, argument)
    if mechanism == "view":
        gone = _by_view(had, shares, rng)
    elif mechanism == "block":
        gone = _by_block(had, shares[0], rng)
    else:
        gone = rng.uniform(size=had.shape) < _probability(views, shares[0], mechanism)
    present = had & ~gone
    # One of the views that a sample had, by its number among them.
    spared = np.argsort(~had, axis=1, kind="stable")[
        np.arange(len(had)), rng.randint(np.maximum(had.sum(axis=1), 1), size=len(had))
    ]
    lost = had.any(axis=1) & ~present.any(axis=1)
    present[lost, spared[lost]] = True
    return Views(views, present=present)


def _shares(views: Views, fraction: Any, mechanism: str, argument: str) -> list[float]:
    """The share of each view to remove, if it is possible."""
    if isinstance(fraction, Mapping):
        if mechanism != "view":
            raise ValueError(
                f"{argument}={dict(fraction)}: shares by view go with mechanism='view'; give one number for "
                f"{mechanism!r}"
            )
        for name in fraction:
            if name not in views:
                raise ValueError(f"{argument}: there is no view {name!r}{closest(name, views.names)}")
        shares = [fraction.get(name, 0.0) for name in views.names]
    else:
        shares = [fraction] * len(views.names)
    if not all(0 <= share < 1 for share in shares):
        raise ValueError(f"{argument}={fraction}: the share of missing entries must be in [0, 1)")
    n_views, had = len(shares), views.present
    if mechanism == "mar" and shares[0] > 0:
        limit = had[:, 1:].sum() / had.sum()
        if shares[0] >= limit:
            raise ValueError(
                f"{argument}={fraction}, mechanism='mar': {views.names[0]} is always observed, so the share of missing "
                f"entries must be below {'(M - 1) / M' if had.all() else 'the share of the other views'} = {limit:.3g} "
                f"for M={n_views}; lower it, or add views"
            )
    if mechanism == "block" and shares[0] > 1 - 1 / n_views:
        raise ValueError(
            f"{argument}={fraction}, mechanism='block': no sample is to lose all views, so the share of missing "
            f"entries must be at most (M - 1) / M = {1 - 1 / n_views:.3g} for M={n_views}; lower it, or add views"
        )
    return shares


def _by_view(had: Bool[Array, "n M"], shares: list[float], rng: np.random.RandomState) -> Bool[Array, "n M"]:
    gone = np.zeros_like(had)
    for m, share in enumerate(shares):
        rows = np.flatnonzero(had[:, m])
        gone[rng.permutation(rows)[: round(share * len(rows))], m] = True
    return gone


def _by_block(had: Bool[Array, "n M"], share: float, rng: np.random.RandomState) -> Bool[Array, "n M"]:
    n, n_views = had.shape
    starts = n * np.arange(n_views) // n_views
    return np.asarray((rng.permutation(n)[:, None] - starts) % n < round(share * n))


def _probability(views: Views, share: float, mechanism: str) -> Float[Array, "n M"]:
    """The π of :func:`remove`."""
    had = views.present
    if mechanism == "mcar" or share == 0:
        return np.full(had.shape, share)
    from scipy.optimize import brentq
    from scipy.special import expit

    score = np.stack([_score(views.array(name)) for name in views.names], axis=1)
    if mechanism == "mar":
        score = np.where(np.arange(score.shape[1]) > 0, score[:, :1], -np.inf)
    a = brentq(lambda a: expit(a + 2 * score)[had].mean() - share, -1e3, 1e3)
    return np.asarray(expit(a + 2 * score))


def _score(x: Float[Array, "n ..."]) -> Float[Array, " n"]:
    """The first feature that varies, standardised; 0 where it is missing."""
    for feature in x.reshape(len(x), -1).T:
        observed = ~np.isnan(feature)
        seen = feature[observed].astype(np.float64)
        if len(seen) and seen.max() > seen.min():
            return np.where(observed, (feature - seen.mean()) / seen.std(), 0.0)
    return np.zeros(len(x))
