"""Mixture-of-products-of-experts variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, final

import torch
from torch.distributions import Independent, MixtureSameFamily

from manyview.data.batch import Batch
from manyview.fusion import Fusion, MoPoE
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["MoPoEVAE"]


@final
class MoPoEVAE(GaussianVariational):
    r"""Mixture-of-products-of-experts variational autoencoder: every subset of the views must explain them all.

    .. math:: p(X, z) = p(z) \prod_{m=1}^M p(x_m \mid z), \qquad q_s(z) \propto \prod_{m \in s} q(z \mid x_m), \qquad
        q(z \mid X) = \frac1N \sum_s q_s(z)

    .. math:: \mathcal L = \frac1N \sum_s \Big( \mathbb E_{q_s(z)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{KL}(q_s \Vert p) \Big)

    over the N = 2^M - 1 subsets s of the views that are not empty. The divergence of the mixture itself has no closed
    form; as in the paper, the mean of the divergences stands for it, which is never smaller: for β = 1 the objective is
    a bound of log p(X), at most log N below that of the mixture. Where views are missing, the subsets are those whose
    views are all present, N is their number, and m runs over the views present.

    The prior is no expert of any product. (The authors' code has it in that of all views, which the paper does not.)
    After training, :math:`q(z \mid X)` is the mixture over the subsets of the views given: ``transform`` returns its
    mean, ``predict`` the mean of what its components predict.

    **Choose it** when any subset of the views may be all that is known: the posterior of each is trained, and products
    let evidence from several views add up, which in :class:`~manyview.models.MMVAE` it does not. For complete data
    :class:`~manyview.models.MVAE` reconstructs better; for many views :class:`~manyview.models.MVTCAE` costs less, as
    time and memory for the posterior grow with 2^M here: up to ten views or so.

    **What goes wrong:** The mixture counts subsets of one view as much as that of all, so that the joint reconstruction
    is held back by the poorest subset, and ``predict`` averages what subsets disagree on: images of several views come
    out blurred. Sub-sampling of views puts a ceiling on the bound that no network can lift (Daunhawer et al., 2022).
    Beyond ten views the 2^M - 1 subsets take too long.

    Parameters
    ----------
    subsets : {"drawn", "all"}, default "drawn"
        Of which subsets the reconstructions are taken in a training step. "drawn" is, as in the paper, one subset for
        each sample, drawn anew and uniformly each time, so that decoders run once; "all" runs them 2^M - 1 times.
        The objectives are equal in expectation, and the gradient of "all" is less noisy: it gets further in as many
        epochs, though seldom in as much time. Divergences, in closed form, are those of all subsets in both cases.
    beta : float, default 1.0
        Weight of the divergences; the paper takes 2.5 for five views.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    sparse : bool, default False
        Whether dimensions are switched off by variational dropout, as in :class:`~manyview.models.MCVAE`.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off; used when sparse.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    dropout_rate_ : ndarray
        The dropout rate of each latent dimension, (Z,); when sparse.
    kept_dimensions_ : ndarray
        The indices of the dimensions that are on; when sparse.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021.
    https://arxiv.org/abs/2105.02470

    I. Daunhawer, T. M. Sutter, K. Chin-Cheong, E. Palumbo, J. E. Vogt, "On the limitations of multimodal VAEs", ICLR
    2022. https://arxiv.org/abs/2110.04121

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8, 6), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MoPoEVAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> for given in ["view_0"], ["view_0", "view_2"]:  # any subset of the views
    ...     found = mv.metrics.reconstruction_error(model, test, given=given, target="view_1")
    ...     print(bool(found.by_view["r2"].item() > 0.3))
    True
    True
    >>> model.transform(test, given=["view_1", "view_2"]).shape
    (100, 2)
    """

    subsets: Literal["drawn", "all"] = "drawn"

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return MoPoE(len(view_names))

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        q = cast(MixtureSameFamily, network.fusion(network.experts(batch), batch.present))
        pi, products = q.mixture_distribution.probs, cast("Independent[Any]", q.component_distribution)
        z, kl = products.rsample().movedim(1, 0), (pi * network.latent.kl(products)).T
        if self.subsets == "all":
            return elbo(network.reconstruction(z, batch), kl, beta=beta, weights=pi.T.unsqueeze(1))
        rows = torch.arange(len(batch), device=z.device)
        z = z[q.mixture_distribution.sample(), rows].unsqueeze(0)
        return elbo(network.reconstruction(z, batch), kl.sum(0, keepdim=True), beta=beta)
