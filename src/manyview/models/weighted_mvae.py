"""Generalised product-of-experts variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import numpy as np

from manyview.data.batch import Batch
from manyview.fusion import Fusion, GeneralisedPoE
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["WeightedMVAE"]


@final
class WeightedMVAE(GaussianVariational):
    r"""MVAE with a generalised product of experts: the weight of each view in each latent dimension is learned.

    .. math:: q(z \mid X) \propto \prod_{m=1}^M q(z \mid x_m)^{\alpha_m}, \qquad \sum_m \alpha_m = 1, \qquad
        \mathcal L = \mathbb E_{q(z \mid X)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{KL}\big(q(z \mid X) \,\Vert\, p(z)\big)

    Weights that sum to one keep the joint posterior as wide as a single expert's: agreement between views moves its
    mean, but does not add up to more certainty. Where views are missing, those present share the whole weight.

    **Choose it** when some views are far less reliable than their own posteriors claim, and to read from ``weights_``
    which view drives which dimension. The paper uses it for normative modelling.

    **What goes wrong:** Since weights sum to one, several views that agree are no surer than one, and the posterior of
    a sample with many views is wider than it need be: log-likelihoods and predictions suffer where each view adds
    something. Weights are the same for all samples, and say nothing of a view that is unreliable in some of them only.
    They are read per dimension, and dimensions are defined up to rotation alone.

    Parameters
    ----------
    beta : float, default 1.0
        Weight of the divergence.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    weights_ : ndarray
        The weights α, (M, Z): positive, each column summing to one.

    References
    ----------
    A. Lawry Aguila, J. Chapman, A. Altmann, "Multi-modal variational autoencoders for normative modelling across
    multiple imaging modalities", MICCAI 2023. https://arxiv.org/abs/2303.12706

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.WeightedMVAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> model.fit(train).weights_.shape  # of each view in each dimension
    (2, 2)
    >>> model.weights_.sum(axis=0).round(4)
    array([1., 1.], dtype=float32)
    >>> model.transform(test, given="view_0").shape
    (100, 2)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    """

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return GeneralisedPoE(len(view_names), self.z_dim)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        q = network.fusion(network.experts(batch), batch.present)
        z = q.rsample((1,))
        return elbo(network.reconstruction(z, batch), network.latent.kl(q).unsqueeze(0), beta=beta)

    @property
    def weights_(self) -> np.ndarray:
        fusion = cast(GeneralisedPoE, self.fitted_network().fusion)
        return fusion.weights.detach().numpy()
