r"""How the views' posteriors become one: experts q(z | x_m) in, a distribution q(z | X) out.

Every fusion is a module: ``fusion(experts, present)``, with the experts as one torch distribution of batch shape
(M, B) and event shape (Z,), and the mask ``present`` (B, M) or None when nothing is missing. What comes out is a
torch distribution of batch shape (B,); a mixture stays a mixture. A sample with none of the views gets the standard
distribution of the experts' family: the prior.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from manyview.latent import Delta, independent, map_parameters

__all__ = [
    "Fusion",
    "GeneralisedPoE",
    "Mean",
    "MoE",
    "MoPoE",
    "PoE",
    "all_subsets",
    "mixture",
    "subset_products",
]

_STANDARD = {"loc": 0.0, "scale": 1.0}


def all_subsets(n_views: int) -> Bool[Tensor, "S M"]:
    """The memberships of the 2^M - 1 subsets that are not empty, single views first, all views last.

    Examples
    --------
    >>> all_subsets(2).int().tolist()
    [[1, 0], [0, 1], [1, 1]]
    """
    codes = sorted(range(1, 2**n_views), key=lambda code: (code.bit_count(), code))
    return torch.tensor([[bool(code >> m & 1) for m in range(n_views)] for code in codes])


def _normal_parameters(experts: Independent[Any], who: str) -> tuple[Tensor, Tensor]:
    base = experts.base_dist
    if not isinstance(base, Normal):
        raise ValueError(
            f"{who} needs Normal experts, whose product is Normal again, "
            f"but the posteriors are {type(base).__name__}; choose posterior='normal', or a mixture (MoE)"
        )
    return base.loc, base.scale


def subset_products(
    experts: Independent[Any],
    members: Bool[Tensor, "S M"],
    present: Bool[Tensor, "B M"] | None = None,
    *,
    prior_expert: bool = False,
    exponents: Float[Tensor, "M #Z"] | Float[Tensor, "M B #Z"] | None = None,
) -> Independent[Any]:
    r"""The products of the experts of every subset, all in one computation.

    .. math:: q_s(z) \propto p(z)^{[\text{prior}]} \prod_{m \in s} q(z \mid x_m)^{\alpha_m}, \qquad
        T_s = [\text{prior}] + \sum_{m \in s} \alpha_m \sigma_m^{-2}, \qquad
        \mu_s = T_s^{-1} \sum_{m \in s} \alpha_m \sigma_m^{-2} \mu_m

    Absent views are left out of each product; a product of nothing is the standard normal.

    Parameters
    ----------
    experts : Independent[Any]
        Normal experts, batch shape (M, B), event shape (Z,).
    members : Tensor
        Which views belong to which subset, (S, M).
    present : Tensor, optional
        Which views each sample has, (B, M); None when it has them all.
    prior_expert : bool, default False
        Whether the standard normal prior multiplies each product.
    exponents : Tensor, optional
        The powers α, (M, Z) or (M, B, Z); 1 when not given.

    Returns
    -------
    Independent
        Normal, batch shape (S, B), event shape (Z,).

    Raises
    ------
    ValueError
        If the experts are not Normal.

    References
    ----------
    Y. Cao, D. J. Fleet, "Generalized product of experts for automatic and principled fusion of Gaussian process
    predictions", 2014. https://arxiv.org/abs/1410.7827
    """
    loc, scale = _normal_parameters(experts, "a product of experts")
    precision = scale.pow(-2)
    if exponents is not None:
        precision = precision * (exponents.unsqueeze(1) if exponents.ndim == 2 else exponents)
    if present is not None:
        precision = precision * present.T.unsqueeze(-1)
    weights = members.to(precision.dtype)
    total = torch.einsum("sm,mbz->sbz", weights, precision)
    weighted = torch.einsum("sm,mbz->sbz", weights, precision * loc)
    total = total + 1 if prior_expert else torch.where(total > 0, total, 1.0)
    return independent(Normal(weighted / total, total.rsqrt(), validate_args=False))


def mixture(
    components: Independent[Any],
    active: Bool[Tensor, "B S"] | None = None,
    weights: Float[Tensor, " S"] | None = None,
) -> MixtureSameFamily:
    r"""The mixture of the components, over the active ones of each sample.

    .. math:: q(z) = \sum_s \pi_s\, q_s(z)

    Parameters
    ----------
    components : Independent[Any]
        Batch shape (S, B), event shape (Z,).
    active : Tensor, optional
        Which components each sample has, (B, S); without any, the sample gets the standard distribution.
    weights : Tensor, optional
        Weights π, (S,), renormalised over the active components; uniform when not given.

    Returns
    -------
    MixtureSameFamily
        Batch shape (B,), event shape (Z,), component s in the last batch dimension of its parts.
    """
    n_components, n_rows = components.batch_shape
    pi = components.mean.new_ones(n_rows, n_components)
    if weights is not None:
        pi = pi * weights
    if active is not None:
        any_active = active.any(1, keepdim=True)
        pi = torch.where(any_active, pi * active, 1.0)
        components = map_parameters(components, lambda name, value: torch.where(any_active, value, _STANDARD[name]))
    by_row = map_parameters(components, lambda _, value: value.movedim(0, 1))
    return MixtureSameFamily(Categorical(probs=pi, validate_args=False), by_row, validate_args=False)


class Fusion(nn.Module, ABC):
    """How M experts become one distribution of z."""

    @abstractmethod
    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Distribution:
        """The distribution q(z | X), batch shape (B,), event shape (Z,)."""


@final
class PoE(Fusion):
    r"""Product of experts, with or without the prior among them.

    .. math:: q(z \mid X) \propto p(z) \prod_{m=1}^M q(z \mid x_m)

    Parameters
    ----------
    prior_expert : bool, default True
        Whether the standard normal prior is one of the experts.

    References
    ----------
    M. Wu, N. D. Goodman, "Multimodal generative models for scalable weakly-supervised learning", NeurIPS 2018.
    https://arxiv.org/abs/1802.05335

    Examples
    --------
    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> experts = Independent(Normal(torch.tensor([[[0.0]], [[3.0]]]), torch.ones(2, 1, 1)), 1)
    >>> PoE()(experts).mean, PoE(prior_expert=False)(experts).mean
    (tensor([[1.]]), tensor([[1.5000]]))
    """

    def __init__(self, prior_expert: bool = True) -> None:
        super().__init__()
        self.prior_expert = prior_expert

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Independent[Any]:
        """The Normal product of the experts that are present."""
        everything = torch.ones(1, experts.batch_shape[0], dtype=torch.bool, device=experts.mean.device)
        products = subset_products(experts, everything, present, prior_expert=self.prior_expert)
        return map_parameters(products, lambda _, value: value.squeeze(0))


@final
class GeneralisedPoE(Fusion):
    r"""Generalised product of experts: each view has a learned weight in each latent dimension.

    .. math:: q(z \mid X) \propto \prod_{m=1}^M q(z \mid x_m)^{\alpha_m}, \qquad \sum_m \alpha_m = 1

    The weights α, (M, Z), are a softmax over the views; where views are missing, those present share the whole.

    Parameters
    ----------
    n_views : int
        Number of views M.
    z_dim : int
        Number of latent dimensions Z.

    References
    ----------
    A. Lawry Aguila, J. Chapman, A. Altmann, "Multi-modal variational autoencoders for normative modelling across
    multiple imaging modalities", MICCAI 2023. https://arxiv.org/abs/2303.12706
    """

    def __init__(self, n_views: int, z_dim: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_views, z_dim))

    @property
    def weights(self) -> Float[Tensor, "M Z"]:
        """The weights α of the complete data: positive, summing to one over the views."""
        return self.logits.softmax(0)

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Independent[Any]:
        """The Normal weighted product of the experts that are present."""
        n_views, n_rows = experts.batch_shape
        exponents = self.weights
        if present is not None:
            absent = ~present.T.unsqueeze(-1) & present.any(1).view(1, n_rows, 1)
            exponents = self.logits.unsqueeze(1).masked_fill(absent, -torch.inf).softmax(0)
        everything = torch.ones(1, n_views, dtype=torch.bool, device=experts.mean.device)
        products = subset_products(experts, everything, present, exponents=exponents)
        return map_parameters(products, lambda _, value: value.squeeze(0))


@final
class MoE(Fusion):
    r"""Mixture of experts: every view that is present has the same weight.

    .. math:: q(z \mid X) = \frac{1}{M} \sum_{m=1}^M q(z \mid x_m)

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393
    """

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture of the experts that are present."""
        return mixture(experts, present)


