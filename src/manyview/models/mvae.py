"""Multimodal variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from manyview.data.batch import Batch
from manyview.fusion import Fusion, PoE
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["MVAE"]


@final
class MVAE(GaussianVariational):
    r"""Multimodal variational autoencoder: one latent for all views, its posterior a product of experts.

    .. math:: p(X, z) = p(z) \prod_{m=1}^M p(x_m \mid z), \qquad q(z \mid X) \propto p(z) \prod_{m=1}^M q(z \mid x_m)

    .. math:: \mathcal L = \mathbb E_{q(z \mid X)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{KL}\big(q(z \mid X) \,\Vert\, p(z)\big)

    A missing view is left out of the product and of the sum: what remains is the bound for what was observed.

    **Choose it** for a joint representation of views that are mostly there. Its single-view posteriors are trained only
    through the product: when views are often absent at prediction, :class:`~manyview.models.MEMVAE` trains them too.

    **What goes wrong:** Single-view posteriors that were never trained alone are too narrow, and predictions from them
    poor and over-confident: give training data with holes (:func:`~manyview.datasets.remove`), or take
    :class:`~manyview.models.MEMVAE`. A view whose posterior claims to be very sure takes over the product; a view with
    many features takes over the objective (``likelihood_weight=``). With a β that is too large dimensions collapse to
    the prior.

    Parameters
    ----------
    beta : float, default 1.0
        Weight of the divergence; 1 gives the evidence lower bound.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0; the paper takes 200 of 500.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    M. Wu, N. D. Goodman, "Multimodal generative models for scalable weakly-supervised learning", NeurIPS 2018.
    https://arxiv.org/abs/1802.05335

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MVAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> both = model.transform(test, n_samples=50, random_state=0)
    >>> one = model.transform(test, given="view_0", n_samples=50, random_state=0)
    >>> bool(both.std(axis=0).mean() < one.std(axis=0).mean())  # two views say more than one
    True
    >>> model.sample(3)
    Views(n=3, view_0=(10,), view_1=(8,))
    >>> model.score_samples(test).shape
    (100,)
    """

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return PoE(prior_expert=not self.sparse)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        q = network.fusion(network.experts(batch), batch.present)
        z = q.rsample((1,))
        return elbo(network.reconstruction(z, batch), network.latent.kl(q).unsqueeze(0), beta=beta)
