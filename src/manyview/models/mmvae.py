"""Mixture-of-experts variational autoencoder."""

from __future__ import annotations

from typing import Annotated, Literal, final

from annotated_types import Gt
from torch import Tensor

from manyview.data.batch import Batch
from manyview.fusion import Fusion, MoE
from manyview.latent import Gaussian, Laplacian, Latent
from manyview.models.variational import Variational
from manyview.network import Network
from manyview.objectives import Terms, mixture_iwae

__all__ = ["MMVAE"]


@final
class MMVAE(Variational):
    r"""Mixture-of-experts variational autoencoder: every view's posterior, alone, must explain all the views.

    .. math:: q(z \mid X) = \frac1M \sum_{m=1}^M q(z \mid x_m), \qquad
        \mathcal L = \frac1M \sum_{m=1}^M \mathbb E_{z^{1:K} \sim q(z \mid x_m)} \Big[ \log \frac1K \sum_{k=1}^K
        \frac{p(z^k) \prod_n p(x_n \mid z^k)}{q(z^k \mid X)} \Big]

    A bound of log p(X) for every K, and rising with K. With missing views, the mixture, the mean over m and the
    product over n are of the views that are present.

    Choose it to generate views from one another: coherence is its strength. What only one view knows cannot be
    reconstructed from the others' codes, so images come out blurred, and several views given tell it no more than
    one of them at random does.

    Parameters
    ----------
    n_importance_samples : int, default 10
        Number of samples K of the importance-weighted bound; 1 gives the mixture's evidence lower bound. Time and
        memory of a training step grow with M² K.
    gradient : {"iwae", "dreg"}, default "iwae"
        The estimator of the gradient: plain, or doubly reparametrised, which is less noisy when K is large.
    posterior : {"laplace", "normal"}, default "laplace"
        The family of the posteriors and the prior; the paper's is Laplace.
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

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=200, n_features=(10, 8), n_shared=2, random_state=0)
    >>> model = mv.MMVAE(z_dim=2, n_importance_samples=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> model.predict(views, given=["view_1"], target=["view_0"])["view_0"].shape
    (200, 10)
    """

    n_importance_samples: Annotated[int, Gt(0)] = 10
    gradient: Literal["iwae", "dreg"] = "iwae"
    posterior: Literal["laplace", "normal"] = "laplace"

    def latent(self) -> Latent:
        return {"laplace": Laplacian, "normal": Gaussian}[self.posterior](self.z_dim)

    def fusion(self, n_views: int) -> Fusion:
        return MoE()

    def objective(self, network: Network, batch: Batch, beta: float) -> Terms:
        p = network.latent.prior
        parts: dict[str, Tensor] = {}
        weights = batch.x[0].new_ones(len(batch.x), 1) if batch.present is None else batch.present.T

        def log_joint(z: Tensor) -> Tensor:
            log_lik = network.log_lik(z, batch)  # of view n, from expert m: (K, m, n, B)
            by_view = log_lik.mean(0) * weights.unsqueeze(1)
            parts["log_lik"] = by_view.sum(0) / weights.sum(0).clamp(min=1)
            log_prior: Tensor = p.log_prob(z)
            return log_lik.sum(-2) + beta * log_prior

        bound = mixture_iwae(
            network.experts(batch),
            log_joint,
            self.n_importance_samples,
            present=batch.present,
            beta=beta,
            doubly_reparametrised=self.gradient == "dreg",
        )
        return Terms(bound, parts)
