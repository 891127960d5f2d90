"""Disentangled multimodal variational autoencoder: latents that the views share, and latents of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final

import torch
from annotated_types import Ge

from manyview.data.batch import Batch
from manyview.fusion import Fusion, PoE
from manyview.latent import Latent, map_parameters
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["DMVAE", "cross_elbos"]


def cross_elbos(network: Network, batch: Batch, beta: Scalar, bounds: Literal["pairs", "sources"]) -> Terms:
    """Evidence lower bounds of all the sources of z, each of which is decoded to every view: see :class:`DMVAE`.

    The sources are the network's fusion of the views that are present, and each of their posteriors alone. Each
    source has draws of its own, of z and of the private latents.
    """
    experts, q_h = network.encode(batch)
    present = batch.mask.T
    joint = network.fusion(experts, batch.present)
    q = map_parameters(experts, lambda name, value: torch.cat([getattr(joint.base_dist, name).unsqueeze(0), value]))
    count = present.sum(0) if bounds == "pairs" else present.any(0)
    kl, h = count * network.latent.kl(q), None
    if q_h is not None:
        kl = kl + (present * network.private_latent.kl(q_h)).sum(0)
        h = q_h.rsample(q.batch_shape[:1])
    active = torch.cat([torch.ones_like(present[:1]), present])
    return elbo(network.reconstruction(q.rsample(), batch, h), kl, beta=beta, active=active)


@final
class DMVAE(GaussianVariational):
    r"""Disentangled multimodal variational autoencoder: a latent z that all views share, and one of each view's own.

    .. math:: p(X, z, h) = p(z) \prod_{m=1}^M p(h_m)\, p(x_m \mid z, h_m), \qquad
        q(z \mid X) \propto p(z) \prod_{m=1}^M q(z \mid x_m)

    Every view is decoded from its own :math:`h_m \sim q(h_m \mid x_m)` together with z from every source s: the joint
    posterior :math:`q_0 = q(z \mid X)`, and that of each view alone, :math:`q_s = q(z \mid x_s)`. As z must serve to
    decode the views it does not come from, it holds what they share.

    .. math:: \mathcal L = \sum_{s=0}^M \sum_{m=1}^M \Big( \lambda_m\,
        \mathbb E_{q_s(z)\, q(h_m \mid x_m)} \big[ \log p(x_m \mid z, h_m) \big]
        - \beta\, \mathrm{KL}\big(q_s(z) \,\Vert\, p(z)\big)
        - \beta\, \mathrm{KL}\big(q(h_m \mid x_m) \,\Vert\, p(h_m)\big) \Big)

    With λ = β = 1 each pair (s, m) is an evidence lower bound of :math:`\log p(x_m)`. So the divergence of each
    source's z enters M times, once for each view decoded from it, and that of each :math:`h_m` M + 1 times, once for
    each source; the authors' code counts the same. λ goes with the view that is decoded. Where views are missing, both
    sums run over those present. The prior is an expert of every :math:`q(z \mid X)`, also where X is a single view;
    the paper takes that view's posterior as it is.

    The count matters. What the views share costs as much in z as in a private latent of each, M (M + 1) times, so that
    z is sure to hold it only if private latents have no room for it: choose ``h_dim`` no larger than what each view has
    to itself. Nor should ``z_dim`` be larger than what they share, or private factors show in dimensions to spare. With
    ``bounds="sources"`` the divergence of each source's z enters once, so that each source has a bound of log p(X), and
    what is shared is cheaper in z than in the h_m: then ``h_dim`` may be larger than it need be.

    **Choose it** to separate what views share from what is theirs, and to generate views from each other: a view that
    is not given gets its private latent from the prior. Without private factors, :class:`~manyview.models.MEMVAE` is
    simpler. The objective is a sum of many bounds: compare models by ``score_samples``.

    **What goes wrong:** Shared factors move into the private latents when ``h_dim`` is too large, private ones into z
    when ``z_dim`` is (see above): check that ``predict`` from one view still knows the other, and that private latents
    of different views are not related. z alone classifies worse than the latents of a joint model, since what only one
    view knows is not in it; take ``transform_private`` too.

    Parameters
    ----------
    h_dim : int, default 1
        Dimensions of the private latent of each view; 0 for none. The paper has 1 for MNIST, 4 for SVHN.
    bounds : {"pairs", "sources"}, default "pairs"
        Whether each pair of a source and a view has a bound, as in the paper, or each source, as described above.
    likelihood_weight : float, "dimension", or dict of these by view, default 1.0
        The weights λ of the views. The paper weighs MNIST 50 times as much as SVHN.
    beta : float, default 1.0
        Weight of the divergences; the paper's is 1. (Its code can weigh the total correlation apart; this class
        cannot.)
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    sparse : bool, default False
        Whether dimensions of z are switched off by variational dropout, which takes the place of p(z) everywhere, and
        leaves no prior in the joint posterior; private latents stay as they are.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off; used when sparse.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    M. Lee, V. Pavlovic, "Private-shared disentangled multimodal VAE for learning of latent representations", CVPR
    Workshops 2021. https://arxiv.org/abs/2012.13024

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, n_private=1, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.DMVAE(z_dim=2, h_dim=1, max_epochs=60, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.2)
    True
    >>> h = model.transform_private(test)  # what each view has to itself
    >>> model.transform(test).shape, h["view_0"].shape
    ((100, 2), (100, 1))
    """

    h_dim: Annotated[int, Ge(0)] = 1
    bounds: Literal["pairs", "sources"] = "pairs"

    def latent(self) -> Latent:
        return self.normal_latent(self.h_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return PoE(prior_expert=not self.sparse)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        return cross_elbos(network, batch, beta, self.bounds)
