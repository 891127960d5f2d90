"""Disentangled multimodal variational autoencoder with a generalised product of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast, final

import numpy as np
from annotated_types import Ge

from manyview.data.batch import Batch
from manyview.fusion import Fusion, GeneralisedPoE
from manyview.latent import Latent
from manyview.models.dmvae import cross_elbos
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms

__all__ = ["WeightedDMVAE"]


@final
class WeightedDMVAE(GaussianVariational):
    r"""DMVAE with a generalised product of experts: the weight of each view in each shared dimension is learned.

    .. math:: p(X, z, h) = p(z) \prod_{m=1}^M p(h_m)\, p(x_m \mid z, h_m), \qquad
        q(z \mid X) \propto \prod_{m=1}^M q(z \mid x_m)^{\alpha_m}, \qquad \sum_m \alpha_m = 1

    .. math:: \mathcal L = \sum_{s=0}^M \sum_{m=1}^M \Big( \lambda_m\,
        \mathbb E_{q_s(z)\, q(h_m \mid x_m)} \big[ \log p(x_m \mid z, h_m) \big]
        - \beta\, \mathrm{KL}\big(q_s(z) \,\Vert\, p(z)\big)
        - \beta\, \mathrm{KL}\big(q(h_m \mid x_m) \,\Vert\, p(h_m)\big) \Big)

    with the sources :math:`q_0 = q(z \mid X)` and :math:`q_s = q(z \mid x_s)`. The objective is that of
    :class:`~manyview.models.DMVAE`, which says how often each divergence enters, and why; there is no paper of
    this model. The joint posterior is that of :class:`~manyview.models.WeightedMVAE`: without the prior, and as wide
    as a single expert's. Where views are missing, those present share the whole weight, and the sums run over them; a
    view alone is its own joint posterior.

    **Choose it** rather than DMVAE when some views are far less reliable than their own posteriors claim, and to read
    from ``weights_`` which view drives which shared dimension. Choose DMVAE when evidence from several views should add
    up.

    **What goes wrong:** What goes wrong in :class:`~manyview.models.DMVAE` goes wrong here: sizes decide which factor
    is where. And the weighted product is no surer than one view, so that z gains little from several; in our comparison
    on six tables both classify worse from z alone than models with a joint latent. Weights belong to dimensions, which
    are defined up to rotation alone.

    Parameters
    ----------
    h_dim : int, default 1
        Dimensions of the private latent of each view; 0 for none. Choose it, and ``z_dim``, as for DMVAE.
    bounds : {"pairs", "sources"}, default "pairs"
        Whether each pair of a source and a view has a bound, or each source: see DMVAE.
    likelihood_weight : float, "dimension", or dict of these by view, default 1.0
        The weights λ of the views.
    beta : float, default 1.0
        Weight of the divergences.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    sparse : bool, default False
        Whether dimensions of z are switched off by variational dropout; private latents stay as they are.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off; used when sparse.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    weights_ : ndarray
        The weights α, (M, Z): positive, each column summing to one.

    References
    ----------
    A. Lawry Aguila, A. Jayme, N. Montaña-Brown, V. Heuveline, A. Altmann, "Multi-view-AE: a Python package for
    multi-view autoencoder models", Journal of Open Source Software 8(85), 5093, 2023.
    https://doi.org/10.21105/joss.05093

    M. Lee, V. Pavlovic, "Private-shared disentangled multimodal VAE for learning of latent representations", CVPR
    Workshops 2021. https://arxiv.org/abs/2012.13024

    A. Lawry Aguila, J. Chapman, A. Altmann, "Multi-modal variational autoencoders for normative modelling across
    multiple imaging modalities", MICCAI 2023. https://arxiv.org/abs/2303.12706

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, n_private=1, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.WeightedDMVAE(z_dim=2, h_dim=1, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> model.weights_.sum(axis=0).round(4)
    array([1., 1.], dtype=float32)
    >>> h = model.transform_private(test)  # what each view has to itself
    >>> model.transform(test).shape, h["view_0"].shape
    ((100, 2), (100, 1))
    """

    h_dim: Annotated[int, Ge(0)] = 1
    bounds: Literal["pairs", "sources"] = "pairs"

    def latent(self) -> Latent:
        return self.normal_latent(self.h_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return GeneralisedPoE(len(view_names), self.z_dim)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        return cross_elbos(network, batch, beta, self.bounds)

    @property
    def weights_(self) -> np.ndarray:
        fusion = cast(GeneralisedPoE, self.fitted_network().fusion)
        return fusion.weights.detach().numpy()
