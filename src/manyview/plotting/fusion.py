"""How the posteriors of a sample's views become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from manyview.latent import LocationScale
from manyview.metrics.queries import read_samples
from manyview.plotting.generation import check_dimension, check_sample
from manyview.plotting.style import PALETTE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch.distributions import Distribution

    from manyview.estimator import Estimator

__all__ = ["plot_fusion"]

Array = np.ndarray

# Colours of the views' curves, and dashes that tell them apart in print.
_COLOURS = PALETTE[1:]
_DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (6, 2, 1, 2)), (0, (2, 1.5)), (0, (9, 3)), (0, (6, 2, 1, 2, 1, 2)))

# How far a curve is drawn, in standard deviations.
_REACH = 4.0


def plot_fusion(
    model: Estimator, views: Any, *, sample: int = 0, dimension: int = 0, covariates: Any = None, ax: Axes | None = None
) -> Axes:
    r"""Draw the posteriors of one sample in one latent dimension: each view's, the joint one, and the prior.

    The area below each curve is 1. Where :math:`q(z \mid X)` is a product of the views' posteriors, it is narrower than
    each of them and lies between them, nearest to the surest, and nearer to 0 if the prior is a factor too. Where it is
    a mixture, it has the peaks of all of them.

    Parameters
    ----------
    model : Estimator
        A fitted model with normal or Laplace posteriors.
    views : views
        Samples, in any form that the model takes as one argument.
    sample : int, default 0
        The position of the one to draw. A view that it lacks has no curve.
    dimension : int, default 0
        The latent dimension.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    ax : Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If the model's posteriors have no densities, as those of autoencoders without noise, or its prior has none, as
        that of sparse models; or if there is no such sample or dimension.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
    >>> [line.get_label() for line in plot_fusion(model, views).lines]
    ['prior', 'view_0', 'view_1', 'joint posterior']
    """
    network = model.fitted_network()
    if not isinstance(network.latent, LocationScale):
        raise ValueError(
            f"{type(model).__name__} states no densities of z here: its codes are points, or its prior is improper; "
            "draw a variational model that is not sparse, such as MVAE"
        )
    d = check_dimension("dimension", dimension, network.latent.z_dim)
    samples = read_samples(model, views, covariates)
    batch = samples[np.array([check_sample(sample, len(samples))])].batch(model.views_)
    curves: list[tuple[str, _Marginal, dict[str, Any]]] = []
    with torch.no_grad():
        prior = _Marginal(network.latent.prior.expand(torch.Size((1,))), d)
        curves.append(("prior", prior, {"color": "0.45", "linestyle": ":", "linewidth": 1.6, "zorder": 1}))
        experts = network.experts(batch)
        for m, name in enumerate(model.view_names_ if network.fusion.unimodal else []):
            if bool(batch.mask[0, m]):
                style = {"color": _COLOURS[m % len(_COLOURS)], "linestyle": _DASHES[m % len(_DASHES)], "linewidth": 1.8}
                curves.append((name, _Marginal(experts, d, m), style))
        joint = _Marginal(network.posterior(batch), d)
        curves.append(("joint posterior", joint, {"color": PALETTE[0], "linewidth": 2.8, "zorder": 2}))
    # As many points around every peak, however narrow it is beside the others.
    peaks = [(loc, sd) for _, curve, _ in curves for loc, sd in curve.peaks]
    ends = np.array([loc + sign * _REACH * sd for loc, sd in peaks for sign in (-1, 1)])
    offsets = np.linspace(-_REACH, _REACH, 241)
    x = np.unique(
        np.concatenate([*(loc + sd * offsets for loc, sd in peaks), np.linspace(ends.min(), ends.max(), 400)])
    )
    ax = new_axes(ax, 5.5, 3.2)
    for name, curve, style in curves:
        ax.plot(x, curve.density(x), label=name, **style)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel=f"z{d}", ylabel="density", xlim=(ends.min(), ends.max()))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, handlelength=3)
    return ax


class _Marginal:
    """One dimension of the first sample's distribution: of a view's, or of the components of a mixture."""

    def __init__(self, q: Distribution, dimension: int, view: int | None = None) -> None:
        from torch.distributions import Independent, MixtureSameFamily

        parts, weights = q, torch.ones(1)
        if isinstance(q, MixtureSameFamily):
            parts, weights = q.component_distribution, q.mixture_distribution.probs[0]
        base = cast("Independent[Any]", parts).base_dist
        first = (view, 0) if view is not None else (0,)
        at = {name: getattr(base, name)[first][..., dimension].reshape(-1) for name in ("loc", "scale")}
        active = weights > 0
        self.parts = type(base)(at["loc"][active], at["scale"][active], validate_args=False)
        self.weights = weights[active].double()

    @property
    def peaks(self) -> list[tuple[float, float]]:
        """The mean and the standard deviation of each component."""
        return list(zip(self.parts.mean.tolist(), self.parts.stddev.tolist(), strict=True))

    def density(self, x: Array) -> Array:
        """The density at some points."""
        at = torch.from_numpy(x).unsqueeze(-1)
        density: Array = (self.parts.log_prob(at).exp() * self.weights).sum(-1).numpy()
        return density
