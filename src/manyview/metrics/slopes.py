"""Which features of which view move with a latent dimension, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import orthogonal_procrustes

from manyview.data.samples import Samples
from manyview.estimator import Estimator, ViewNames
from manyview.inference import components
from manyview.messages import closest, warn
from manyview.metrics.queries import codes, having, names_of, read_samples, seeds
from manyview.nn import per_view
from manyview.preparation import Prepared
from manyview.seeding import as_seeds
from manyview.tuning import trained
from manyview.validation import check_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Loadings", "loadings"]

Array = np.ndarray

# Numbers in the resampled data of the models that are trained at once.
_NUMBERS = 2**26


@final
@dataclass(frozen=True)
class Loadings:
    """How far each feature moves with each latent dimension.

    Parameters
    ----------
    mean : dict of DataFrame
        For each view a row a feature and a column a dimension, ``z0``, ``z1``, ...: standard deviations of the feature
        for one standard deviation of the dimension.
    low, high : dict of DataFrame, optional
        The ends of the intervals, of the same form; None without refits.
    """

    mean: dict[str, pd.DataFrame]
    low: dict[str, pd.DataFrame] | None = None
    high: dict[str, pd.DataFrame] | None = None

    def top(self, view: str, dimension: int = 0, n: int = 10) -> pd.DataFrame:
        """The features of a view that move most with a dimension, up or down, the farthest first.

        Parameters
        ----------
        view : str
            The view.
        dimension : int, default 0
            The position of the dimension.
        n : int, default 10
            How many features at most.

        Returns
        -------
        DataFrame
            A row a feature, with ``mean`` and, with intervals, ``low`` and ``high``.

        Raises
        ------
        ValueError
            If there is no such view or dimension.
        """
        import pandas as pd

        if view not in self.mean:
            raise ValueError(f"view={view!r}: there are no loadings of it{closest(view, self.mean)}")
        columns, column = list(self.mean[view].columns), f"z{dimension}"
        if column not in columns:
            raise ValueError(f"dimension={dimension!r}: give the position of one, from 0 to {len(columns) - 1}")
        found = {"mean": self.mean, "low": self.low, "high": self.high}
        table = pd.DataFrame({name: by_view[view][column] for name, by_view in found.items() if by_view is not None})
        order = table["mean"].abs().to_numpy().argsort(kind="stable")[::-1]
        known = order[table["mean"].notna().to_numpy()[order]]
        return table.iloc[known[: check_count("n", n)]]


def loadings(
    model: Estimator,
    views: Any,
    *,
    given: ViewNames = None,
    n_refits: int = 0,
    level: float = 0.95,
    covariates: Any = None,
    random_state: Any = None,
) -> Loadings:
    r"""How many standard deviations a feature moves as a latent dimension moves by one of its own.

    .. math:: \ell_{fd} = \frac1n \sum_{i=1}^n \frac{
        f\big(z_i + \tfrac12 s_d e_d\big) - f\big(z_i - \tfrac12 s_d e_d\big)}{\sigma_f}

    with :math:`z_i` the posterior mean of sample i, :math:`s_d` the standard deviation of its dimension d over the
    samples, :math:`e_d` the unit vector along it, and :math:`f(z)` the expected value of the feature, for Bernoulli and
    categorical views its probability. :math:`\sigma_f` is the feature's standard deviation in the training data; of
    views that are not standardised it is that over the samples, and of a feature that does not vary it is 1. Private
    latents are at their posterior means. Of a mixture posterior the slope is the mean over its components, at whose
    means it is taken: there ``predict`` decodes.

    A loading is a number of either sign without a bound, 0 for a feature that does not depend on the dimension. For a
    linear decoder it is :math:`W_{fd}\, s_d / \sigma_f`, as in factor analysis. For others it is a mean slope: a
    feature that rises in some samples as far as it falls in others has 0 too. Look at
    :func:`~manyview.plotting.plot_traversals`, or decode a few latents, to see that.

    **Intervals.** ``n_refits`` models with the same hyperparameters, but other initial weights, are trained on
    bootstrap samples: as many samples as there are, drawn with replacement. Each is then asked about the original
    samples. What it is trained on is in the units that the model's own training data set, and the samples that were not
    drawn serve to watch its objective. The intervals are quantiles of the refits' loadings. Models whose posteriors and
    prior look the same from all sides, as normal ones do, learn z up to a rotation alone. So the posterior means of
    each refit are first rotated, or reflected, onto those of the model (orthogonal Procrustes), and its slopes are
    taken along the rotated axes.

    The intervals say how far a loading varies with the choice of samples and with chance in training, given the model's
    own axes: which rotation that is, they do not say. They do not cover what all such models get wrong alike, such as
    the shrinkage of a strong penalty, a z_dim that is too small, or a confounder; and they are no intervals around the
    loadings of a true model. They hold for one loading at a time.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument; with ``n_refits``, those that the model was
        trained on, since the refits are trained on them.
    given : str, int or sequence of these, optional
        The views to infer the latents from, of samples that have all of them; by default what a sample has.
    n_refits : int, default 0
        How many models to train for the intervals. None by default; take 50 at least for quantiles of 95 %.
    level : float, default 0.95
        The share of the refits that is within an interval, above 0 and below 1.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    random_state : int, RandomState or None
        Seeds the bootstrap samples and the refits; by default the model's own.

    Returns
    -------
    Loadings
        NaN for features of a view that is not standardised and that the samples lack.

    Raises
    ------
    ValueError
        If no sample has the given views, or ``n_refits`` or ``level`` are out of their range.
    NonFiniteObjectiveError
        If the objective of every refit became NaN or infinite. Of some, they are left out, with a warning.

    References
    ----------
    B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7:1-26, 1979 (the intervals).
    https://doi.org/10.1214/aos/1176344552

    P. H. Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31:1-10, 1966 (the
    rotation). https://doi.org/10.1007/BF02289451

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> found = loadings(model, views, n_refits=3)
    >>> found.mean["view_1"].shape, found.top("view_1", dimension=0, n=1).columns.tolist()
    ((4, 2), ['mean', 'low', 'high'])
    """
    if isinstance(n_refits, bool) or not isinstance(n_refits, int | np.integer) or n_refits < 0:
        raise ValueError(f"n_refits={n_refits!r}: give a whole number, at least 1, or 0 for no intervals")
    if not isinstance(level, float | int | np.floating) or not 0 < level < 1:
        raise ValueError(f"level={level!r}: give the share of refits within an interval, above 0 and below 1")
    samples = read_samples(model, views, covariates)
    known = None if given is None else names_of(model, given, "given")
    here = np.flatnonzero(having(samples, known))
    if not len(here):
        raise ValueError(f"given={given!r}: no sample has these views")
    asked, sigma = samples[here], _deviations(model, samples)
    z, _ = codes(model, asked, known)
    found = _slopes(model, asked, known, np.diag(z.std(axis=0)), sigma)
    refits: list[dict[str, Array]] = []
    if n_refits:
        everything = samples[np.flatnonzero(having(samples, None))]
        for other in _refit(model, everything, seeds(model, random_state, n_refits)):
            refits.append(_slopes(other, asked, known, _aligned_steps(z, codes(other, asked, known)[0]), sigma))
    tail = (1 - level) / 2
    ends = [
        _tables(model, {view: np.quantile([refit[view] for refit in refits], q, axis=0) for view in found})
        for q in (tail, 1 - tail)
        if refits
    ]
    return Loadings(_tables(model, found), *ends)


def _tables(model: Estimator, arrays: dict[str, Float[Array, "F Z"]]) -> dict[str, pd.DataFrame]:
    import pandas as pd

    features = {view.name: view.feature_names for view in model.views_}
    dimensions = model.get_feature_names_out()
    return {name: pd.DataFrame(x, index=list(features[name]), columns=dimensions) for name, x in arrays.items()}


def _deviations(model: Estimator, samples: Samples) -> dict[str, Array]:
    r"""The standard deviation of each feature: that of training where the model knows it, or that of the samples."""
    scales = per_view(model.scale, model.view_names_, "scale", default="standard", plain=True)
    found, data = {}, samples.in_memory
    for view in model.views_:
        if scales[view.name] == "standard" and view.likelihood.continuous:
            found[view.name] = view.scale
            continue
        x = data.array(view.name).astype(np.float64) if view.name in data else np.full((1, *view.shape), np.nan)
        n = (~np.isnan(x)).sum(axis=0)
        mean = np.nansum(x, axis=0) / np.maximum(n, 1)
        sigma = np.sqrt(np.nansum(np.square(x - mean), axis=0) / np.maximum(n, 1))
        found[view.name] = np.where(n == 0, np.nan, np.where(sigma > 1e-12 * np.abs(mean), sigma, 1.0))
    return found


@torch.no_grad()
def _slopes(
    model: Estimator,
    samples: Samples,
    given: ViewNames,
    steps: Float[Array, "D Z"],
    sigma: dict[str, Array],
) -> dict[str, Float[Array, "F D"]]:
    """By view, how far each feature moves on average, in its sigma, as the latents move along each of some steps."""
    network, views = model.network_, model.views_
    totals = [np.zeros((len(steps), math.prod(view.shape))) for view in views]
    for found in model._infer(samples, given):
        z, weights = components(found.q)
        h = None if found.q_h is None else found.q_h.mean.expand(len(z), *found.q_h.mean.shape)
        c = None if samples.covariates is None else samples.covariates[found.rows]
        for m, total in enumerate(totals):
            at, h_m = network.regress(z, m), None if h is None else h[..., m, :, :]
            for d, step in enumerate(torch.from_numpy(steps).to(z.dtype)):
                ahead, behind = (network.decode(at + sign * step / 2, m, h_m, c) for sign in (1, -1))
                moved = network.likelihood(m).mean(ahead) - network.likelihood(m).mean(behind)
                total[d] += torch.einsum("sb,sbf->f", weights, moved.flatten(2)).numpy()
    # The networks know the views in units of the model's scale.
    units = [(view.scale / sigma[view.name]).reshape(-1, 1) for view in views]
    return {view.name: total.T / len(samples) * unit for view, total, unit in zip(views, totals, units, strict=True)}


def _aligned_steps(z: Float[Array, "n Z"], other: Float[Array, "n Z"]) -> Float[Array, "Z Z"]:
    """For each dimension of z, the step in the other latents that is one standard deviation along the same axis."""
    centred = other - other.mean(axis=0)
    rotation, _ = orthogonal_procrustes(z - z.mean(axis=0), centred)  # z @ rotation is close to the others
    lengths = (centred @ rotation.T).std(axis=0)
    steps: Array = lengths[:, None] * rotation
    return steps


def _refit(model: Estimator, samples: Samples, seeds: Sequence[int]) -> Iterator[Estimator]:
    """The same model from other initial weights, trained on samples drawn with replacement: one for each seed.

    Views and covariates are encoded as the model learned to, so that its units, likelihoods and categories stay.
    """
    at_once = max(1, _NUMBERS // (len(samples) * sum(math.prod(view.shape) for view in model.views_)))
    n_failed = 0
    for start in range(0, len(seeds), at_once):
        jobs = []
        for seed in seeds[start : start + at_once]:
            other = model._with({"random_state": seed, "verbose": False})
            data = _resampled(model, samples, seed)
            jobs.append((other, data, [other.run(data, one) for one in as_seeds(seed, model.n_init)]))
        for other, error in trained(jobs):
            if error is None:
                yield other
                continue
            n_failed += 1
            if n_failed == len(seeds):
                raise error
    if n_failed:
        warn(f"the objective of {n_failed} of {len(seeds)} refits became NaN or infinite; they are left out")


def _resampled(model: Estimator, samples: Samples, seed: int) -> Prepared:
    """As many samples drawn with replacement to train on, and some of the others to watch the objective on."""
    n, rng = len(samples), np.random.RandomState(seed)
    rows = rng.randint(n, size=n)
    others = rng.permutation(np.setdiff1d(np.arange(n), rows))[: round(model.validation_fraction * n)]
    watched = None if len(others) < max(2, model.fewest_samples) else samples[np.sort(others)].batch(model.views_)
    training = samples[rows].batch(model.views_)
    return Prepared(model.views_, model.covariates_, training, watched, np.zeros(0, dtype=int))
