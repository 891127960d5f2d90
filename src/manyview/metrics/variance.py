"""How much of each view each latent dimension explains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyview.data.samples import Samples
from manyview.estimator import Estimator, ViewNames
from manyview.inference import components
from manyview.metrics.queries import codes, having, names_of, read_samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["explained", "variance_explained"]

Array = np.ndarray


def variance_explained(
    model: Estimator, views: Any, *, given: ViewNames = None, covariates: Any = None
) -> pd.DataFrame:
    r"""The share of each view's variance that each latent dimension explains.

    .. math:: \frac{\lVert x_m - f_m(\bar z) \rVert^2 - \lVert x_m - f_m(\bar z_{-d}, z_d) \rVert^2}
        {\lVert x_m - \mu_m \rVert^2}

    with :math:`f_m` what ``predict`` expects of the view, z the posterior means, :math:`\bar z` their means over the
    samples, and :math:`\mu_m` the mean of the training data: by how much R² rises as dimension d alone takes its values
    while all others stay at their means. Norms run over the observed entries, in units of the model's ``scale`` of each
    feature, so that the units of the data do not matter. A dimension that a decoder does not use has 0, one that alone
    misleads has less. The same for all dimensions together is in ``all``: for linear decoders and dimensions that do
    not correlate, those of a view sum to it; what dimensions explain only together is in it alone. It is at most 1
    where the view that is expected at :math:`\bar z` is the mean of the data, as of linear decoders. Of others it may
    be a worse guess than the mean, and all shares are larger for it.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    views : views
        The samples, in any form that the model takes as one argument.
    given : str, int or sequence of these, optional
        The views to infer the latents from, of samples that have all of them; by default what a sample has.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such. What they explain is no dimension's.

    Returns
    -------
    DataFrame
        One row a view. Columns ``z0``, ``z1``, ...; with private latents ``h0``, ``h1``, ..., those of the view, and
        ``private``, these together; and ``all``. NaN for a view that no sample has, or that does not vary.

    Raises
    ------
    ValueError
        If no sample has the given views.

    References
    ----------
    R. Argelaguet, B. Velten, D. Arnol et al., "Multi-Omics Factor Analysis: a framework for unsupervised integration of
    multi-omics data sets", Molecular Systems Biology 14:e8124, 2018 (of linear models).
    https://doi.org/10.15252/msb.20178124

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(200, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> list(variance_explained(model, views).columns)
    ['z0', 'z1', 'all']
    """
    samples = read_samples(model, views, covariates)
    known = None if given is None else names_of(model, given, "given")
    here = np.flatnonzero(having(samples, known))
    if not len(here):
        raise ValueError(f"given={given!r}: no sample has these views")
    return explained(model, samples[here], known)


@torch.no_grad()
def explained(model: Estimator, samples: Samples, given: ViewNames = None) -> pd.DataFrame:
    """What :func:`variance_explained` returns, of samples that are read and have the given views."""
    import pandas as pd

    views, network, data = model.views_, model.network_, samples.in_memory
    z_mean, h_mean = _average_codes(model, samples, given)
    names = [f"z{i}" for i in range(len(z_mean))]
    if h_mean is not None:
        names += [*(f"h{i}" for i in range(h_mean.shape[-1])), "private"]
    present = [m for m, view in enumerate(views) if view.name in data]
    squared = np.zeros((len(views), len(names) + 2))  # of each alone, of all, and of none
    for found in model._infer(samples, given):
        z, weights = components(found.q)
        h = None if found.q_h is None else found.q_h.mean.expand(len(z), *found.q_h.mean.shape)
        c = None if samples.covariates is None else samples.covariates[found.rows]
        for m in present:
            x = data.array(views[m].name)[found.rows]
            for i, (z_i, h_i) in enumerate(_alone(z, z_mean, h, h_mean)):
                expected = model._expected_view(m, network.regress(z_i, m), h_i, c, weights)
                squared[m, i] += _norm((x - expected) / views[m].scale)
    total = np.full(len(views), math.nan)
    for m in present:
        total[m] = _norm((data.array(views[m].name) - views[m].loc) / views[m].scale - views[m].fill) or math.nan
    shares = (squared[:, -1:] - squared[:, :-1]) / total[:, None]
    return pd.DataFrame(shares, index=pd.Index(model.view_names_, name="view"), columns=[*names, "all"])


def _average_codes(
    model: Estimator, samples: Samples, given: ViewNames
) -> tuple[Float[Tensor, " Z"], Float[Tensor, "M 1 H"] | None]:
    """The means over the samples of z, and of each h_m over those that have view m."""
    z, h = codes(model, samples, given)
    average = torch.from_numpy(z.mean(axis=0))
    if h is None:
        return average, None
    here = np.stack([having(samples, [name]) for name in model.view_names_])[..., None]
    return average, torch.from_numpy(
        (h * here).sum(1, keepdims=True) / np.maximum(here.sum(1, keepdims=True), 1)
    ).float()


def _alone(
    z: Float[Tensor, "S B Z"],
    z_mean: Float[Tensor, " Z"],
    h: Float[Tensor, "S M B H"] | None,
    h_mean: Float[Tensor, "M 1 H"] | None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The latents with all but one dimension at their means, all but the private ones, none, and all."""
    z_0 = z_mean.expand_as(z)
    h_0 = None if h is None or h_mean is None else h_mean.expand_as(h)
    for d in range(z.shape[-1]):
        yield _put(z_0, z, d), h_0
    if h is not None and h_0 is not None:
        for d in range(h.shape[-1]):
            yield z_0, _put(h_0, h, d)
        yield z_0, h
    yield z, h
    yield z_0, h_0


def _put(at: Tensor, values: Tensor, d: int) -> Tensor:
    """A copy with dimension d of the values."""
    moved = at.clone()
    moved[..., d] = values[..., d]
    return moved


def _norm(x: Array) -> float:
    """The sum of squares of what is observed."""
    return float(np.nansum(np.square(x, dtype=np.float64)))
