"""Multimodal variational autoencoder with the Jensen-Shannon divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast, final

from annotated_types import Ge, Gt

from manyview.data.batch import Batch
from manyview.fusion import Fusion, WeightedMoE
from manyview.latent import Gaussian, Latent
from manyview.models.variational import Variational
from manyview.network import Network
from manyview.nn import per_view
from manyview.objectives import Scalar, Terms, elbo, jensen_shannon

__all__ = ["MMJSD"]

Weight = Annotated[float, Gt(0)]


@final
class MMJSD(Variational):
    r"""Multimodal variational autoencoder whose views' posteriors, and the prior, are held together among themselves.

    .. math:: q(z \mid X) = \sum_{m=1}^M \frac{\pi_m}{1 - \pi_{M+1}}\, q(z \mid x_m), \qquad
        \mathcal L = \mathbb E_{q(z \mid X)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{JS}_\pi\big( q(z \mid x_1), \dots, q(z \mid x_M), p(z) \big)

    .. math:: \mathrm{JS}_\pi = \sum_{m=1}^M \pi_m\, \mathrm{KL}\big(q(z \mid x_m) \,\Vert\, p_f(z \mid X)\big)
        + \pi_{M+1}\, \mathrm{KL}\big(p(z) \,\Vert\, p_f(z \mid X)\big)

    The *dynamic prior* :math:`p_f` is the weighted geometric mean
    :math:`p_f \propto p(z)^{\pi_{M+1}} \prod_m q(z \mid x_m)^{\pi_m}` of the M + 1 distributions ("poe"), for which all
    divergences are exact, or their arithmetic mean ("moe"), for which JS is the Jensen-Shannon divergence in the narrow
    sense, estimated with the draws of z. Both are never negative, and zero only if all M + 1 agree.

    JS takes the place of :math:`\mathrm{KL}(q(z \mid X) \Vert p(z))`, which it does not bound. By convexity the
    objective is a lower bound, for :math:`\beta \ge 1 / (1 - \pi_{M+1})`, of the evidence with the dynamic prior,
    :math:`\log \int p_f(z \mid X)\, p(X \mid z)\, dz`; but that is not :math:`\log p(X)`, which it may exceed: compare
    models by ``score_samples``. Nor does JS fix the scale of z: where posteriors are narrow it falls ("poe"), or hardly
    changes ("moe"), if all are stretched alike. Together they then spread wider than the prior, and samples drawn from
    it vary less than the data. With "moe", moreover, JS is at most the entropy of π, however narrow they are.

    The mixture is of the M views, as in the authors' code (later codes have decoded draws of the prior as well); every
    view's draw is decoded, rather than one drawn for each sample. With missing views, the mixture and the divergence
    are of those present and the prior, their weights scaled to sum to one. With ``h_dim``, each view also has a private
    latent h_m, inferred from the view and decoded with z from any; its divergence from its prior is subtracted with the
    same β.

    **Choose it** where each view's own posterior is to be of use and all are to agree, rather than to draw samples.
    Like all mixtures, it does not add up the evidence of several views.

    **What goes wrong:** The divergence does not fix the scale of z, so that samples of the prior may vary less than the
    data. The objective may rise while the model gets worse: judge by ``score_samples`` and by held-out predictions. As
    in all mixtures, more views given do not make z surer, and their expected values blur.

    Parameters
    ----------
    dynamic_prior : {"poe", "moe"}, default "poe"
        Which mean the dynamic prior is; the authors' experiments take the geometric one.
    pi : float or dict of these by view, default 1.0
        The weight of each view's posterior, in units of the prior's: π is these weights and 1, scaled to sum to one. By
        default all are the same, as in the authors' code.
    h_dim : int, default 0
        Number of dimensions of each view's private latent; 0 for none.
    beta : float, default 1.0
        Weight of the divergences; the authors take 2.5 or 5 for images.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`. The authors weigh likelihoods by
        dimension: ``likelihood_weight="dimension"``.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Multimodal generative learning utilizing Jensen-Shannon-divergence",
    NeurIPS 2020. https://arxiv.org/abs/2006.08242

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MMJSD(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> model.history_[["loss", "kl"]].shape  # kl is the Jensen-Shannon divergence
    (30, 2)
    >>> model.transform(test).shape
    (100, 2)
    """

    dynamic_prior: Literal["poe", "moe"] = "poe"
    pi: Weight | Mapping[str | int, Weight] = 1.0
    h_dim: Annotated[int, Ge(0)] = 0

    def latent(self) -> Latent:
        return Gaussian(self.z_dim, Gaussian(self.h_dim) if self.h_dim else None)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        of_views = per_view(self.pi, view_names, "pi", default=1.0, plain=True).values()
        pi = [*(float(cast(float, weight)) for weight in of_views), 1.0]
        return WeightedMoE([weight / sum(pi) for weight in pi])

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        q, q_h = network.encode(batch)
        pi = cast(WeightedMoE, network.fusion).over_present(batch.mask)
        z, h = q.rsample(), None
        divergence = jensen_shannon(q, network.latent.prior, pi, z=z if self.dynamic_prior == "moe" else None)
        if q_h is not None:
            divergence = divergence + network.private_latent.kl(network.only(q_h, batch.mask.T)).sum(0)
            h = q_h.rsample((len(z),))
        weights = pi[:-1] / pi[:-1].sum(0).clamp(min=1e-30)
        terms = elbo(network.reconstruction(z, batch, h), weights=weights.unsqueeze(1))
        return Terms(terms.value - beta * divergence, {**terms.parts, "kl": divergence})
