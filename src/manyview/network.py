"""The tensors that learn: an encoder, a decoder and a likelihood for each view, the latent and the fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from manyview.data.batch import Batch
from manyview.fusion import Fusion
from manyview.latent import Latent
from manyview.likelihoods import Likelihood

__all__ = ["Network"]


@final
class Network(nn.Module):
    r"""Everything of a model that has parameters.

    Parameters
    ----------
    latent : Latent
        The prior and the family of the posteriors.
    fusion : Fusion
        How the views' posteriors become one.
    encoders : sequence of Module
        One a view: (B, \*shape_m) to (B, W), with W the latent's width.
    decoders : sequence of Module
        One a view: (rows, Z) to (rows, \*shape_m).
    likelihoods : sequence of Likelihood
        One a view, built for its shape.
    log_scales : sequence of Tensor
        The logarithm of what each feature was divided by, (\*shape_m): the Jacobian of the standardisation.
    """

    def __init__(
        self,
        latent: Latent,
        fusion: Fusion,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        likelihoods: Sequence[Likelihood],
        log_scales: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.latent = latent
        self.fusion = fusion
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.likelihoods = nn.ModuleList(likelihoods)
        for m, log_scale in enumerate(log_scales):
            self.register_buffer(f"log_scale_{m}", log_scale, persistent=False)

    def likelihood(self, m: int) -> Likelihood:
        """What the output of view m's decoder means."""
        return cast(Likelihood, self.likelihoods[m])

    def experts(self, batch: Batch) -> Independent[Any]:
        """The posteriors q(z | x_m) of all the views, batch shape (M, B); those of absent views mean nothing."""
        h = torch.stack([encoder(x) for encoder, x in zip(self.encoders, batch.x, strict=True)])
        return cast("Independent[Any]", self.latent(h))

    def posterior(self, batch: Batch) -> Distribution:
        """The joint posterior q(z | X) of the views that are present, batch shape (B,)."""
        return cast(Distribution, self.fusion(self.latent.prune(self.experts(batch)), batch.present))

    def decode(self, z: Float[Tensor, "*L B Z"], m: int) -> Float[Tensor, "*L B ..."]:
        """The output η of view m's decoder, run once over all rows of z."""
        eta: Tensor = self.decoders[m](z.reshape(-1, z.shape[-1]))
        return eta.view(*z.shape[:-1], *eta.shape[1:])

    def log_lik(self, z: Float[Tensor, "*S B Z"], batch: Batch) -> Float[Tensor, "*S M B"]:
        """The reconstruction matrix log p(x_m | z), in nats, as densities of the data as given; 0 for absent views."""
        matrix = torch.stack([self._log_lik_of_view(z, batch, m) for m in range(len(self.decoders))], dim=-2)
        return matrix if batch.present is None else matrix * batch.present.T

    def _log_lik_of_view(self, z: Tensor, batch: Batch, m: int) -> Tensor:
        likelihood = self.likelihood(m)
        observed = batch.observed[m]
        log_density = likelihood.log_prob(self.decode(z, m), batch.x[m], observed)
        if not (likelihood.continuous and likelihood.normalised):
            return log_density
        log_scale = cast(Tensor, getattr(self, f"log_scale_{m}"))
        if observed is None:
            return log_density - log_scale.sum()
        return log_density - (log_scale * observed).flatten(1).sum(1)
