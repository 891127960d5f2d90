"""The tensors that learn: an encoder, a decoder and a likelihood for each view, the latent and the fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from manyview.adversary import Adversary
from manyview.data.batch import Batch
from manyview.fusion import AlignedFusion, Fusion, scaled_rows
from manyview.latent import Latent, LocationScale, map_parameters
from manyview.likelihoods import Likelihood
from manyview.nn import JointEncoder, with_covariates

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
        One a view: (B, \*shape_m) to (B, W), with W the widths of the latent and of the private one together.
    decoders : sequence of Module
        One a view: (rows, Z + H) to (rows, \*shape_m).
    likelihoods : sequence of Likelihood
        One a view, built for its shape.
    log_scales : sequence of Tensor
        The logarithm of what each feature was divided by, (\*shape_m): the Jacobian of the standardisation.
    weights : sequence of float, optional
        The weight of each view's likelihood in the objective; 1 when not given.
    joint_encoder : JointEncoder, optional
        The encoder of all the views together: to (B, W), with W the width of the latent.
    adversary : Adversary, optional
        What tells codes from draws of the prior.
    conditional : pair of bool, default (False, False)
        Whether encoders, and decoders, get the covariates beside their input: see
        :func:`manyview.nn.with_covariates`.
    """

    def __init__(
        self,
        latent: Latent,
        fusion: Fusion,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        likelihoods: Sequence[Likelihood],
        log_scales: Sequence[Tensor],
        *,
        weights: Sequence[float] | None = None,
        joint_encoder: JointEncoder | None = None,
        adversary: Adversary | None = None,
        conditional: tuple[bool, bool] = (False, False),
    ) -> None:
        super().__init__()
        self.latent = latent
        self.fusion = fusion
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.likelihoods = nn.ModuleList(likelihoods)
        self.joint_encoder = joint_encoder
        self.adversary = adversary
        self.encoders_see_covariates, self.decoders_see_covariates = conditional
        for m, log_scale in enumerate(log_scales):
            self.register_buffer(f"log_scale_{m}", log_scale, persistent=False)
        weighted = weights is not None and any(weight != 1 for weight in weights)
        self.register_buffer("weights", torch.tensor(weights).unsqueeze(1) if weighted else None, persistent=False)

    weights: Tensor | None

    passes: Callable[[], AbstractContextManager[Any]] = nullcontext
    """A context to run encoders and decoders in: lower precision is for these alone. Densities, products of experts and
    sums over features lose too many digits in half precision."""

    def likelihood(self, m: int) -> Likelihood:
        """What the output of view m's decoder means."""
        return cast(Likelihood, self.likelihoods[m])

    # ---- from views to latents ----------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> tuple[Independent[Any], Independent[Any] | None]:
        """The posteriors q(z | x_m), batch shape (M, B), and q(h_m | x_m) alike, None without private latents.

        Those of absent views mean nothing. A joint encoder's q(z | X) comes last among the first.
        """
        x, c = batch.x, batch.covariates
        if self.encoders_see_covariates and c is not None:
            x = tuple(with_covariates(part, c) for part in x)
        numbers, joint = [self._run(encoder, part) for encoder, part in zip(self.encoders, x, strict=False)], []
        if self.joint_encoder is not None:
            joint = [self._run(self.joint_encoder, x, batch.present)]
        private = self.latent.private
        if private is None:
            return self.latent(torch.stack([*numbers, *joint])), None
        both = torch.stack(numbers)
        z, h = both.split([self.latent.width, private.width], dim=-1)
        return self.latent(torch.cat([z, *(part.unsqueeze(0) for part in joint)])), private(h)

    def experts(self, batch: Batch) -> Independent[Any]:
        """The posteriors q(z | x_m) of all the views, batch shape (M, B); those of absent views mean nothing."""
        return self.encode(batch)[0]

    def posterior(self, batch: Batch) -> Distribution:
        """The joint posterior q(z | X) of the views that are present, batch shape (B,)."""
        return self.infer(batch)[0]

    def infer(self, batch: Batch) -> tuple[Distribution, Independent[Any] | None]:
        """What is known of the latents once training is over.

        Returns
        -------
        q : Distribution
            q(z | X) of the views that are present, batch shape (B,), event shape (Z,).
        q_h : Independent or None
            q(h_m | x_m), batch shape (M, B), event shape (H,): the prior for views that are absent.
        """
        experts, q_h = self.encode(batch)
        q = cast(Distribution, self.fusion(self.latent.prune(experts), batch.present))
        if batch.present is None:
            return q, q_h
        if isinstance(self.latent, LocationScale) and self.latent.r_prior is not None:
            q = scaled_rows(q, ~batch.present.any(1), self.latent.prior_scale)
        return q, None if q_h is None else self.only(q_h, batch.present.T)

    def only(self, q_h: Independent[Any], present: Bool[Tensor, "M #B"]) -> Independent[Any]:
        """The posteriors of the private latents of some views; the prior for the others."""
        mask, prior = present.unsqueeze(-1), self.private_latent.prior.base_dist
        return map_parameters(q_h, lambda name, value: value.where(mask, getattr(prior, name)))

    @property
    def private_latent(self) -> Latent:
        """The latent that each view has to itself."""
        if self.latent.private is None:
            raise ValueError("this model has no private latents")
        return self.latent.private

    def _run(self, module: nn.Module, *arguments: Any) -> Tensor:
        """The output of an encoder or decoder, in single precision at least."""
        with self.passes():
            out: Tensor = module(*arguments)
        return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out

    # ---- from latents to views ----------------------------------------------------------------------------------

    def decode(
        self,
        z: Float[Tensor, "*L B Z"],
        m: int,
        h: Float[Tensor, "*L B H"] | None = None,
        covariates: Float[Tensor, "B C"] | None = None,
    ) -> Float[Tensor, "*L B ..."]:
        """The output η of view m's decoder, run once over all rows of z, and of h_m where there are private latents."""
        code = self.fusion.unalign(z, m) if isinstance(self.fusion, AlignedFusion) else z
        return self._decode(code, m, h, covariates)

    def regress(self, z: Float[Tensor, "S B Z"], m: int) -> Float[Tensor, "S B Z"]:
        """What to decode view m from, given the means of a posterior's components: E[z_m | z_s] of aligned codes."""
        return self.fusion.regress(z, m) if isinstance(self.fusion, AlignedFusion) else z

    def _decode(self, z: Tensor, m: int, h: Tensor | None, covariates: Tensor | None) -> Tensor:
        parts = [z] if h is None else [z, h]
        if self.decoders_see_covariates and covariates is not None:
            parts.append(covariates.expand(*z.shape[:-1], -1))
        code = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        eta = self._run(self.decoders[m], code.reshape(-1, code.shape[-1]))
        return eta.view(*z.shape[:-1], *eta.shape[1:])

    def log_lik(
        self,
        z: Float[Tensor, "*S B Z"],
        batch: Batch,
        h: Float[Tensor, "*S M B H"] | None = None,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> Float[Tensor, "*S M B"]:
        """The log-likelihoods log p(x_m | z, h_m), in nats, as densities of the data as given; 0 for absent views.

        Given the `sources` of each view, positions along the first axis of z, the view is decoded from these alone,
        and its log-likelihoods from others are 0.
        """
        rows = []
        for m in range(len(self.decoders)):
            code, h_m = z, None if h is None else h[..., m, :, :]
            if sources is None:
                rows.append(self._log_density(self.decode(code, m, h_m, batch.covariates), batch, m))
                continue
            here = torch.tensor(sources[m], device=z.device)
            eta = self.decode(code[here], m, None if h_m is None else h_m[here], batch.covariates)
            row = self._log_density(eta, batch, m)
            rows.append(row.new_zeros(z.shape[:-1]).index_copy(0, here, row))
        matrix = torch.stack(rows, dim=-2)
        return matrix if batch.present is None else matrix * batch.present.T

    def reconstruction(
        self,
        z: Float[Tensor, "*S B Z"],
        batch: Batch,
        h: Float[Tensor, "*S M B H"] | None = None,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> Float[Tensor, "*S M B"]:
        """The reconstruction matrix L: log-likelihoods times the weights of their views, for objectives."""
        log_lik = self.log_lik(z, batch, h, sources)
        return log_lik if self.weights is None else log_lik * self.weights

    def self_reconstruction(self, z: Float[Tensor, "M B Z"], batch: Batch) -> Float[Tensor, "M B"]:
        """Log-likelihoods of each view given its own code, as its encoder made it: not aligned. Weighted as L is."""
        etas = [self._decode(code, m, None, batch.covariates) for m, code in enumerate(z)]
        log_lik = torch.stack([self._log_density(eta, batch, m) for m, eta in enumerate(etas)])
        log_lik = log_lik if batch.present is None else log_lik * batch.present.T
        return log_lik if self.weights is None else log_lik * self.weights

    def _log_density(self, eta: Tensor, batch: Batch, m: int) -> Tensor:
        """The log-likelihood of view m, in the units of the data, given its decoder's output."""
        likelihood = self.likelihood(m)
        observed = batch.observed[m]
        log_density = likelihood.log_prob(eta, batch.x[m], observed)
        if not (likelihood.continuous and likelihood.normalised):
            return log_density
        log_scale = cast(Tensor, getattr(self, f"log_scale_{m}"))
        if observed is None:
            return log_density - log_scale.sum()
        return log_density - (log_scale * observed).flatten(1).sum(1)

    # ---- what holds codes to the prior --------------------------------------------------------------------------

    def adversarial(
        self, codes: Float[Tensor, "S B Z"], present: Bool[Tensor, "B S"] | None = None
    ) -> Float[Tensor, " B"]:
        """What the adversary maximises, given codes, which it does not change, and as many draws of the prior."""
        prior = self.latent.prior.sample(codes.shape[:2])
        return self.adversary_.objective(codes.detach(), prior, present)

    @property
    def adversary_(self) -> Adversary:
        """The adversary of a model that has one."""
        if self.adversary is None:
            raise ValueError("this model has no adversary")
        return self.adversary
