"""Mixture-of-experts variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from manyview.fusion import Fusion, MoE
from manyview.latent import Latent
from manyview.models.mixture import MixtureVariational

__all__ = ["MMVAE"]


@final
class MMVAE(MixtureVariational):
    r"""Mixture-of-experts variational autoencoder: every view's posterior, alone, must explain all the views.

    .. math:: q(z \mid X) = \frac1M \sum_{m=1}^M q(z \mid x_m), \qquad
        \mathcal L = \frac1M \sum_{m=1}^M \mathbb E_{z^{1:K} \sim q(z \mid x_m)} \Big[ \log \frac1K \sum_{k=1}^K
        \frac{p(z^k) \prod_n p(x_n \mid z^k)}{q(z^k \mid X)} \Big]

    A bound of log p(X) for every K, and rising with K. With missing views, the mixture, the mean over m and the
    product over n are of the views that are present.

    **Choose it** to generate views from one another: coherence is its strength. Several views given tell it no more
    than one of them at random does: choose :class:`~manyview.models.MoPoEVAE` when evidence should add up.

    **What goes wrong:** The mixture is trained by one view at a time, so that what a view has to itself is lost in the
    reconstruction of others, and generated images vary too little; sub-sampling of views puts a ceiling on the bound
    (Daunhawer et al., 2022). A view that predicts others well may end up as the only expert with narrow posteriors.
    With K large the gradient of the encoders gets noisy (``gradient="dreg"`` mends that), and time grows with M² K.

    Parameters
    ----------
    n_importance_samples : int, default 10
        Number of samples K of the importance-weighted bound; 1 gives the mixture's evidence lower bound. The paper
        takes 30 for MNIST with SVHN, and 50 for images with captions. Time and memory of a training step grow with
        M² K.
    gradient : {"iwae", "dreg"}, default "iwae"
        The estimator of the gradient: plain, or doubly reparametrised, which is less noisy when K is large. The paper
        takes "dreg", in a form that is biased for K > 1: see :func:`~manyview.objectives.mixture_iwae`.
    posterior : {"laplace", "normal"}, default "laplace"
        The family of the posteriors and the prior; the paper's is Laplace.
    scale_transform : {"exp", "softplus", "softmax"}, default "exp"
        How posterior scales are made of the encoders' outputs. The paper takes "softmax", under which a sample's scales
        average 1 over the dimensions, for images, and "softplus" for captions; see
        :class:`~manyview.latent.LocationScale`.
    learn_prior : bool, default False
        Whether the prior's scale in each dimension is learned; the paper does so.
    beta : float, default 1.0
        Weight of log p(z) - log q(z | X) in the importance weights.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393

    I. Daunhawer, T. M. Sutter, K. Chin-Cheong, E. Palumbo, J. E. Vogt, "On the limitations of multimodal VAEs", ICLR
    2022. https://arxiv.org/abs/2110.04121

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MMVAE(z_dim=2, n_importance_samples=4, gradient="dreg", max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")  # view 1 from view 0
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> drawn = model.predict(test, given="view_0", target="view_1", n_samples=5)
    >>> drawn["view_1"].shape
    (5, 100, 8)
    """

    def latent(self) -> Latent:
        return self.mixture_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return MoE()
