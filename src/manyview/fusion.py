r"""How the views' posteriors become one: experts q(z | x_m) in, a distribution q(z | X) out.

Every fusion is a module: ``fusion(experts, present)``, with the experts as one torch distribution of batch shape
(M, B) and event shape (Z,), and the mask ``present`` (B, M) or None when nothing is missing. What comes out is a
torch distribution of batch shape (B,); a mixture stays a mixture. A sample with none of the views gets the standard
distribution of the experts' family: the prior.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from manyview.cca import LinearCCA
from manyview.latent import Delta, LocationScale, independent, map_parameters
from manyview.nn import NetworkSpec

__all__ = [
    "AlignedFusion",
    "AuxiliaryMoE",
    "CanonicalCodes",
    "Fusion",
    "GeneralisedPoE",
    "Joint",
    "Mean",
    "MoE",
    "MoPoE",
    "PoE",
    "Reference",
    "WeightedMoE",
    "all_subsets",
    "mixture",
    "scaled_rows",
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
    # Logarithms, because Categorical takes a probability of 0 for 1e-7, which a narrow absent expert can make count.
    return MixtureSameFamily(Categorical(logits=pi.log(), validate_args=False), by_row, validate_args=False)


def scaled_rows(q: Distribution, rows: Bool[Tensor, "*B"], scale: Float[Tensor, " Z"]) -> Distribution:
    """A posterior whose standard distributions, in some rows, are stretched to a prior's scale."""
    if isinstance(q, MixtureSameFamily):
        parts = scaled_rows(q.component_distribution, rows.unsqueeze(-1), scale)
        return MixtureSameFamily(q.mixture_distribution, parts, validate_args=False)

    def stretch(name: str, value: Tensor) -> Tensor:
        return torch.where(rows.unsqueeze(-1), value * scale, value) if name == "scale" else value

    return map_parameters(cast("Independent[Any]", q), stretch)


class Fusion(nn.Module, ABC):
    """How the experts become one distribution of z."""

    per_view: ClassVar[bool] = False
    """Whether every view keeps a code of its own: q(z | X) is a mixture with one component a view."""

    unimodal: bool = True
    """Whether each view has an expert of its own, q(z | x_m)."""

    joint_encoder: NetworkSpec | None = None
    """The network of a joint encoder, whose expert q(z | x_1 ... x_M) comes after those of the views; None for none."""

    @abstractmethod
    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Distribution:
        """The distribution q(z | X), batch shape (B,), event shape (Z,)."""


