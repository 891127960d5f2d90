"""Multi-view total correlation autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

from annotated_types import Ge, Le
from torch.distributions import kl_divergence

from manyview.data.batch import Batch
from manyview.fusion import Fusion, PoE
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["MVTCAE"]


@final
class MVTCAE(GaussianVariational):
    r"""Multi-view total correlation autoencoder: MVAE whose single-view posteriors are held to the joint one.

    .. math:: p(X, z) = p(z) \prod_{m=1}^M p(x_m \mid z), \qquad q(z \mid X) \propto \prod_{m=1}^M q(z \mid x_m)

    .. math:: \mathcal L = \frac{M - \alpha}{M} \, \mathbb E_{q(z \mid X)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta \Big[ (1 - \alpha)\, \mathrm{KL}\big(q(z \mid X) \,\Vert\, p(z)\big)
        + \frac{\alpha}{M} \sum_{m=1}^M \mathrm{KL}\big(q(z \mid X) \,\Vert\, q(z \mid x_m)\big) \Big]

    The prior is not an expert of the product. With β = 1 the objective is a mixture of bounds,

    .. math:: \mathcal L = (1 - \alpha)\, \mathrm{ELBO}(X) + \frac{\alpha}{M} \sum_{m=1}^M \Big(
        \mathbb E_{q(z \mid X)} \Big[ \sum_{n \ne m} \log p(x_n \mid z) \Big]
        - \mathrm{KL}\big(q(z \mid X) \,\Vert\, q(z \mid x_m)\big) \Big),

    whose last term bounds the log-likelihood of the other views given view m, with :math:`q(z \mid x_m)` in the prior's
    place: each view's posterior learns to cover what all the views together say. With a single view it is
    (1 - α) times the plain bound. Where views are missing, M, the product and the sums are those of the views that are
    present: what remains is the objective of these views.

    **Choose it** for a joint representation that stays good when views are missing or are to be generated from one
    another: evidence adds up as in :class:`~manyview.models.MVAE`, and each view can stand in for the others, at no
    more cost. Choose another model to draw new samples if α is near 1. The objective is no bound of log p(X) unless α =
    0: compare models by ``score_samples``.

    **What goes wrong:** With α near 1 little holds the joint posterior to the prior: codes drift away from it, samples
    drawn from the prior look unlike the data, and ``score_samples`` needs many draws. Single-view posteriors are fitted
    to cover the joint one and so are wide, which is right, and blurs expected values. Views with many features dominate
    the reconstruction term; ``likelihood_weight=`` evens that out.

    Parameters
    ----------
    alpha : float, default 5/6
        How far the single-view posteriors, rather than the prior, regularise the joint one, in [0, 1]. With 0 it is
        MVAE without the prior as an expert; with 1 the prior is left out. The default is the paper's, for five views.
    beta : float, default 1.0
        Weight of the divergences; the paper takes 2.5.
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
    H. Hwang, G.-H. Kim, S. Hong, K.-E. Kim, "Multi-view representation learning via total correlation objective",
    NeurIPS 2021. https://proceedings.neurips.cc/paper/2021/hash/65a99bb7a3115fdede20da98b08a370f-Abstract.html

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MVTCAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")  # view 1 from view 0
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> holes = mv.datasets.remove(test, 0.3, random_state=0)
    >>> filled = model.impute(holes)
    >>> filled["view_1"].shape
    (100, 8)
    """

    alpha: Annotated[float, Ge(0), Le(1)] = 5 / 6

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return PoE(prior_expert=False)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        experts = network.experts(batch)
        q = network.fusion(experts, batch.present)
        present = batch.mask.T.to(experts.mean.dtype)
        share = self.alpha / present.sum(0).clamp(min=1)
        kl = (1 - self.alpha) * network.latent.kl(q)
        cvib = share * (present * kl_divergence(q, experts)).sum(0)
        log_lik = network.reconstruction(q.rsample((1,)), batch)
        return elbo(log_lik, (kl + cvib).unsqueeze(0), beta=beta, weights=(1 - share).view(1, 1, -1))
