"""Whether shared and private latents hold what they are named for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.estimator import Estimator
from manyview.metrics.queries import codes, having, read_samples, seeds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["separation"]

Array = np.ndarray


def separation(
    model: Estimator,
    views: Any,
    factors: Mapping[str, Any],
    *,
    covariates: Any = None,
    regressor: Any = None,
    n_folds: int = 5,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""How well known factors are predicted from the shared latents z, and from the private ones of each view.

    .. math:: R^2 = 1 - \frac{\sum_i \lVert s_i - \hat s_{-i}(u_i) \rVert^2}{\sum_i \lVert s_i - \bar s \rVert^2},
        \qquad u \in \{z, h_1, \dots, h_M\}

    with s a factor and :math:`\hat s_{-i}` a regression on the samples of other folds: at most 1, and about 0 where
    the latents know nothing of it. Where shared and private are told apart, z predicts shared factors and no private
    ones, and :math:`h_m` the private ones of view m and nothing else.

    Parameters
    ----------
    model : Estimator
        A fitted model, with private latents or without.
    views : views
        The n samples, in any form that the model takes as one argument.
    factors : dict of array-like
        The factors by name, each (n,) or (n, dimensions), all numbers: such as
        ``make_multiview(..., return_factors=True)`` returns.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    regressor : scikit-learn regressor, optional
        By default ridge regression on standardised latents, its penalty chosen by leaving one out.
    n_folds : int, default 5
        Number of folds.
    random_state : int, RandomState or None
        Seeds the folds; by default the model's own.

    Returns
    -------
    DataFrame
        One row a factor; columns ``z``, and with private latents ``h[view]`` for each view, over the samples that have
        it.

    Raises
    ------
    ValueError
        If a factor has not one row a sample, or does not vary, or samples are fewer than folds.

    Examples
    --------
    >>> import manyview as mv
    >>> views, factors = mv.datasets.make_multiview(
    ...     200, (6, 4), n_shared=1, n_private=1, return_factors=True, random_state=0
    ... )
    >>> model = mv.DMVAE(z_dim=1, h_dim=1, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> found = separation(model, views, factors)
    >>> list(found.index), list(found.columns)
    (['shared', 'private_0', 'private_1'], ['z', 'h[view_0]', 'h[view_1]'])
    """
    import pandas as pd
    from sklearn.base import clone
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    samples = read_samples(model, views, covariates)
    known = {name: _as_factor(name, factor, len(samples)) for name, factor in factors.items()}
    if not any(factor.shape[1] for factor in known.values()):
        raise ValueError("factors is empty: give at least one factor by name")
    if regressor is None:
        regressor = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    z, h = codes(model, samples)
    latents = {"z": (z, having(samples, None))}
    if h is not None:
        latents |= {f"h[{name}]": (h[m], having(samples, [name])) for m, name in enumerate(model.view_names_)}
    (seed,) = seeds(model, random_state, 1)
    table = pd.DataFrame(index=pd.Index([name for name in known if known[name].shape[1]], name="factor"))
    for latent, (u, here) in latents.items():
        if here.sum() < max(n_folds, 2):
            raise ValueError(f"n_folds={n_folds}, but {here.sum()} samples have what {latent} is inferred from")
        folds = KFold(n_folds, shuffle=True, random_state=seed)
        column = []
        for name in table.index:
            s = known[name][here]
            total = np.square(s - s.mean(axis=0)).sum()
            if not total > 0:
                raise ValueError(f"factors[{name!r}] does not vary over the samples that have what {latent} is of")
            predicted = cross_val_predict(clone(regressor), u[here], s[:, 0] if s.shape[1] == 1 else s, cv=folds)
            column.append(1 - np.square(s - predicted.reshape(s.shape)).sum() / total)
        table[latent] = column
    return table


def _as_factor(name: str, factor: Any, n: int) -> Array:
    x = np.asarray(factor, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) != n or not np.isfinite(x).all():
        raise ValueError(
            f"factors[{name!r}] has shape {np.shape(factor)}; give finite numbers, one row for each of {n}"
        )
    return x