class AlignedFusion(Fusion):
    """A fusion that is fitted to the codes of the training data, after training; it leaves codes alone before."""

    @abstractmethod
    def fit_(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> None:
        """Fit the alignment to the codes of the training data, in place."""

    @abstractmethod
    def unalign(self, z: Float[Tensor, "*L Z"], m: int) -> Float[Tensor, "*L Z"]:
        """The code that view m's decoder knows, of an aligned one."""

    @abstractmethod
    def regress(self, z: Float[Tensor, "M B Z"], m: int) -> Float[Tensor, "M B Z"]:
        """What the aligned code of each view lets one expect of view m's."""


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

    per_view = True

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture of the experts that are present."""
        return mixture(experts, present)


@final
class AuxiliaryMoE(Fusion):
    r"""Mixture of experts whose private latents, but for one view's, come from auxiliary priors with learned scales.

    .. math:: q(z, h \mid X) = \frac{1}{M} \sum_{m=1}^M q(z \mid x_m)\, q(h_m \mid x_m) \prod_{n \ne m} r_n(h_n)

    Each :math:`r_n` is of the private latents' family, around zero; its scales, (H,), start at 1. They serve training
    alone: afterwards, the private latent of a view that is absent has the prior p(h).

    Parameters
    ----------
    n_views : int
        Number of views M.
    private : LocationScale
        A private latent, whose family and way of making scales the auxiliary priors share.

    References
    ----------
    E. Palumbo, I. Daunhawer, J. E. Vogt, "MMVAE+: enhancing the generative quality of multimodal VAEs without
    compromises", ICLR 2023. https://openreview.net/forum?id=sdQGxouELX
    """

    per_view = True

    def __init__(self, n_views: int, private: LocationScale) -> None:
        super().__init__()
        self.family = type(private)(private.z_dim, scale=private.scale)
        self.r = nn.Parameter(private.r_of_one.repeat(n_views, 1))

    @property
    def auxiliary(self) -> Independent[Any]:
        """The auxiliary priors of all the views: batch shape (M,), event shape (H,)."""
        auxiliary: Independent[Any] = self.family(torch.cat([torch.zeros_like(self.r), self.r], dim=-1))
        return auxiliary

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture q(z | X) of the experts that are present."""
        return mixture(experts, present)


@final
class WeightedMoE(Fusion):
    r"""Mixture of experts with given weights, which those of the views that are present share.

    .. math:: q(z \mid X) = \sum_{m=1}^M \frac{\pi_m}{\sum_n \pi_n}\, q(z \mid x_m)

    Parameters
    ----------
    pi : sequence of float
        The weights π of the views and, last, of the prior, which is no expert; they sum to one.
    """

    def __init__(self, pi: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("pi", torch.tensor(pi), persistent=False)

    pi: Tensor

    def over_present(self, present: Bool[Tensor, "B M"]) -> Float[Tensor, "M1 B"]:
        """The weights of each sample's views and, last, of the prior: those that are present share the whole."""
        pi = self.pi.unsqueeze(1) * torch.cat([present.T, present.new_ones(1, len(present))])
        return pi / pi.sum(0)

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture of the experts that are present."""
        return mixture(experts, present, self.pi[:-1])


@final
class Reference(Fusion):
    r"""One view's posterior is the joint one, :math:`q(z \mid X) = q(z \mid x_r)`.

    Samples without that view get the mixture of their other views' experts.

    Parameters
    ----------
    reference : int
        The position r of the view.
    """

    def __init__(self, reference: int) -> None:
        super().__init__()
        self.reference = reference

    def active(self, present: Bool[Tensor, "B M"]) -> Bool[Tensor, "B M"]:
        """The views that z is inferred from: the reference where it is present, all others elsewhere."""
        only = torch.zeros_like(present)
        only[:, self.reference] = True
        return torch.where(present[:, self.reference, None], only, present)

    def draw(self, present: Bool[Tensor, "B M"]) -> Int[Tensor, " B"]:
        """One of the active views of each sample, each as likely as the others; any view if there is none."""
        active = self.active(present)
        return (torch.rand(active.shape, device=active.device) + active).argmax(1)

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Distribution:
        """The reference's expert, or the mixture of the active ones."""
        if present is None:
            return map_parameters(experts, lambda _, value: value[self.reference])
        return mixture(experts, self.active(present))


@final
class CanonicalCodes(AlignedFusion):
    """Each view keeps its code; after training, linear CCA aligns them.

    Parameters
    ----------
    n_views : int
        Number of views M.
    z_dim : int
        Number of latent dimensions Z.
    regularisation : float
        What is added to the variances of the codes.
    """

    per_view = True

    def __init__(self, n_views: int, z_dim: int, regularisation: float) -> None:
        super().__init__()
        self.cca = LinearCCA(n_views, z_dim)
        self.regularisation = regularisation

    def fit_(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> None:
        """Fit linear CCA to the codes."""
        self.cca.fit_(experts.mean, present, self.regularisation)

    def unalign(self, z: Float[Tensor, "*L Z"], m: int) -> Float[Tensor, "*L Z"]:
        """The code of view m whose canonical code is z."""
        return self.cca.unproject(z, m)

    def regress(self, z: Float[Tensor, "M B Z"], m: int) -> Float[Tensor, "M B Z"]:
        """E[z_m | z_n] = ρ z_n for the other views n; z_m itself for view m."""
        own = torch.arange(len(z), device=z.device).view(-1, 1, 1) == m
        return torch.where(own, z, self.cca.correlations * z)

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> MixtureSameFamily:
        """The mixture of the canonical codes of the views that are present."""
        return mixture(map_parameters(experts, lambda _, codes: self.cca.project(codes)), present)


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
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021.
    https://arxiv.org/abs/2105.02470
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
class Joint(Fusion):
    r"""The posterior of a joint encoder where all views are present, and that of the views' own encoders elsewhere.

    .. math:: q(z \mid x_S) \propto p_S(z)\, \prod_{m \in S} \frac{q(z \mid x_m)}{p_S(z)}, \qquad
        p_S(z) = \mathcal N\big(0, \max(1, \max_{m \in S} \sigma_m^2)\big)

    Given z the views are independent, which makes this quotient exact, with the prior for :math:`p_S`, if the
    posteriors are: each has counted the prior, and it is to count once. A plain product, without the quotient, would be
    over-confident. The posterior of one view stays as it is. Where one is wider than the prior, the quotient may have
    no finite variance; dividing by a normal as wide as the widest instead, in each dimension, there is always a
    distribution, nowhere wider than any single view's.

    Without unimodal encoders, the joint encoder answers for every subset.

    Parameters
    ----------
    joint_encoder : str, dict, Module or callable
        The network of the joint encoder.
    unimodal : bool, default True
        Whether each view has an encoder of its own.
    prior_expert : bool, default True
        Whether the posteriors have counted the standard normal prior; if not, nothing is divided out.

    References
    ----------
    M. Wu, N. D. Goodman, "Multimodal generative models for scalable weakly-supervised learning", NeurIPS 2018, eq. 3.
    https://arxiv.org/abs/1802.05335

    Examples
    --------
    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> loc, scale = torch.tensor([[[0.0]], [[3.0]], [[1.0]]]), torch.full((3, 1, 1), 0.5)
    >>> experts = Independent(Normal(loc, scale), 1)  # of two views, and the joint one
    >>> Joint("auto")(experts).mean, Joint("auto")(experts, torch.tensor([[False, True]])).mean
    (tensor([[1.]]), tensor([[3.]]))
    """

    def __init__(self, joint_encoder: NetworkSpec, *, unimodal: bool = True, prior_expert: bool = True) -> None:
        super().__init__()
        # A specification that is a module is to be copied, not to be a part of the fusion that is trained.
        object.__setattr__(self, "joint_encoder", joint_encoder)
        self.unimodal = unimodal
        self.prior_expert = prior_expert

    def forward(self, experts: Independent[Any], present: Bool[Tensor, "B M"] | None = None) -> Independent[Any]:
        """The Normal posterior of the views that are present, the joint encoder's expert being the last."""
        joint = map_parameters(experts, lambda _, value: value[-1])
        if present is None:
            return joint
        if self.unimodal:
            whole = present.all(1, keepdim=True)
            partial = self._quotient(map_parameters(experts, lambda _, value: value[:-1]), present).base_dist
            return map_parameters(joint, lambda name, value: value.where(whole, getattr(partial, name)))
        some = present.any(1, keepdim=True)
        return map_parameters(joint, lambda name, value: value.where(some, _STANDARD[name]))

    def _quotient(self, experts: Independent[Any], present: Bool[Tensor, "B M"]) -> Independent[Any]:
        """The posterior of the views that are present, from their own; the standard normal where there is none."""
        loc, scale = _normal_parameters(experts, "a quotient of experts")
        here, count = present.T.unsqueeze(-1), present.sum(1, keepdim=True)
        precision = torch.where(here, scale.pow(-2), 0.0)
        widest = torch.where(here, scale, 1.0).amax(0).clamp(min=1)
        counted = widest.pow(-2) if self.prior_expert else count == 0
        total = precision.sum(0) - (count - 1) * counted
        return independent(Normal((precision * loc).sum(0) / total, total.rsqrt(), validate_args=False))


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
