r"""What is done with a posterior after training: its components, draws from it, and the evidence."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily

from manyview.data.batch import Batch
from manyview.latent import map_parameters
from manyview.network import Network
from manyview.objectives import log_mean_exp

__all__ = ["components", "draw", "log_evidence"]

# Numbers that one decoder call may return, so that they stay in the caches; more samples are taken in several calls.
_NUMBERS_AT_ONCE = 2**20


def components(q: Distribution) -> tuple[Float[Tensor, "S B Z"], Float[Tensor, "S B"]]:
    """The means of a posterior's components and their weights; one component unless it is a mixture."""
    if isinstance(q, MixtureSameFamily):
        return q.component_distribution.mean.movedim(1, 0), q.mixture_distribution.probs.T
    return q.mean.unsqueeze(0), q.mean.new_ones(1, len(q.mean))


def draw(q: Distribution, n_samples: int) -> Float[Tensor, "K B Z"]:
    r"""Draws from each sample's posterior; from a mixture, stratified over its components.

    Each draw has the distribution q; together, component s has ⌊Kπ_s⌋ or ⌈Kπ_s⌉ of the K (systematic sampling), so
    that a sum over draws has less noise than with independent ones, and the same expectation.
    """
    if not isinstance(q, MixtureSameFamily):
        return q.sample(torch.Size((n_samples,)))
    probs = q.mixture_distribution.probs
    ticks = torch.arange(n_samples, device=probs.device) / n_samples
    u = (ticks + torch.rand(len(probs), 1, device=probs.device)) % 1
    edges = probs.cumsum(1)[:, :-1].contiguous()
    chosen = torch.searchsorted(edges, u, right=True)  # (B, K)
    index = chosen.unsqueeze(-1).expand(-1, -1, q.event_shape[0])
    picked: Independent[Any] = map_parameters(
        cast("Independent[Any]", q.component_distribution), lambda _, value: value.gather(1, index)
    )
    return picked.sample().movedim(1, 0)


def log_evidence(network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
    r"""The log-likelihood of the views that are present, by importance sampling from the joint posterior.

    .. math:: \log \frac1K \sum_{k=1}^K \frac{p(X \mid z^k)\, p(z^k)}{q(z^k \mid X)}, \qquad z^k \sim q(z \mid X)

    Never above log p(X) in expectation, and rising to it with K. Private latents are drawn along with z, from
    :math:`q(h_m \mid x_m)`, and enter the weights with :math:`p(h_m) / q(h_m \mid x_m)`.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.
    https://arxiv.org/abs/1509.00519
    """
    (q, q_h), p = network.infer(batch), network.latent.prior
    z = draw(q, n_samples)
    widest = max(*(x[0].numel() for x in batch.x), len(components(q)[1]) * z.shape[-1])
    size = max(1, _NUMBERS_AT_ONCE // (len(batch) * widest))
    log_w = []
    for part in z.split(size):
        h, log_ratio = None, p.log_prob(part) - q.log_prob(part)
        if q_h is not None:
            h = q_h.sample(torch.Size((len(part),)))
            log_ratio = log_ratio + (network.private_latent.prior.log_prob(h) - q_h.log_prob(h)).sum(-2)
        log_w.append(network.log_lik(part, batch, h).sum(-2) + log_ratio)
    return log_mean_exp(torch.cat(log_w), 0)
