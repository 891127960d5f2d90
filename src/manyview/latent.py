r"""Which latents are there: the prior p(z), and the family of the posteriors q(z | x_m) that encoders state.

A :class:`Latent` turns the numbers that an encoder returns into a distribution over z. It is the only place that
knows how many numbers that takes, what the prior is, and how far a posterior lies from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

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
    "Point",
    "SparseGaussian",
    "independent",
    "map_parameters",
]

# Posterior log-scales are kept within ±7 (a factor of a thousand), so that a wild encoder cannot overflow.
_LOG_SCALE = 7.0

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
    """

    numbers_per_dimension: int
    """How many numbers an encoder returns for each dimension of z."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.register_buffer("zero", torch.zeros(z_dim), persistent=False)

    zero: Tensor

    @property
    def width(self) -> int:
        """How many numbers an encoder returns."""
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


@final
class Gaussian(Latent):
    r"""Normal posteriors and the standard normal prior.

    .. math:: q(z \mid x) = \mathcal N(z; \mu(x), \operatorname{diag} \sigma^2(x)), \qquad p(z) = \mathcal N(z; 0, I)

    The encoder returns :math:`(\mu, \log \sigma^2)`, side by side.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014. https://arxiv.org/abs/1312.6114

    Examples
    --------
    >>> import torch
    >>> latent = Gaussian(2)
    >>> q = latent(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    >>> q.mean, latent.kl(q)
    (tensor([[1., 0.]]), tensor([0.5000]))
    """

    numbers_per_dimension = 2

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """The posterior that h = (mean, log-variance) states."""
        loc, log_variance = h.chunk(2, dim=-1)
        scale = (0.5 * log_variance).clamp(-_LOG_SCALE, _LOG_SCALE).exp()
        return independent(Normal(loc, scale, validate_args=False))

    @property
    def prior(self) -> Independent[Any]:
        """The standard normal."""
        return independent(Normal(self.zero, self.zero + 1, validate_args=False))

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """½ Σ (σ² + μ² - 1 - log σ²)."""
        loc, scale = q.base_dist.loc, q.base_dist.scale
        kl: Tensor = (0.5 * (scale.square() + loc.square() - 1.0) - scale.log()).sum(-1)
        return kl

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior itself: every dimension is on."""
        return q


@final
class Laplacian(Latent):
    r"""Laplace posteriors and the standard Laplace prior.

    .. math:: q(z \mid x) = \prod_i \operatorname{Laplace}(z_i; \mu_i(x), b_i(x)), \qquad
        p(z) = \prod_i \operatorname{Laplace}(z_i; 0, 1)

    The encoder returns :math:`(\mu, \log b)`, side by side.

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393
    """

    numbers_per_dimension = 2

    def forward(self, h: Float[Tensor, "*L B W"]) -> Independent[Any]:
        """The posterior that h = (location, log-scale) states."""
        loc, log_scale = h.chunk(2, dim=-1)
        return independent(Laplace(loc, log_scale.clamp(-_LOG_SCALE, _LOG_SCALE).exp(), validate_args=False))

    @property
    def prior(self) -> Independent[Any]:
        """The standard Laplace distribution."""
        return independent(Laplace(self.zero, self.zero + 1, validate_args=False))

    def kl(self, q: Independent[Any]) -> Float[Tensor, "*L B"]:
        """The closed form, summed over the dimensions."""
        kl: Tensor = kl_divergence(q, self.prior.expand(q.batch_shape))
        return kl

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior itself: every dimension is on."""
        return q


@final
class SparseGaussian(Latent):
    r"""Variational dropout: a multiplicative noise whose size, learned per dimension, switches dimensions off.

    .. math:: q(z \mid x) = \mathcal N(z; \mu(x), \alpha\, \mu^2(x)), \qquad p(\log |z_i|) = \text{const}, \qquad
        \alpha = \frac{p}{1 - p}

    One :math:`\alpha_i` serves dimension i of every view's posterior. The prior is improper: it can be neither
    sampled nor evaluated, so there is no log-likelihood. The KL divergence depends on α alone, up to a constant; its
    approximation is that of Molchanov et al. (their eq. 14, error below 0.01 nat), shifted to 0 for α → ∞.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions to start from.
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

    def __init__(self, z_dim: int, threshold: float = 0.2) -> None:
        super().__init__(z_dim)
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
        scale = (0.5 * self.log_alpha).exp() * h.abs() + 1e-6
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
        log_alpha = self.log_alpha
        per_dimension = 0.5 * F.softplus(-log_alpha) + k1 * torch.sigmoid(-(k2 + k3 * log_alpha))
        return per_dimension.sum().expand(q.batch_shape)

    def prune(self, q: Independent[Any]) -> Independent[Any]:
        """The posterior with the dimensions that are switched off at zero."""
        if not self.kept.any():
            warn(f"no dimension has a dropout rate below threshold={self.threshold}: z is zero; train for longer")
        loc, scale = q.base_dist.loc, q.base_dist.scale
        return independent(Normal(loc * self.kept, scale.where(self.kept, 1e-6), validate_args=False))


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
