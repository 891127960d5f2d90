"""Whether predictive intervals cover what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.estimator import Estimator, ViewNames
from manyview.metrics.queries import generate, having, names_of, read_samples, seeds
from manyview.validation import check_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["calibration"]

Array = np.ndarray


def calibration(
    model: Estimator,
    views: Any,
    *,
    given: ViewNames = None,
    target: ViewNames = None,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    covariates: Any = None,
    n_samples: int = 200,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""The share of observed entries that lie in the central predictive intervals of their feature.

    .. math:: \text{coverage}(\alpha) = \frac1N \sum_{i,d} \mathbb 1\Big[ \big| u_{id} - \tfrac12 \big|
        \le \tfrac\alpha2 \Big], \qquad u_{id} = \frac{\#\{k : x^k_{id} < x_{id}\} + v}{K + 1}, \qquad
        x^k \sim p(x_m \mid x_\text{given}), \quad v \sim \mathcal U(0, 1)

    From 0 to 1. For a calibrated model the u are uniform and the coverage is the level, whatever the number of draws K:
    lower coverage is overconfidence, higher is underconfidence. Entries equal to draws are placed among them at random.
    A view that is given is predicted in hindsight: that covers more than it should.

    Parameters
    ----------
    model : Estimator
        A fitted model with continuous views, whose likelihoods are densities.
    views : views
        The samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to predict from, of samples that have all of them; by default what a sample has.
    target : str, int or sequence of these, optional
        The views to predict; by default those that have such a likelihood, without those that are given by name.
    levels : sequence of float, default (0.5, 0.8, 0.9, 0.95)
        The shares α that intervals are to cover, each in (0, 1).
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    n_samples : int, default 200
        Number of draws K for each sample.
    random_state : int, RandomState or None
        Seeds the draws; by default the model's own.

    Returns
    -------
    DataFrame
        One row a view and level, its index: ``coverage``; its ``standard_error`` over the samples, whose features may
        depend on each other; ``width``, the mean length of the intervals in the units of the data; and the number of
        entries ``n``.

    Raises
    ------
    ValueError
        If a target is not continuous or has no density, a level is out of range, or there is nothing to compare with.

    References
    ----------
    A. P. Dawid, "Present position and potential developments: some personal views: statistical theory: the prequential
    approach", Journal of the Royal Statistical Society A 147(2), 278-292, 1984. https://doi.org/10.2307/2981683

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> calibration(model, views, given="view_0", levels=[0.9], n_samples=50).index.tolist()
    [('view_1', 0.9)]
    """
    import pandas as pd

    samples = read_samples(model, views, covariates)
    known = None if given is None else names_of(model, given, "given")
    targets = _targets(model, known, target)
    alphas = np.asarray(levels, dtype=float)
    if alphas.ndim != 1 or not len(alphas) or not ((alphas > 0) & (alphas < 1)).all():
        raise ValueError(f"levels={levels!r}: give shares above 0 and below 1, such as [0.5, 0.9]")
    n_draws = check_count("n_samples", n_samples)
    chosen = having(samples, known) & having(samples, targets, "any")
    here = np.flatnonzero(chosen)
    if not len(here):
        raise ValueError(f"given={given!r}: no sample has these views and one of {targets} to compare with")
    seed, ties = seeds(model, random_state, 2)
    rng = np.random.RandomState(ties)
    data = samples.in_memory[here]
    ends = np.concatenate([(1 - alphas) / 2, (1 + alphas) / 2])
    inside = {name: np.zeros((len(alphas), len(here))) for name in targets}
    entries, widths = {name: np.zeros(len(here)) for name in targets}, {name: np.zeros(len(alphas)) for name in targets}
    for rows, draws in generate(model, samples[here], known, targets, n_draws, seed, expected=False):
        for name in [name for name in targets if name in data]:
            x = data.array(name)[rows].reshape(draws[name].shape[1], -1)
            drawn = draws[name].reshape(n_draws, *x.shape)
            seen = ~np.isnan(x)
            u = _rank(x, drawn, rng)
            within = np.abs(u - 0.5) <= alphas[:, None, None] / 2
            inside[name][:, rows] = (within & seen).sum(axis=2)
            entries[name][rows] = seen.sum(axis=1)
            low, high = np.split(np.quantile(drawn, ends, axis=0), 2)
            widths[name] += ((high - low) * seen).sum(axis=(1, 2))
    rows_out = []
    for name in targets:
        n = entries[name].sum()
        if not n:
            continue
        coverage = inside[name].sum(axis=1) / n
        # The samples are independent, their features are not: the error of a ratio of sums over samples.
        residual = inside[name] - coverage[:, None] * entries[name]
        error = np.sqrt((residual**2).sum(axis=1)) / n
        rows_out += [
            {"view": name, "level": a, "coverage": c, "standard_error": e, "width": w / n, "n": int(n)}
            for a, c, e, w in zip(alphas.tolist(), coverage, error, widths[name], strict=True)
        ]
    return pd.DataFrame(rows_out).set_index(["view", "level"])


def _targets(model: Estimator, known: tuple[str, ...] | None, target: ViewNames) -> tuple[str, ...]:
    likelihoods = {view.name: model.network_.likelihood(m) for m, view in enumerate(model.views_)}
    allowed = [name for name, likelihood in likelihoods.items() if likelihood.continuous and likelihood.normalised]
    if target is None:
        targets = tuple(name for name in allowed if known is None or name not in known)
        if not targets:
            raise ValueError(
                "no view is left that has predictive intervals: these are of continuous views whose likelihood is a "
                f"density, here {allowed}, and not given"
            )
        return targets
    targets = names_of(model, target, "target")
    for name in targets:
        if name not in allowed:
            raise ValueError(
                f"target={target!r}: view {name!r} has likelihood={type(likelihoods[name]).__name__}, which has no "
                "predictive intervals; those of continuous views with a density have, such as normal or laplace"
            )
    return targets


def _rank(x: Array, draws: Array, rng: np.random.RandomState) -> Array:
    """The place of each entry among its draws, from 0 to 1."""
    less = (draws < x).sum(axis=0)
    ties = (draws == x).sum(axis=0)
    return np.asarray((less + rng.uniform(size=x.shape) * (ties + 1)) / (len(draws) + 1))
