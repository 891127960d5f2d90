"""What adversarial autoencoders share: codes without noise, held to the prior by an adversary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.estimator import LikelihoodSpec
from manyview.fusion import Fusion, MoE
from manyview.latent import Latent, MatchedPoint
from manyview.models.weighed import Weighed
from manyview.network import Network
from manyview.nn import NetworkSpec
from manyview.objectives import Scalar, Terms, cross_reconstruction

__all__ = ["Adversarial"]


class Adversarial(Weighed):
    r"""An autoencoder whose codes, over the samples, are to be distributed as the prior.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean.
    beta : float, default 1.0
        Weight of the encoders' part in the game against the adversary.
    beta_warmup : int, default 0
        Epochs over which that weight grows linearly from 0.
    discriminator : str, dict, Module or callable, default "mlp"
        The adversary's network, from (rows, Z) to (rows, 1): specified as encoders are.
    discriminator_learning_rate : float, optional
        Step size of the adversary's optimiser; ``learning_rate`` when not given.
    optimizer : str, default "RMSprop"
        The optimiser of both sides. It has no momentum, which players of a game overshoot with.
    """

    has_likelihood = False

    likelihood: LikelihoodSpec = "mse"
    optimizer: str | Mapping[str, Any] = "RMSprop"
    discriminator: NetworkSpec = "mlp"
    discriminator_learning_rate: Annotated[float, Gt(0)] | None = None

    def latent(self) -> Latent:
        """Codes without noise, and a standard normal prior."""
        return MatchedPoint(self.z_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        """Each view keeps its code."""
        return MoE()

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        """Reconstruction of every view from every code, and how well the codes pass for draws of the prior."""
        return self._terms(network, batch, beta, n_draws=len(batch.x))

    def _terms(self, network: Network, batch: Batch, beta: Scalar, n_draws: int) -> Terms:
        z, adversary = network.experts(batch).mean, network.adversary_
        terms = cross_reconstruction(network.reconstruction(z, batch), batch.present)
        prior = network.latent.prior.sample(torch.Size((n_draws, len(batch))))
        # What draws of the prior score is no matter of the encoders, but a score has a meaning only as a difference.
        generator = adversary.generator(z, batch.present) - adversary.generator(prior)
        return Terms(terms.value + beta * generator, {**terms.parts, "generator": generator})

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The objective of each sample, against so many draws of the prior."""
        return self._terms(network, batch, self.beta, n_samples).value
