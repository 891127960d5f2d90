r"""Which latents are there: the prior p(z), and the family of the posteriors q(z | x_m) that encoders state.

A :class:`Latent` turns the numbers that an encoder returns into a distribution over z. It is the only place that
knows how many numbers that takes, what the prior is, and how far a posterior lies from it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal, constraints
from torch.distributions.kl import kl_divergence

from manyview.messages import warn

__all__ = [
    "Delta",
    "Gaussian",
    "Laplacian",
    "Latent",
    "LocationScale",
    "MatchedPoint",
    "Point",
    "SparseGaussian",
    "independent",
    "map_parameters",
]

# Posterior log-scales are kept within ±7 (a factor of a thousand), so that a wild encoder cannot overflow.
_LOG_SCALE = 7.0

# Smallest scale where a function other than exp makes it, and smallest |mean| that a dropout rate is relative to.
_FLOOR = 1e-6

_ONE = torch.Size()


@final
class Delta(Distribution):
    """All mass at one point: the posterior of an encoder without noise.

    Parameters
    ----------
    loc : Tensor
        The point; each entry is a distribution of its own.
    """

    arg_constraints = {"loc": constraints.real}  # noqa: RUF012 (torch's own protocol)
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, validate_args: bool | None = None) -> None:
        self.loc = loc
        super().__init__(loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = _ONE) -> Tensor:
        """The point, as often as asked for."""
        return self.loc.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Infinite at the point, minus infinite elsewhere."""
        return torch.where(value == self.loc, torch.inf, -torch.inf)


def independent(base: Distribution) -> Independent[Any]:
    """The last dimension of base as one event: a distribution over vectors."""
    return Independent(base, 1, validate_args=False)


def map_parameters(q: Independent[Any], function: Callable[[str, Tensor], Tensor]) -> Independent[Any]:
    """The distribution of q's family whose parameters are ``function(name, q's parameter)``."""
    base = q.base_dist
    parameters = {name: function(name, getattr(base, name)) for name in base.arg_constraints}
    return independent(type(base)(**parameters, validate_args=False))


