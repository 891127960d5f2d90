r"""Simulations: data whose latent factors, and for linear models whose evidence and posterior, are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state

from manyview.data.views import Views
from manyview.datasets.missing import Mechanism, removed

__all__ = ["LinearGaussian", "make_linear_gaussian", "make_multiview"]

Array = np.ndarray


def make_multiview(
    n_samples: int = 500,
    n_features: Sequence[int] = (20, 20),
    *,
    n_shared: int = 2,
    n_private: int | Sequence[int] = 0,
    noise: float | Sequence[float] = 0.3,
    missing: float = 0.0,
    mechanism: Mechanism = "mcar",
    nonlinear: bool = False,
    return_factors: bool = False,
    random_state: Any = None,
) -> Any:
    r"""Views that share latent factors, and may have private ones and missing entries.

    .. math:: x_m = g\big( W_m z + V_m h_m \big) + \varepsilon_m, \qquad z, h_m \sim \mathcal N(0, I), \qquad
        \varepsilon_m \sim \mathcal N(0, \text{noise}_m^2 I)

    The entries of :math:`W_m` and :math:`V_m` are normal, their rows scaled so that each feature has variance 1 before
    the noise; g is the identity, or :math:`g(a) = \tanh(1.5\, a)`.

    Then views go missing as :func:`remove` says; the first view is ``view_0``. The same `random_state` draws the same
    values whatever goes missing of them.

    Parameters
    ----------
    n_samples : int, default 500
        Number of samples n.
    n_features : sequence of int, default (20, 20)
        Number of features of each view; as many views as entries.
    n_shared : int, default 2
        Dimensions of z.
    n_private : int or sequence of int, default 0
        Dimensions of each :math:`h_m`: the same for all views, or one number for each.
    noise : float or sequence of float, default 0.3
        Standard deviation of the noise: the same for all views, or one for each.
    missing : float, default 0
        Share of the entries (sample, view) that are missing, in [0, 1); under mar below (M - 1) / M, as view 0 stays,
        and under block at most that.
    mechanism : {"mcar", "mar", "mnar", "view", "block"}, default "mcar"
        What it depends on whether an entry is missing: see :func:`remove`.
    nonlinear : bool, default False
        Whether g bends.
    return_factors : bool, default False
        Whether to return the factors as well.
    random_state : int, RandomState or None
        Seeds the draws.

    Returns
    -------
    views : Views
        ``view_0``, ``view_1``, ...
    factors : dict of ndarray
        ``shared``, (n, n_shared), and ``private_0``, ..., (n, n_private); only with ``return_factors=True``.

    Raises
    ------
    ValueError
        If a number is out of range, or the mechanism unknown.

    Examples
    --------
    >>> from manyview.datasets import make_multiview
    >>> make_multiview(100, (5, 7, 3), random_state=0)
    Views(n=100, view_0=(5,), view_1=(7,), view_2=(3,))

    Samples with a large first feature in ``view_0`` lack the others more often:

    >>> views = make_multiview(1000, (5, 7, 3), missing=0.2, mechanism="mar", random_state=0)
    >>> large = views["view_0"][:, 0] > 0
    >>> views[large].present.mean(axis=0).round(1).tolist(), views[~large].present.mean(axis=0).round(1).tolist()
    ([1.0, 0.4, 0.4], [1.0, 0.9, 0.9])
    """
    n_views = len(n_features)
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: there must be at least one sample")
    if not n_features or min(n_features) < 1:
        raise ValueError(f"n_features={tuple(n_features)}: there must be at least one view, and a feature in each")
    privates, noises = _per_view("n_private", n_private, n_views), _per_view("noise", noise, n_views)
    if min(n_shared, *privates) < 0 or n_shared + min(privates) < 1:
        raise ValueError(
            f"n_shared={n_shared}, n_private={n_private}: there must be at least one factor in each view, "
            "and no negative number of them"
        )
    if not all(0 <= scale < np.inf for scale in noises):
        raise ValueError(f"noise={noise}: a standard deviation cannot be negative or infinite")
    rng = check_random_state(random_state)
    factors = {"shared": rng.standard_normal((n_samples, n_shared))}
    data = {}
    for m, (width, h_dim, scale) in enumerate(zip(n_features, privates, noises, strict=True)):
        private = factors[f"private_{m}"] = rng.standard_normal((n_samples, h_dim))
        loadings = rng.standard_normal((width, n_shared + h_dim))
        loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
        signal = np.hstack([factors["shared"], private]) @ loadings.T
        signal = np.tanh(1.5 * signal) if nonlinear else signal
        data[f"view_{m}"] = (signal + scale * rng.standard_normal(signal.shape)).astype(np.float32)
    views = removed(Views(data), missing, mechanism, rng, "missing")
    return (views, factors) if return_factors else views


def _per_view(name: str, value: Any, n_views: int) -> list[Any]:
    values = [value] * n_views if np.ndim(value) == 0 else list(value)
    if len(values) != n_views:
        raise ValueError(f"{name}={value}: {len(values)} for {n_views} views; give one number, or one for each view")
    return values


@dataclass(frozen=True)
class LinearGaussian:
    r"""A linear model with normal noise: everything about it is known in closed form.

    .. math:: z \sim \mathcal N(0, I), \qquad x_m \mid z \sim \mathcal N(W_m z + b_m, \operatorname{diag} \sigma_m^2)

    Parameters
    ----------
    loadings : tuple of ndarray
        W, (D_m, Z) for each view.
    offsets : tuple of ndarray
        b, (D_m,).
    noise : tuple of ndarray
        σ, (D_m,).
    """

    loadings: tuple[Float[Array, "D Z"], ...]
    offsets: tuple[Float[Array, " D"], ...]
    noise: tuple[Float[Array, " D"], ...]

    def sample(self, n_samples: int, random_state: Any = None) -> tuple[Views, Float[Array, "n Z"]]:
        """Draw samples: the views, and the z that made them."""
        rng = check_random_state(random_state)
        z = rng.standard_normal((n_samples, self.loadings[0].shape[1]))
        data = {
            f"view_{m}": z @ w.T + b + s * rng.standard_normal((n_samples, len(b)))
            for m, (w, b, s) in enumerate(zip(self.loadings, self.offsets, self.noise, strict=True))
        }
        return Views(data), z

    def _stacked(self, views: Views) -> tuple[Array, Array, Array, Array]:
        """All views side by side: x - b, W, σ² and the mask of what is observed."""
        flat = [views.array(name) for name in views.names]
        x = np.hstack(flat) - np.hstack(self.offsets)
        mask = ~np.isnan(x)
        return np.where(mask, x, 0.0), np.vstack(self.loadings), np.hstack(self.noise) ** 2, mask

    def posterior(self, views: Views) -> tuple[Float[Array, "n Z"], Float[Array, "n Z Z"]]:
        r"""The exact p(z | X) of what is observed: its means and covariances.

        .. math:: \Sigma = \Big( I + \sum_m W_m^\top \Psi_m^{-1} W_m \Big)^{-1}, \qquad
            \mu = \Sigma \sum_m W_m^\top \Psi_m^{-1} (x_m - b_m), \qquad \Psi_m = \operatorname{diag} \sigma_m^2
        """
        x, w, psi, mask = self._stacked(views)
        precision = np.eye(w.shape[1]) + np.einsum("dz,nd,dy->nzy", w, mask / psi, w)
        covariance = np.linalg.inv(precision)
        return np.einsum("nzy,nd,dy->nz", covariance, x / psi, w), covariance

    def log_evidence(self, views: Views) -> Float[Array, " n"]:
        r"""The exact log p(X) of what is observed, in nats: :math:`\log \mathcal N(X; b, W W^\top + \Psi)`."""
        x, w, psi, mask = self._stacked(views)
        out = np.empty(len(x))
        for i, (row, observed) in enumerate(zip(x, mask, strict=True)):
            covariance = w[observed] @ w[observed].T + np.diag(psi[observed])
            _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
            out[i] = -0.5 * (log_det + row[observed] @ np.linalg.solve(covariance, row[observed]))
        return out


def make_linear_gaussian(
    n_features: Sequence[int] = (6, 4), z_dim: int = 2, *, noise: float = 0.5, random_state: Any = None
) -> LinearGaussian:
    """A random linear-Gaussian model: an oracle for evidence and posteriors.

    Parameters
    ----------
    n_features : sequence of int, default (6, 4)
        Number of features of each view.
    z_dim : int, default 2
        Number of latent dimensions.
    noise : float, default 0.5
        Geometric mean of the noise's standard deviations, which vary by a factor of up to 1.5 both ways.
    random_state : int, RandomState or None
        Seeds the draws.

    Examples
    --------
    >>> from manyview.datasets import make_linear_gaussian
    >>> model = make_linear_gaussian((3, 2), random_state=0)
    >>> views, z = model.sample(5, random_state=1)
    >>> model.log_evidence(views).shape, model.posterior(views)[0].shape
    ((5,), (5, 2))
    """
    rng = check_random_state(random_state)
    return LinearGaussian(
        tuple(rng.standard_normal((width, z_dim)) for width in n_features),
        tuple(rng.standard_normal(width) for width in n_features),
        tuple(noise * 1.5 ** rng.uniform(-1, 1, size=width) for width in n_features),
    )
