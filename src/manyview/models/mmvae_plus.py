"""Mixture-of-experts variational autoencoder with shared and private latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast, final

import numpy as np
from annotated_types import Ge

from manyview.fusion import AuxiliaryMoE, Fusion, MoE
from manyview.latent import Latent, LocationScale
from manyview.models.mixture import MixtureVariational

__all__ = ["MMVAEPlus"]


@final
class MMVAEPlus(MixtureVariational):
    r"""MMVAE with private latents, for what only one view knows (MMVAE+).

    .. math:: p(X, z, h) = p(z) \prod_{m=1}^M p(h_m)\, p(x_m \mid z, h_m), \qquad
        q(z \mid X) = \frac1M \sum_{m=1}^M q(z \mid x_m)

    .. math:: \mathcal L = \frac1M \sum_{m=1}^M \mathbb E \Big[ \log \frac1K \sum_{k=1}^K w_m \Big], \qquad
        \log w_m = \log p(x_m \mid z, h_m) + \sum_{n \ne m} \log p(x_n \mid z, \tilde h_n)
        + \beta \log \frac{p(z)\, p(h_m)}{q(z \mid X)\, q(h_m \mid x_m)}

    with K draws of :math:`z \sim q(z \mid x_m)`, :math:`h_m \sim q(h_m \mid x_m)` and, for every other view n,
    :math:`\tilde h_n \sim r_n`: an auxiliary prior with a learned scale, since what x_m says of x_n must pass through z
    alone. The paper's print has :math:`\log \mathbb E_{r_n}[p(x_n \mid z, \tilde h_n)]` for the second term; as in
    the authors' code, one draw of each :math:`\tilde h_n` for each z stands for the expectation.

    A bound of log p(X) for every K, if the :math:`r_n` are the prior. Learned ones give the other views a private
    prior of their own, for which there is no such promise: compare models by ``score_samples``. Training draws from
    :math:`r_n` alone; after it, as in the paper, the private latent of a view that is not given has the prior
    :math:`p(h_n)`. With missing views, the mixture, the mean over m and the sums over n are of the views that are
    present.

    **Choose it** rather than :class:`~manyview.models.MMVAE` when views hold much that is theirs alone, such as the
    style of an image. Give z no more dimensions than are shared: spare ones hold what is private to one view, since its
    own decoder gains by that and the others can ignore it. Choose a product of experts when evidence from several views
    should add up.

    **What goes wrong:** With a z that is larger than what is shared, z holds private factors and predictions repeat the
    given view's style; with h larger than need be and auxiliary priors that shrink, what is shared hides there. Samples
    drawn with h from the prior may then differ from those of training, which drew from :math:`r_n`. Compare coherence
    with and without the view, and :func:`~manyview.metrics.separation` where factors are known.

    Parameters
    ----------
    h_dim : int, default 10
        Number of dimensions H of each view's private latent: as many as the shared one has by default, as in the
        paper's PolyMNIST experiments (32 and 32). With 0 this is :class:`~manyview.models.MMVAE`.
    n_importance_samples : int, default 10
        Number of samples K of the importance-weighted bound. The paper takes 1 for PolyMNIST, and 10 for images with
        captions. Time and memory of a training step grow with M² K.
    gradient : {"iwae", "dreg"}, default "iwae"
        The estimator of the gradient: plain, or doubly reparametrised in z and h_m, which is less noisy when K is
        large; the paper takes "dreg" for images with captions.
    posterior : {"laplace", "normal"}, default "laplace"
        The family of the posteriors and of all priors; the paper takes "normal" for images with captions.
    scale_transform : {"exp", "softplus", "softmax"}, default "exp"
        How scales are made of the encoders' outputs, and of the numbers that the auxiliary priors learn. The paper
        takes "softmax" with "laplace": the scales average 1, over z and over each h_m, and those of :math:`r_n` can
        only trade one dimension against another. Under the others they are free, and shrink while a decoder gains by
        knowing what to expect. See :class:`~manyview.latent.LocationScale`.
    learn_prior : bool, default False
        Whether the scale of p(z) in each dimension is learned.
    beta : float, default 1.0
        Weight of the logarithm of the ratio in the importance weights; the paper takes 2.5 for PolyMNIST.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    auxiliary_scales_ : ndarray
        The scales of the auxiliary priors, (M, H); when ``h_dim`` is not 0.

    References
    ----------
    E. Palumbo, I. Daunhawer, J. E. Vogt, "MMVAE+: enhancing the generative quality of multimodal VAEs without
    compromises", ICLR 2023. https://openreview.net/forum?id=sdQGxouELX

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, n_private=1, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MMVAEPlus(z_dim=2, h_dim=1, n_importance_samples=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.2)
    True
    >>> h = model.transform_private(test)  # what each view has to itself
    >>> model.transform(test).shape, h["view_0"].shape
    ((100, 2), (100, 1))
    >>> model.auxiliary_scales_.shape
    (2, 1)
    """

    h_dim: Annotated[int, Ge(0)] = 10

    def latent(self) -> Latent:
        return self.mixture_latent(self.h_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        private = self.latent().private
        return MoE() if private is None else AuxiliaryMoE(len(view_names), cast(LocationScale, private))

    @property
    def auxiliary_scales_(self) -> np.ndarray:
        fusion = self.fitted_network().fusion
        if not isinstance(fusion, AuxiliaryMoE):
            raise AttributeError("auxiliary_scales_ belong to private latents: fit with h_dim > 0 to have them")
        scales: np.ndarray = fusion.auxiliary.base_dist.scale.detach().numpy()
        return scales
