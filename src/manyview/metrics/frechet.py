"""The Fréchet distance between what is real and what is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["fid"]

Array = np.ndarray


def fid(real: Any, generated: Any, *, features: Callable[[Array], Any] | None = None) -> float:
    r"""The Fréchet distance between the features of real and of generated samples, as if these were normal.

    .. math:: \lVert \mu_r - \mu_g \rVert^2
        + \operatorname{tr}\Big( \Sigma_r + \Sigma_g - 2 \big( \Sigma_r^{1/2} \Sigma_g \Sigma_r^{1/2} \big)^{1/2} \Big)

    with the means and unbiased covariances of the features: the squared Wasserstein distance of two normal
    distributions. At least 0, in squared units of the features, and biased upwards where samples are few: compare
    numbers from the same number of samples, many more than features. It is the "Fréchet inception distance" with the
    features of the Inception network that papers use; no network comes with this library.

    Parameters
    ----------
    real, generated : array-like of shape (n, \*shape)
        Samples of a view. Rows that are NaN throughout, where samples lack the view, are left out.
    features : callable, optional
        Maps an array (n, \*shape) to features (n, F); by default the data themselves, flattened.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are fewer than two samples of a kind, single entries are missing, or features do not match.

    References
    ----------
    M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, "GANs trained by a two time-scale update rule
    converge to a local Nash equilibrium", NeurIPS 2017. https://arxiv.org/abs/1706.08500

    D. C. Dowson, B. V. Landau, "The Fréchet distance between multivariate normal distributions", Journal of
    Multivariate Analysis 12(3), 450-455, 1982. https://doi.org/10.1016/0047-259X(82)90077-X

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> round(fid(x, x + 2), 6)  # three features, each off by 2
    12.0
    """
    mean_r, cov_r = _moments(real, features, "real")
    mean_g, cov_g = _moments(generated, features, "generated")
    if mean_r.shape != mean_g.shape:
        raise ValueError(f"real samples have {len(mean_r)} features, and generated ones {len(mean_g)}")
    root = _root(cov_r)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_g @ root), 0, None)).sum()
    distance = np.square(mean_r - mean_g).sum() + np.trace(cov_r) + np.trace(cov_g) - 2 * cross
    return max(float(distance), 0.0)


def _moments(data: Any, features: Callable[[Array], Any] | None, argument: str) -> tuple[Array, Array]:
    x = np.asarray(data)
    x = x[~np.isnan(x).reshape(len(x), -1).all(axis=1)]
    if np.isnan(x).any():
        raise ValueError(
            f"{argument} has NaN in samples that are not missing altogether; impute them, or leave them out"
        )
    if len(x) < 2:
        raise ValueError(f"{argument} has {len(x)} samples; covariances need two at least, and many more to mean much")
    phi = np.asarray(x.reshape(len(x), -1) if features is None else features(x), dtype=np.float64)
    if phi.ndim != 2 or len(phi) != len(x):
        raise ValueError(f"features gives shape {phi.shape} for {len(x)} samples; it must give (n, F)")
    return phi.mean(axis=0), np.atleast_2d(np.cov(phi, rowvar=False))


def _root(covariance: Float[Array, "F F"]) -> Float[Array, "F F"]:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
