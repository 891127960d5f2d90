"""What variational models with normal posteriors share: latent dimensions that can be switched off."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt

from manyview.latent import Gaussian, Latent, SparseGaussian
from manyview.models.variational import Variational

__all__ = ["GaussianVariational"]


class GaussianVariational(Variational):
    r"""A variational model with normal posteriors, sparse ones if asked for.

    Parameters
    ----------
    sparse : bool, default False
        Whether latent dimensions are switched off by variational dropout: posteriors
        :math:`\mathcal N(\mu, \alpha \mu^2)` under a log-uniform prior, which is improper: there is no log-likelihood
        and there are no samples. See :class:`~manyview.latent.SparseGaussian`.
    threshold : float, default 0.2
        The dropout rate above which a dimension is zero after training; used when sparse.

    Attributes
    ----------
    dropout_rate_ : ndarray
        The dropout rate of each latent dimension, (Z,); when sparse.
    kept_dimensions_ : ndarray
        The indices of the dimensions that are on; when sparse.
    """

    sparse: bool = False
    threshold: Annotated[float, Gt(0), Lt(1)] = 0.2

    def normal_latent(self, h_dim: int = 0) -> Latent:
        """The latent z, sparse if asked for, with private latents of ``h_dim`` dimensions if that is not 0."""
        private = Gaussian(h_dim) if h_dim else None
        if self.sparse:
            return SparseGaussian(self.z_dim, private, threshold=self.threshold)
        return Gaussian(self.z_dim, private)

    @property
    def dropout_rate_(self) -> np.ndarray:
        """The dropout rate of each latent dimension."""
        return self._sparse_latent("dropout_rate_").dropout_rate.detach().numpy()

    @property
    def kept_dimensions_(self) -> np.ndarray:
        """The indices of the dimensions that are on."""
        return np.flatnonzero(self._sparse_latent("kept_dimensions_").kept.numpy())

    def _sparse_latent(self, attribute: str) -> SparseGaussian:
        latent = self.fitted_network().latent
        if not isinstance(latent, SparseGaussian):
            raise AttributeError(f"{attribute} belongs to sparse models: fit with sparse=True to have it")
        return latent