class Latent(nn.Module, ABC):
    """A latent vector z of ``z_dim`` dimensions: its prior, and the family of its posteriors.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions.
    private : Latent, optional
        The latent h_m that each view has to itself, beside the z that all views share.
    """

    numbers_per_dimension: int
    """How many numbers an encoder returns for each dimension of z."""

    def __init__(self, z_dim: int, private: Latent | None = None) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.private = private
        self.register_buffer("zero", torch.zeros(z_dim), persistent=False)

    zero: Tensor

    @property
    def width(self) -> int:
        """How many numbers an encoder returns for z."""
        return self.numbers_per_dimension * self.z_dim

    @abstractmethod
    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        r"""The posterior q(z | x) that an encoder's output h states: batch shape (\*L, B), event shape (Z,)."""

    @property
    @abstractmethod
    def prior(self) -> Independent[Any]:
        """The prior p(z): batch shape (), event shape (Z,)."""

    @abstractmethod
    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """KL(q ‖ p(z)) in nats, exact where a closed form exists; batch shape of q."""

    @abstractmethod
    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior with switched-off dimensions at zero, as it is used after training."""


class LocationScale(Latent):
    r"""Posteriors with a location and a scale in each dimension, and a prior of the same family around zero.

    The encoder returns the location and a number r, side by side, from which the scale is

    - ``scale="exp"``: :math:`e^{r/2}` for a standard deviation (r is the log-variance), :math:`e^r` for others;
    - ``scale="softplus"``: :math:`\log(1 + e^r) + 10^{-6}`;
    - ``scale="softmax"``: :math:`Z \operatorname{softmax}(r) + 10^{-6}`: the scales of a sample average one, so that no
      posterior is narrow, or wide, in all dimensions.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions Z.
    private : Latent, optional
        The latent that each view has to itself.
    scale : {"exp", "softplus", "softmax"}, default "exp"
        How scales are made of the encoder's output.
    learn_prior : bool, default False
        Whether the prior's scale in each dimension is learned, by the same transformation; it is 1 otherwise.
    """

    numbers_per_dimension = 2
    exponent: float
    """The factor of r in ``scale="exp"``."""

    def __init__(
        self,
        z_dim: int,
        private: Latent | None = None,
        *,
        scale: Literal["exp", "softplus", "softmax"] = "exp",
        learn_prior: bool = False,
    ) -> None:
        super().__init__(z_dim, private)
        self.scale = scale
        self.r_prior = nn.Parameter(self.r_of_one) if learn_prior else None

    @property
    def r_of_one(self) -> Float[Tensor, " Z"]:
        """The numbers r that state a scale of 1 in every dimension."""
        return torch.full((self.z_dim,), math.log(math.e - 1) if self.scale == "softplus" else 0.0)

    @abstractmethod
    def _distribution(self, loc: Tensor, scale: Tensor) -> Distribution:
        """The family, each entry a distribution of its own."""

    def _scale(self, r: Tensor) -> Tensor:
        if self.scale == "exp":
            return (self.exponent * r).clamp(-_LOG_SCALE, _LOG_SCALE).exp()
        return _FLOOR + (F.softplus(r) if self.scale == "softplus" else self.z_dim * r.softmax(-1))

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """The posterior that h = (location, r) states."""
        loc, r = h.chunk(2, dim=-1)
        return independent(self._distribution(loc, self._scale(r)))

    @property
    def prior_scale(self) -> Float[Tensor, " Z"]:
        """The prior's scale in each dimension."""
        return self.zero + 1 if self.r_prior is None else self._scale(self.r_prior)

    @property
    def prior(self) -> Independent[Any]:
        """The family's distribution around zero."""
        return independent(self._distribution(self.zero, self.prior_scale))

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior itself: every dimension is on."""
        return q


@final
class Gaussian(LocationScale):
    r"""Normal posteriors and a normal prior, the standard one by default.

    .. math:: q(z \mid x) = \mathcal N(z; \mu(x), \operatorname{diag} \sigma^2(x)), \qquad p(z) = \mathcal N(z; 0, I)

    The encoder returns :math:`(\mu, \log \sigma^2)`, side by side. For the parameters see :class:`LocationScale`.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014.
    https://arxiv.org/abs/1312.6114

    Examples
    --------
    >>> import torch
    >>> latent = Gaussian(2)
    >>> q = latent(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    >>> q.mean, latent.kl(q)
    (tensor([[1., 0.]]), tensor([0.5000]))
    """

    exponent = 0.5

    def _distribution(self, loc: Tensor, scale: Tensor) -> Distribution:
        return Normal(loc, scale, validate_args=False)

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """½ Σ (σ² + μ² - 1 - log σ²), with μ and σ in units of the prior's scale."""
        loc, scale = q.base_dist.loc, q.base_dist.scale
        if self.r_prior is not None:
            loc, scale = loc / self.prior_scale, scale / self.prior_scale
        kl: Tensor = (0.5 * (scale.square() + loc.square() - 1.0) - scale.log()).sum(-1)
        return kl


@final
class Laplacian(LocationScale):
    r"""Laplace posteriors and a Laplace prior, the standard one by default.

    .. math:: q(z \mid x) = \prod_i \operatorname{Laplace}(z_i; \mu_i(x), b_i(x)), \qquad
        p(z) = \prod_i \operatorname{Laplace}(z_i; 0, 1)

    The encoder returns :math:`(\mu, \log b)`, side by side. For the parameters see :class:`LocationScale`.

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393
    """

    exponent = 1.0

    def _distribution(self, loc: Tensor, scale: Tensor) -> Distribution:
        return Laplace(loc, scale, validate_args=False)

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """The closed form, summed over the dimensions."""
        kl: Tensor = kl_divergence(q, self.prior.expand(q.batch_shape))
        return kl


@final
class SparseGaussian(Latent):
    r"""Variational dropout: a multiplicative noise whose size, learned per dimension, switches dimensions off.

    .. math:: q(z \mid x) = \mathcal N(z; \mu(x), \alpha\, \mu^2(x)), \qquad p(\log |z_i|) = \text{const}, \qquad
        \alpha = \frac{p}{1 - p}

    One :math:`\alpha_i` serves dimension i of every view's posterior. The prior is improper: it can be neither
    sampled nor evaluated, so there is no log-likelihood. Up to a constant, the KL divergence of any normal posterior
    depends on its own :math:`\alpha = \sigma^2 / \mu^2` alone; its approximation is that of Molchanov et al. (their
    eq. 14, error below 0.01 nat), shifted to 0 for α → ∞.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions to start from.
    private : Latent, optional
        The latent that each view has to itself.
    threshold : float, default 0.2
        Dimensions with a dropout rate p above it are switched off after training.

    References
    ----------
    L. Antelmi, N. Ayache, P. Robert, M. Lorenzi, "Sparse multi-channel variational autoencoder for the joint
    analysis of heterogeneous data", ICML 2019. https://proceedings.mlr.press/v97/antelmi19a.html

    D. Molchanov, A. Ashukha, D. Vetrov, "Variational dropout sparsifies deep neural networks", ICML 2017.
    https://arxiv.org/abs/1701.05369
    """

    numbers_per_dimension = 1

    def __init__(self, z_dim: int, private: Latent | None = None, *, threshold: float = 0.2) -> None:
        super().__init__(z_dim, private)
        self.threshold = threshold
        self.log_alpha = nn.Parameter(torch.zeros(z_dim))

    @property
    def dropout_rate(self) -> Float[Tensor, " Z"]:
        """The dropout rate p = α / (1 + α) of each dimension."""
        return self.log_alpha.sigmoid()

    @property
    def kept(self) -> Bool[Tensor, " Z"]:
        """Which dimensions are on: dropout rate at most the threshold."""
        return self.dropout_rate <= self.threshold

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """The posterior whose mean is h."""
        # The floor keeps the density finite where a mean is exactly zero.
        scale = (0.5 * self.log_alpha).exp() * (h.abs() + _FLOOR)
        return independent(Normal(h, scale, validate_args=False))

    @property
    def prior(self) -> Independent[Any]:
        """There is none to draw from.

        Raises
        ------
        ValueError
            Always: the log-uniform prior is improper.
        """
        raise ValueError(
            "sparse=True has the improper prior p(z) ∝ 1/|z|, which can be neither sampled nor evaluated: "
            "there are no samples and no log-likelihood; fit with sparse=False to have them"
        )

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """½ log(1 + 1/α) + k₁ (1 - σ(k₂ + k₃ log α)), summed over the dimensions."""
        k1, k2, k3 = 0.63576, 1.87320, 1.48695
        log_alpha = 2 * (q.base_dist.scale.log() - (q.base_dist.loc.abs() + _FLOOR).log())
        per_dimension = 0.5 * F.softplus(-log_alpha) + k1 * torch.sigmoid(-(k2 + k3 * log_alpha))
        return per_dimension.sum(-1)

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior with the dimensions that are switched off at zero."""
        if not self.kept.any():
            warn(f"no dimension has a dropout rate below threshold={self.threshold}: z is zero; train for longer")
        loc, scale = q.base_dist.loc, q.base_dist.scale
        return independent(Normal(loc * self.kept, scale.where(self.kept, _FLOOR), validate_args=False))


@final
class Point(Latent):
    """A code without noise: z = f(x). There is no prior, and nothing that holds the codes in place."""

    numbers_per_dimension = 1

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """All mass at h."""
        return independent(Delta(h, validate_args=False))

    @property
    def prior(self) -> Independent[Any]:
        """There is none.

        Raises
        ------
        ValueError
            Always: an autoencoder without noise states no distribution of its codes.
        """
        raise ValueError(
            "an autoencoder without noise has no prior p(z) to draw from; "
            "use a variational model, such as MVAE, to draw samples"
        )

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """Zero: nothing holds the codes in place."""
        return q.mean.new_zeros(()).expand(q.batch_shape)

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The code itself."""
        return q


@final
class MatchedPoint(Latent):
    """A code without noise whose distribution over the samples an adversary holds to the standard normal."""

    numbers_per_dimension = 1

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """All mass at h."""
        return independent(Delta(h, validate_args=False))

    @property
    def prior(self) -> Independent[Any]:
        """The standard normal."""
        return independent(Normal(self.zero, self.zero + 1, validate_args=False))

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """Zero: a point has no density to compare; the adversary compares the codes of many samples."""
        return q.mean.new_zeros(()).expand(q.batch_shape)

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The code itself."""
        return q
