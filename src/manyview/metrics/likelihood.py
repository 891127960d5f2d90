"""The log-likelihood of samples, and how far the estimate can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from manyview.data.samples import Samples
from manyview.estimator import Estimator, ViewNames
from manyview.metrics.queries import having, mean_estimate, names_of, read_samples, seeds
from manyview.validation import check_count

__all__ = ["LogLikelihood", "log_likelihood"]

Array = np.ndarray

# Series that the draws are divided into: their differences tell the noise of the estimate.
_SERIES = 10

_ROWS, _DRAWS = 1024, 2**18


@dataclass(frozen=True)
class LogLikelihood:
    """An importance-weighted log-likelihood, in nats.

    Parameters
    ----------
    value : float
        The mean over the samples.
    standard_error : float
        Its standard error over the samples: how much another test set would differ.
    monte_carlo_error : float
        Its standard error over the draws: how much another seed would differ.
    gap : float
        What going from K/2 to K draws gained. At least 0, and near 0 once the bound is tight; NaN for K = 1. Of a
        conditional log-likelihood, the difference of two such gains, of either sign.
    effective_samples : float
        The mean effective number of draws of a sample, between 1 and K. Far below K, the posterior is far from what
        the model implies, and far below 10 the estimate is not to be trusted.
    n : int
        Number of samples.
    samples : ndarray
        The log-likelihood of each sample; NaN where it lacks the given views, or all others.
    """

    value: float
    standard_error: float
    monte_carlo_error: float
    gap: float
    effective_samples: float
    n: int
    samples: Float[Array, " n"]

    def __repr__(self) -> str:
        return (
            f"LogLikelihood({self.value:.6g} ± {self.standard_error:.2g} nats, "
            f"monte_carlo_error={self.monte_carlo_error:.2g}, gap={self.gap:.2g}, "
            f"effective_samples={self.effective_samples:.3g}, n={self.n})"
        )


def log_likelihood(
    model: Estimator,
    views: Any,
    *,
    given: ViewNames = None,
    covariates: Any = None,
    n_samples: int = 1000,
    random_state: Any = None,
) -> LogLikelihood:
    r"""The joint or conditional log-likelihood per sample, with its errors.

    .. math:: \log p(X) \ge \mathbb E \log \frac1K \sum_{k=1}^K w_k, \qquad
        w_k = \frac{p(X \mid z^k)\, p(z^k)}{q(z^k \mid X)}, \quad z^k \sim q(z \mid X)

    of the views that a sample has, as densities of the data as given; any real number, in nats. Given some views,
    :math:`\log p(x_\text{rest} \mid x_\text{given}) = \log p(X) - \log p(x_\text{given})` over the samples that have
    all of them: a difference of two bounds, and none itself.

    The draws are made in ten series. With v the variance of :math:`w_k` in units of the squared mean, which the
    differences between series estimate, the effective sample size is :math:`K / (1 + v)`, and the variance over the
    draws of a sample's estimate is :math:`v / K`. Draws from a mixture are stratified, which makes them more effective.

    Parameters
    ----------
    model : Estimator
        A fitted model that states a likelihood.
    views : views
        The samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to condition on; none by default.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    n_samples : int, default 1000
        Number of draws K for each sample.
    random_state : int, RandomState or None
        Seeds the draws; by default the model's own.

    Returns
    -------
    LogLikelihood

    Raises
    ------
    ValueError
        If the model states no log-likelihood, or there is nothing to be explained.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.
    https://arxiv.org/abs/1509.00519

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> found = log_likelihood(model, views, n_samples=100)
    >>> found.n, found.samples.shape, found.gap >= 0
    (100, (100,), True)
    """
    samples = read_samples(model, views, covariates)
    _check_density(model)
    n_draws = check_count("n_samples", n_samples)
    rows = having(samples, None)
    known: tuple[str, ...] = ()
    if given is not None:
        known = names_of(model, given, "given")
        rest = [name for name in model.view_names_ if name not in known]
        if not rest:
            raise ValueError(f"given={given!r} names all the views: there is nothing left to be explained")
        rows = having(samples, known) & having(samples, rest, "any")
    if not rows.any():
        raise ValueError(f"given={given!r}: no sample has these views and others" if known else "no sample has a view")
    chosen = samples[np.flatnonzero(rows)]
    n_series = min(_SERIES, n_draws)
    sizes = np.diff(np.arange(n_series + 1) * n_draws // n_series)
    state = seeds(model, random_state, 2 * n_series)
    value, variance, gap, effective = _importance(model, chosen, None, sizes, state[:n_series])
    if known:
        # The views that are given are conditioned on: their own evidence is taken off, from draws of its own.
        value_0, variance_0, gap_0, effective_0 = _importance(model, chosen, known, sizes, state[n_series:])
        value, variance, gap = value - value_0, variance + variance_0, gap - gap_0
        effective = np.minimum(effective, effective_0)
    per_sample = np.full(len(samples), np.nan)
    per_sample[rows] = value
    mean, error, n = mean_estimate(value)
    noise = float(np.sqrt(variance.sum())) / n
    return LogLikelihood(mean, error, noise, float(gap.mean()), float(effective.mean()), n, per_sample)


def _check_density(model: Estimator) -> None:
    if not model.has_likelihood:
        raise ValueError(
            f"{type(model).__name__} states no log-likelihood: score_samples is its objective; to compare it with "
            "other models use reconstruction_error"
        )
    for m, view in enumerate(model.views_):
        if not model.network_.likelihood(m).normalised:
            raise ValueError(
                f"view {view.name!r} has likelihood={type(view.likelihood).__name__}, which is not a density; "
                'fit with another, such as "normal"'
            )


def _importance(
    model: Estimator, samples: Samples, given: ViewNames, sizes: Array, state: list[int]
) -> tuple[Array, Array, Array, Array]:
    """Of each sample: the estimate, its variance over draws, the gain from half the draws, the effective number."""
    n_draws = int(sizes.sum())
    log_means = np.stack([_score(model, samples, given, int(k), seed) for k, seed in zip(sizes, state, strict=True)])
    value = _log_mean(log_means, sizes)
    first = slice(0, -(-len(sizes) // 2))
    later = slice(first.stop, None)
    half = np.full_like(value, np.nan)
    if len(sizes) > 1:
        shares = sizes[first].sum() / n_draws, sizes[later].sum() / n_draws
        half = shares[0] * _log_mean(log_means[first], sizes[first])
        half = half + shares[1] * _log_mean(log_means[later], sizes[later])
    with np.errstate(divide="ignore", invalid="ignore"):  # a single draw has no spread
        spread = (sizes[:, None] * np.square(np.expm1(log_means - value))).sum(0) / np.float64(len(sizes) - 1)
    return value, spread / n_draws, value - half, n_draws / (1 + spread)


@torch.no_grad()
def _score(model: Estimator, samples: Samples, given: ViewNames, n_samples: int, seed: int) -> Float[Array, " n"]:
    n_rows = max(1, min(_ROWS, _DRAWS // n_samples))
    with model._seeded(seed):
        scores = [
            model.evaluate(model.network_, batch, n_samples) for _, batch in model._batches(samples, given, n_rows)
        ]
    return torch.cat(scores).double().numpy()


def _log_mean(log_means: Float[Array, "R n"], sizes: Array) -> Float[Array, " n"]:
    """The log of the mean of all draws, from those of the series."""
    top = log_means.max(0)
    return np.asarray(top + np.log(np.average(np.exp(log_means - top), axis=0, weights=sizes)))