@final
class MoPoE(Fusion):
    r"""Mixture of products of experts: all subsets of the views that are present, with the same weight.

    .. math:: q(z \mid X) = \frac{1}{N} \sum_{s \in \mathcal P(X)} q_s(z), \qquad
        q_s(z) \propto \prod_{m \in s} q(z \mid x_m)

    Parameters
    ----------
    n_views : int
        Number of views M; there are N = 2^M - 1 subsets.
    prior_expert : bool, default False
        Whether the standard normal prior multiplies each product.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021. https://arxiv.org/abs/2105.02470
    """

    def __init__(self, n_views: int, prior_expert: bool = False) -> None:
        super().__init__()
        self.prior_expert = prior_expert
        self.register_buffer("members", all_subsets(n_views), persistent=False)

    members: Tensor

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture over the subsets whose views are all present."""
        products = subset_products(experts, self.members, present, prior_expert=self.prior_expert)
        if present is None:
            return mixture(products)
        whole = (~self.members.unsqueeze(0) | present.unsqueeze(1)).all(-1)
        return mixture(products, whole)


@final
class Mean(Fusion):
    r"""The average of the codes, :math:`\frac1M \sum_m z_m` with independent :math:`z_m \sim q(z \mid x_m)`.

    .. math:: \mu = \frac1M \sum_m \mu_m, \qquad \sigma^2 = \frac{1}{M^2} \sum_m \sigma_m^2
    """

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Independent[Any]:
        """Normal for Normal experts, a point for points."""
        n_views, n_rows = experts.batch_shape
        mask = experts.mean.new_ones(n_views, n_rows, 1) if present is None else present.T.unsqueeze(-1)
        count = mask.sum(0)
        some, n = count > 0, count.clamp(min=1)
        loc = (experts.mean * mask).sum(0) / n
        if isinstance(experts.base_dist, Delta):
            return independent(Delta(loc, validate_args=False))
        _, scale = _normal_parameters(experts, "the mean of experts")
        scale = torch.where(some, (scale.square() * mask).sum(0).clamp(min=1e-30).sqrt() / n, 1.0)
        return independent(Normal(loc, scale, validate_args=False))
