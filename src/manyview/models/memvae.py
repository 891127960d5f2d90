"""Multimodal variational autoencoder with an evidence lower bound for each view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from manyview.data.batch import Batch
from manyview.fusion import Fusion, PoE, subset_products
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["MEMVAE"]


@final
class MEMVAE(GaussianVariational):
    r"""MVAE with a bound for all views together and one for each view alone (me_mVAE, "multi-ELBO").

    .. math:: \mathcal L = \mathrm{ELBO}(X) + \sum_{m=1}^M \mathrm{ELBO}(x_m)

    .. math:: \mathrm{ELBO}(X_s) = \mathbb E_{q_s(z)} \Big[ \sum_{m \in s} \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{KL}(q_s \Vert p), \qquad q_s(z) \propto p(z) \prod_{m \in s} q(z \mid x_m)

    The single-view bounds train each encoder to be of use alone. The paper adds bounds of k random subsets; later work
    leaves them out, and so does this class. A missing view has no bound of its own, and is left out of the joint one.

    **Choose it** rather than :class:`~manyview.models.MVAE` when views will be missing, or are to be generated from
    each other. Its objective is a sum of M + 1 bounds, not a bound itself: compare models by ``score_samples``.

    **What goes wrong:** The single-view bounds ask each posterior to be right about its own view, not about the others,
    so that prediction from one view gains less than from models that reconstruct across views; with weak views the sum
    can hold the joint bound back. Views of many features outweigh the rest M + 1 bounds over: set
    ``likelihood_weight=`` where reconstructions of a small view stay poor.

    Parameters
    ----------
    beta : float, default 1.0
        Weight of the divergences.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    M. Wu, N. D. Goodman, "Multimodal generative models for scalable weakly-supervised learning", NeurIPS 2018, eq. 4.
    https://arxiv.org/abs/1802.05335

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> holes = mv.datasets.remove(train, 0.3, random_state=0)  # views missing at random
    >>> model = mv.MEMVAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(holes)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> model.impute(holes)["view_1"].shape
    (200, 8)
    """

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return PoE(prior_expert=not self.sparse)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        experts = network.experts(batch)
        joint = torch.ones(1, len(batch.x), dtype=torch.bool, device=experts.mean.device)
        members = torch.cat([joint, torch.eye(len(batch.x), dtype=torch.bool, device=joint.device)])
        # The product of an absent view with the prior is the prior, whose bound is zero: it needs no mask.
        q = subset_products(experts, members, batch.present, prior_expert=not self.sparse)
        own = [(0, 1 + m) for m in range(len(batch.x))]  # each view has a part in the joint bound and in its own
        return elbo(network.reconstruction(q.rsample(), batch, sources=own), network.latent.kl(q), beta=beta)
