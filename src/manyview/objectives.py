r"""What a model maximises: pure functions of log-likelihoods and divergences, everything per sample, in nats.

The *reconstruction matrix* holds L[s, m] = log p(x_m | z from source s), shape (S, M, B). An objective weights it,
subtracts what holds the sources in place, and returns :class:`Terms`. The mean over the samples is taken once, by
the training loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import Independent
from torch.distributions.kl import kl_divergence

from manyview.fusion import subset_products
from manyview.latent import map_parameters

__all__ = [
    "Scalar",
    "Terms",
    "beside",
    "cross_reconstruction",
    "elbo",
    "jensen_shannon",
    "log_mean_exp",
    "mixture_iwae",
]


Scalar = float | Float[Tensor, ""]
"""A weight such as β; a tensor where models with different ones are trained as one."""


@dataclass(frozen=True)
class Terms:
    """An objective for each sample of a batch, and the parts to record.

    Parameters
    ----------
    value : Tensor
        What is maximised, (B,), in nats per sample.
    parts : dict of Tensor
        Its parts by name, for the history: (B,), or (M, B) for one entry a view.
    """

    value: Float[Tensor, " B"]
    parts: dict[str, Float[Tensor, " B"] | Float[Tensor, "M B"]] = field(default_factory=dict)


def beside(value: Float[Tensor, " B"], other: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """An objective as it is, whose gradient is that of its sum with another one.

    For networks that are trained beside an objective and not by it. The other objective is to depend on them alone:
    detach the rest.
    """
    return value + (other - other.detach())


def log_mean_exp(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """The logarithm of the mean of exp(x) along a dimension.

    Examples
    --------
    >>> import torch
    >>> round(log_mean_exp(torch.tensor([1.0, 3.0]).log(), 0).exp().item(), 4)
    2.0
    """
    return x.logsumexp(dim) - math.log(x.shape[dim])


def elbo(
    log_lik: Float[Tensor, "S M B"],
    kl: Float[Tensor, "S B"] | None = None,
    *,
    beta: Scalar = 1.0,
    weights: Shaped[Tensor, "#S #M"] | Shaped[Tensor, "#S #M #B"] | None = None,
    active: Bool[Tensor, "S B"] | None = None,
) -> Terms:
    r"""Evidence lower bounds of one or many sources, summed.

    .. math:: \sum_s a_s \Big[ \sum_m w_{sm}\, L[s, m] - \beta\, \mathrm{KL}_s \Big]

    Parameters
    ----------
    log_lik : Tensor
        The reconstruction matrix L, (S, M, B); 0 for views that are missing.
    kl : Tensor, optional
        The divergence of each source, (S, B).
    beta : float or Tensor, default 1
        The weight of the divergences.
    weights : Tensor, optional
        The weights w, broadcast against (S, M, B); 1 when not given.
    active : Tensor, optional
        Which sources count for which sample, (S, B); all when not given.

    Returns
    -------
    Terms
        With the parts ``log_lik``, (M, B), and ``kl``, (B,), before β.

    References
    ----------
    I. Higgins et al., "beta-VAE: learning basic visual concepts with a constrained variational framework",
    ICLR 2017. https://openreview.net/forum?id=Sy2fzU9gl
    """
    if weights is not None:
        log_lik = log_lik * (weights if weights.ndim == 3 else weights.unsqueeze(-1))
    if active is not None:
        log_lik = log_lik * active.unsqueeze(1)
        kl = None if kl is None else kl * active
    by_view = log_lik.sum(0)
    if kl is None:
        return Terms(by_view.sum(0), {"log_lik": by_view})
    divergence = kl.sum(0)
    return Terms(by_view.sum(0) - beta * divergence, {"log_lik": by_view, "kl": divergence})


def cross_reconstruction(log_lik: Float[Tensor, "M M B"], present: Bool[Tensor, "B M"] | None = None) -> Terms:
    r"""How well every view's code reconstructs every view, on average over the pairs that are present.

    .. math:: \frac{1}{M^2} \sum_{s=1}^M \sum_{m=1}^M L[s, m]

    Parameters
    ----------
    log_lik : Tensor
        The reconstruction matrix L, (M, M, B); 0 for views that are missing.
    present : Tensor, optional
        Which views each sample has, (B, M); M then counts these.

    Returns
    -------
    Terms
        With the part ``log_lik``, (M, B).
    """
    if present is None:
        return elbo(log_lik, weights=log_lik.new_full((1, 1), len(log_lik) ** -2))
    n_present = present.sum(1).clamp(min=1).to(log_lik.dtype)
    return elbo(log_lik, weights=n_present.pow(-2).view(1, 1, -1), active=present.T)


def jensen_shannon(
    q: Independent[Any],
    prior: Independent[Any],
    pi: Float[Tensor, "M1 B"],
    z: Float[Tensor, "M B Z"] | None = None,
) -> Float[Tensor, " B"]:
    r"""How far some posteriors and the prior lie from their weighted mean f.

    .. math:: \sum_{m=1}^M \pi_m\, \mathrm{KL}(q_m \Vert f) + \pi_{M+1}\, \mathrm{KL}(p \Vert f)

    Without draws f is the geometric mean, :math:`f \propto p^{\pi_{M+1}} \prod_m q_m^{\pi_m}`, and the value is exact
    for normal distributions. With draws f is the arithmetic mean, the mixture, and the value is a Monte Carlo estimate:
    then it is the Jensen-Shannon divergence, which is at most the entropy of π.

    Parameters
    ----------
    q : Independent
        The posteriors, batch shape (M, B), event shape (Z,).
    prior : Independent
        The prior, batch shape (), event shape (Z,).
    pi : Tensor
        The weights, (M + 1, B), the prior's last: each column sums to one, and is 0 for views that are missing.
    z : Tensor, optional
        A draw from each posterior, (M, B, Z), for the arithmetic mean; the prior's is drawn here.

    Returns
    -------
    Tensor
        (B,), in nats.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Multimodal generative learning utilizing Jensen-Shannon-divergence",
    NeurIPS 2020. https://arxiv.org/abs/2006.08242

    F. Nielsen, "On the Jensen-Shannon symmetrization of distances relying on abstract means", Entropy 21, 2019.
    https://arxiv.org/abs/1904.04017
    """
    p = prior.expand(torch.Size((1, *q.batch_shape[1:])))
    everything = map_parameters(q, lambda name, value: torch.cat([value, getattr(p.base_dist, name)]))
    if z is None:
        members = torch.ones(1, len(pi), dtype=torch.bool, device=pi.device)
        mean = subset_products(everything, members, exponents=pi.unsqueeze(-1))
        divergence: Tensor = kl_divergence(everything, mean.expand(everything.batch_shape))
    else:
        draws = torch.cat([z, p.sample()])
        log_q = everything.log_prob(draws.unsqueeze(1))  # of draw m under distribution j: (m, j, B)
        log_mean = (log_q + pi.log().clamp(min=-1e30)).logsumexp(1)
        divergence = log_q.diagonal(dim1=0, dim2=1).T - log_mean
    return (pi * divergence).sum(0)


def mixture_iwae(
    experts: Independent[Any],
    log_joint: Callable[[Tensor], Float[Tensor, "K M B"]],
    n_samples: int,
    *,
    present: Bool[Tensor, "B M"] | None = None,
    beta: Scalar = 1.0,
    doubly_reparametrised: bool = False,
) -> Float[Tensor, " B"]:
    r"""The importance-weighted bound of a mixture of experts, its K samples drawn from one expert at a time.

    .. math:: \frac1M \sum_{m=1}^M \mathbb E_{z^{1:K} \sim q_m} \Big[ \log \frac1K \sum_{k=1}^K w(z^k) \Big], \qquad
        w(z) = \frac{p(X, z)}{q(z \mid X)}, \qquad q(z \mid X) = \frac1M \sum_j q_j(z)

    The same z serve the decoders and the densities, so that this is a bound for every K. Where views are missing, the
    sums run over those present.

    With ``doubly_reparametrised=True`` the value is the same and its gradient is the same in expectation, but less
    noisy where K is large and the experts are wider than the posterior: the score of the expert that z was drawn
    from, weighted by its responsibility :math:`r_m(z) = q_m(z) / \sum_j q_j(z)`, is replaced by a path through z. With
    one view (r = 1) this is the DReG estimator of Tucker et al., where a path gradient is weighted by
    :math:`\tilde w_k^2`. Shi et al. use that weight for mixtures too, and drop the scores of all experts, which is
    unbiased for K = 1 only; here the other experts' scores stay, so that it is unbiased for every K and M.

    Parameters
    ----------
    experts : Independent[Any]
        The posteriors q(z | x_m), batch shape (M, B).
    log_joint : callable
        z (K, M, B, Z) to log p(X | z) + β log p(z), (K, M, B), of the views that are present.
    n_samples : int
        Number of samples K from each expert.
    present : Tensor, optional
        Which views each sample has, (B, M).
    beta : float, default 1
        The weight of log p(z) - log q(z | X); log_joint applies it to its own part.
    doubly_reparametrised : bool, default False
        Whether the gradient is the doubly reparametrised one.

    Returns
    -------
    Tensor
        (B,), in nats.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016.
    https://arxiv.org/abs/1509.00519

    G. Tucker, D. Lawson, S. Gu, C. J. Maddison, "Doubly reparameterized gradient estimators for Monte Carlo
    objectives", ICLR 2019. https://arxiv.org/abs/1810.04152

    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393
    """
    n_views, n_rows = experts.batch_shape
    active = experts.mean.new_ones(n_views, n_rows)
    if present is not None:
        active = torch.where(present.any(1), present.T, True).to(active.dtype)
    pi = active / active.sum(0)

    def log_terms(q: Independent[Any], z: Tensor) -> Float[Tensor, "K M M B"]:
        """Expert j's part of the mixture density, log π_j q_j(z), of each z that expert m drew: (K, m, j, B)."""
        log_q: Tensor = q.log_prob(z.unsqueeze(2))
        return log_q + pi.log()

    z = experts.rsample(torch.Size((n_samples,)))
    if not (doubly_reparametrised and z.requires_grad):
        log_w = log_joint(z) - beta * log_terms(experts, z).logsumexp(2)
        return (pi * log_mean_exp(log_w, 0)).sum(0)

    frozen = map_parameters(experts, lambda _, parameter: parameter.detach())
    z_scaled = z.view_as(z)  # the same z, on a path of its own, whose gradient is scaled below
    log_w = log_joint(z_scaled) - beta * log_terms(frozen, z_scaled).logsumexp(2)
    w = log_w.softmax(0).detach()
    r = log_terms(frozen, z).softmax(2)
    own = r.diagonal(dim1=1, dim2=2).transpose(1, 2)
    scale = (1 - beta * own * (1 - w)).detach().unsqueeze(-1)
    z_scaled.register_hook(lambda gradient: gradient * scale)
    others = r.detach() * ~torch.eye(n_views, dtype=torch.bool, device=z.device).unsqueeze(-1)
    score = (others * log_terms(experts, z.detach()).clamp(min=-1e30)).sum(2)
    path = (w * (log_w - beta * (own + score))).sum(0)
    return (pi * (log_mean_exp(log_w, 0).detach() + path - path.detach())).sum(0)
