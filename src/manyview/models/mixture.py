"""What mixtures of experts share: the importance-weighted bound, with private latents or without."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.fusion import AuxiliaryMoE
from manyview.latent import Gaussian, Laplacian, Latent, map_parameters
from manyview.models.variational import Variational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, mixture_iwae

__all__ = ["MixtureVariational"]


class MixtureVariational(Variational):
    r"""A variational model in which every view's posterior, alone, must explain all the views.

    Parameters
    ----------
    n_importance_samples : int, default 10
        Number of samples K of the importance-weighted bound.
    gradient : {"iwae", "dreg"}, default "iwae"
        The estimator of the gradient, plain or doubly reparametrised: see
        :func:`~manyview.objectives.mixture_iwae`.
    posterior : {"laplace", "normal"}, default "laplace"
        The family of the posteriors and the priors.
    scale_transform : {"exp", "softplus", "softmax"}, default "exp"
        How scales are made of numbers: see :class:`~manyview.latent.LocationScale`.
    learn_prior : bool, default False
        Whether the scale of the prior p(z) in each dimension is learned.
    """

    n_importance_samples: Annotated[int, Gt(0)] = 10
    gradient: Literal["iwae", "dreg"] = "iwae"
    posterior: Literal["laplace", "normal"] = "laplace"
    scale_transform: Literal["exp", "softplus", "softmax"] = "exp"
    learn_prior: bool = False

    def mixture_latent(self, h_dim: int = 0) -> Latent:
        """The latent z, with private latents of ``h_dim`` dimensions if that is not 0."""
        family = Laplacian if self.posterior == "laplace" else Gaussian
        private = family(h_dim, scale=self.scale_transform) if h_dim else None
        return family(self.z_dim, private, scale=self.scale_transform, learn_prior=self.learn_prior)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        """The importance-weighted bound; private latents, where there are such, are drawn with z from each source."""
        k, doubly = self.n_importance_samples, self.gradient == "dreg"
        q, q_h = network.encode(batch)
        weights = batch.x[0].new_ones(len(batch.x), 1) if batch.present is None else batch.present.T
        parts: dict[str, Tensor] = {}

        def log_joint(z: Tensor) -> Tensor:
            log_ratio: Tensor = network.latent.prior.log_prob(z)
            own = h = None
            if q_h is not None:
                own = q_h.rsample(torch.Size((k,)))
                h = private_draws(network, own)
                density = map_parameters(q_h, lambda _, parameter: parameter.detach()) if doubly else q_h
                log_ratio = log_ratio + network.private_latent.prior.log_prob(own) - density.log_prob(own)
            log_lik = network.reconstruction(z, batch, h)  # of view n, from source m: (K, m, n, B)
            by_view = log_lik.mean(0) * weights.unsqueeze(1)
            parts["log_lik"] = by_view.sum(0) / weights.sum(0).clamp(min=1)
            log_p: Tensor = log_lik.sum(-2) + beta * log_ratio
            if doubly and own is not None and own.requires_grad:
                # As mixture_iwae does for z: the path through h_m stands in for the score of q(h_m | x_m).
                w = (log_p - beta * network.fusion(q, batch.present).log_prob(z)).softmax(0).detach()
                own.register_hook(lambda gradient: gradient * (1 - beta * (1 - w)).unsqueeze(-1))
            return log_p

        bound = mixture_iwae(q, log_joint, k, present=batch.present, beta=beta, doubly_reparametrised=doubly)
        return Terms(bound, parts)


def private_draws(network: Network, own: Float[Tensor, "K M B H"]) -> Float[Tensor, "K M M B H"]:
    """The private latents of all the views, from each source: its own as given, of the others from their r_n."""
    k, n_views, n_rows, _ = own.shape
    auxiliary = cast(AuxiliaryMoE, network.fusion).auxiliary
    others = auxiliary.rsample(torch.Size((k, n_views, n_rows))).movedim(-2, 2)
    is_own = torch.eye(n_views, dtype=torch.bool, device=own.device).view(n_views, n_views, 1, 1)
    return torch.where(is_own, own.unsqueeze(2), others)
