r"""What a decoder's output means: the likelihoods p(x_m | z) of a view x_m.

A decoder ends in a linear layer and gives eta. The likelihood owns the link from there: the density of the
data, their mean and a draw. The leading axes of eta, written L below, are free: sources, samples of z, none.
An object made by its constructor is a specification; :meth:`Likelihood.build` makes its parameters.
"""

from __future__ import annotations

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyview.imports import import_object
from manyview.messages import closest

__all__ = [
    "LIKELIHOODS",
    "MSE",
    "Bernoulli",
    "Categorical",
    "Laplace",
    "Likelihood",
    "MultivariateNormal",
    "Normal",
    "as_likelihood",
    "detect_likelihood",
]

AnyLikelihood = TypeVar("AnyLikelihood", bound="Likelihood")

_LOG_2 = math.log(2)
_HALF_LOG_2_PI = math.log(2 * math.pi) / 2


class Likelihood(nn.Module, ABC):
    """A view's likelihood p(x | eta), given the decoder's linear output eta.

    A likelihood of your own states ``continuous``, ``_make_parameters``, ``log_prob``, ``mean``, ``sample``
    and ``check``, and keeps each constructor argument, a plain value, as an attribute of the same name.

    Attributes
    ----------
    continuous : bool
        Whether x is real valued; such views are standardised by default.
    normalised : bool
        Whether ``log_prob`` is a log density, comparable with those of other likelihoods.
    shape : tuple of int or None
        The shape of one sample's features; None until built.
    """

    continuous: ClassVar[bool]
    normalised: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.shape: tuple[int, ...] | None = None

    def build(self: AnyLikelihood, shape: Sequence[int]) -> AnyLikelihood:
        """Return a copy with its parameters made for features of this shape; self stays as it is.

        Parameters
        ----------
        shape : sequence of int
            The shape of one sample's features, such as (D,) or (C, H, W).

        Returns
        -------
        Likelihood
            A deep copy, built. Initial values that are random come from torch's global generator.

        Raises
        ------
        ValueError
            If the shape is empty, holds a dimension below 1, or does not suit the likelihood.
        """
        shape = tuple(int(size) for size in shape)
        if not shape or min(shape) < 1:
            raise ValueError(
                f"shape must be one or more positive integers, such as (10,) or (1, 28, 28), but is {shape}; "
                "give a view of scalars one column"
            )
        built = copy.deepcopy(self)
        built.shape = shape
        built._make_parameters(shape)
        return built

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments: ``type(self)(**settings)`` rebuilds the specification."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def extra_repr(self) -> str:
        """Return the settings as they are written in a call."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings().items())

    def _require_built(self) -> tuple[int, ...]:
        if self.shape is None:
            raise RuntimeError(f"{self!r} is only a specification; call build(shape) and use what it returns")
        return self.shape

    @property
    def _axes(self) -> tuple[int, ...]:
        """The axes of the features, counted from the end."""
        return tuple(range(-len(self._require_built()), 0))

    @abstractmethod
    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        """Make what belongs to features of this shape, or refuse it with a ValueError."""

    @abstractmethod
    def log_prob(
        self,
        eta: Float[Tensor, "..."],
        x: Float[Tensor, "B *shape"],
        observed: Bool[Tensor, "B *shape"] | None = None,
    ) -> Float[Tensor, "*L B"]:
        r"""Return log p(x | eta) of each sample: nats, summed over the features.

        Parameters
        ----------
        eta : Tensor
            The decoder's output, (\*L, B, \*shape).
        x : Tensor
            Data, (B, \*shape).
        observed : Tensor of bool, optional
            Which entries of x are known, (B, \*shape); the others, which hold any finite filler, are
            integrated out. None when all are known.

        Returns
        -------
        Tensor
            (\*L, B); exactly 0 where nothing of a sample is observed.
        """

    @abstractmethod
    def mean(self, eta: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return E[x | eta], in the shape of eta."""

    @abstractmethod
    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return one draw x ~ p(x | eta), shaped as eta; torch's global generator serves if none is given."""

    @abstractmethod
    def check(self, x: np.ndarray, view: str) -> None:
        r"""Raise a ValueError naming the view if data x (n, \*shape) leave the support; NaN is missing."""


class _Factorised(Likelihood):
    """Features are independent given eta: the masking and the sum over features, once for all of them."""

    @abstractmethod
    def _log_density(
        self, eta: Float[Tensor, "..."], x: Float[Tensor, "B *shape"]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "*shape"]]:
        r"""Return the two terms of each log density: of x and eta (\*L, B, \*shape), of neither (\*shape)."""

    def log_prob(
        self,
        eta: Float[Tensor, "..."],
        x: Float[Tensor, "B *shape"],
        observed: Bool[Tensor, "B *shape"] | None = None,
    ) -> Float[Tensor, "*L B"]:
        r"""Return the sum over the (observed) features of log p(x_d | eta_d), (\*L, B), nats."""
        axes = self._axes
        if observed is None:
            kernel, constant = self._log_density(eta, x)
            return kernel.sum(axes) + constant.sum()
        o = observed.to(x.dtype)  # products, because selecting by a boolean mask is several times slower
        kernel, constant = self._log_density(eta, x * o)
        return (kernel * o).sum(axes) + (constant * o).sum(axes)


class _Real(Likelihood):
    """Any real number is possible, and eta is the mean."""

    continuous = True

    def mean(self, eta: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return eta: the link is the identity."""
        return eta

    def check(self, x: np.ndarray, view: str) -> None:
        """Accept every real number."""


class _Scaled(_Real):
    """One scale per feature, learned or fixed."""

    rho: Tensor
    fixed_sigma: Tensor

    def __init__(self, scale: float | int = 1.0, learn_scale: bool = True, min_scale: float | int = 0.01) -> None:
        super().__init__()
        self.scale = _number("scale", scale)
        self.min_scale = _number("min_scale", min_scale)
        if not isinstance(learn_scale, bool | np.bool_):
            raise TypeError(f"learn_scale must be True or False, but is {learn_scale!r}")
        self.learn_scale = bool(learn_scale)
        if self.scale <= 0:
            raise ValueError(f"scale must be above 0, but is {scale!r}; 1.0 is the scale of standardised data")
        if self.min_scale < 0:
            raise ValueError(f"min_scale must be 0 or more, but is {min_scale!r}; 0 sets no floor")
        if self.learn_scale and self.scale <= self.min_scale:
            raise ValueError(
                f"scale, where learning starts, must be above min_scale, but scale={scale!r} and "
                f"min_scale={min_scale!r}; lower min_scale, or fix the scale with learn_scale=False"
            )

    def _make_scale(self, shape: tuple[int, ...]) -> None:
        if self.learn_scale:
            self.rho = nn.Parameter(torch.full(shape, math.log(self.scale - self.min_scale)))
        else:
            self.register_buffer("fixed_sigma", torch.full(shape, self.scale))

    @property
    def sigma(self) -> Float[Tensor, "*shape"]:
        r"""The scale of each feature, (\*shape)."""
        self._require_built()
        return self.min_scale + self.rho.exp() if self.learn_scale else self.fixed_sigma


class Normal(_Factorised, _Scaled):
    r"""Independent normal features with mean eta and a scale per feature that all samples share.

    .. math:: \log p(x \mid \eta) = -\sum_d \left[ \frac{(x_d - \eta_d)^2}{2 \sigma_d^2} + \log \sigma_d
        + \tfrac12 \log 2\pi \right], \qquad \sigma_d = \sigma_\min + e^{\rho_d}

    Parameters
    ----------
    scale : float, default 1.0
        The initial standard deviation, in units of the (standardised) data.
    learn_scale : bool, default True
        Whether rho learns. If not, sigma stays at ``scale`` and ``min_scale`` has no part in it.
    min_scale : float, default 0.01
        The floor of a learned sigma: without one, a feature that is fitted perfectly has unbounded density.

    Raises
    ------
    TypeError
        If an argument is not of its type.
    ValueError
        If ``scale`` is not positive, ``min_scale`` is negative, or a learned scale starts at its floor.

    Examples
    --------
    >>> likelihood = Normal(scale=0.5, learn_scale=False).build((2,))
    >>> likelihood.log_prob(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]))
    tensor([-0.9516])
    """

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        self._make_scale(shape)

    def _log_density(
        self, eta: Float[Tensor, "..."], x: Float[Tensor, "B *shape"]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "*shape"]]:
        sigma = self.sigma
        error = F.mse_loss(eta, x.expand_as(eta), reduction="none")  # fused: one temporary
        return error * (-0.5 / sigma.square()), -sigma.log() - _HALF_LOG_2_PI

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return eta + sigma * noise."""
        return eta + self.sigma * torch.empty_like(eta).normal_(generator=generator)


class Laplace(_Factorised, _Scaled):
    r"""Independent Laplace features: an absolute error, for data with outliers.

    .. math:: \log p(x \mid \eta) = -\sum_d \left[ \frac{|x_d - \eta_d|}{\sigma_d} + \log 2 \sigma_d \right],
        \qquad \sigma_d = \sigma_\min + e^{\rho_d}

    Parameters
    ----------
    scale : float, default 1.0
        The initial sigma, in units of the (standardised) data: the mean absolute deviation, the standard
        deviation divided by sqrt(2).
    learn_scale : bool, default True
        Whether rho learns. If not, sigma stays at ``scale`` and ``min_scale`` has no part in it.
    min_scale : float, default 0.01
        The floor of a learned sigma.

    Raises
    ------
    TypeError
        If an argument is not of its type.
    ValueError
        If ``scale`` is not positive, ``min_scale`` is negative, or a learned scale starts at its floor.

    Examples
    --------
    >>> likelihood = Laplace(scale=0.5, learn_scale=False).build((2,))
    >>> likelihood.log_prob(torch.zeros(1, 2), torch.tensor([[1.0, -0.5]]))
    tensor([-3.])
    """

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        self._make_scale(shape)

    def _log_density(
        self, eta: Float[Tensor, "..."], x: Float[Tensor, "B *shape"]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "*shape"]]:
        sigma = self.sigma
        error = F.l1_loss(eta, x.expand_as(eta), reduction="none")
        return error * (-1 / sigma), -sigma.log() - _LOG_2

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return eta + sigma * noise; the difference of two exponential variables is a Laplace variable."""
        plus, minus = (torch.empty_like(eta).exponential_(generator=generator) for _ in range(2))
        return eta + self.sigma * (plus - minus)


class MultivariateNormal(_Scaled):
    r"""Correlated normal features: mean eta and a covariance, diagonal plus low rank, that all samples share.

    .. math:: p(x \mid \eta) = \mathcal{N}\left(x; \eta, \operatorname{diag}(\sigma^2) + W W^\top\right),
        \qquad \sigma_d = \sigma_\min + e^{\rho_d}

    With the whitened residual e = (x - eta) / sigma, V = W / sigma and C = I + V'V, only C, (rank, rank), is
    factorised:

    .. math:: -2 \log p(x \mid \eta) = \|e - V u\|^2 + \|u\|^2 + \log |C| + \sum_d \log 2 \pi \sigma_d^2,
        \qquad u = C^{-1} V^\top e

    Missing features leave e, V and the sum. Features of any shape count as one vector of D features.

    Parameters
    ----------
    rank : int, default 0
        The number of columns of W (D, rank), which always learns; with 0 this is :class:`Normal`.
    scale : float, default 1.0
        The initial sigma, in units of the (standardised) data.
    learn_scale : bool, default True
        Whether rho learns. If not, sigma stays at ``scale`` and ``min_scale`` has no part in it.
    min_scale : float, default 0.01
        The floor of a learned sigma.

    Raises
    ------
    TypeError
        If an argument is not of its type.
    ValueError
        If ``rank`` or ``min_scale`` is negative, ``scale`` is not positive, or a learned scale starts at its
        floor.

    References
    ----------
    D. B. Rubin, D. T. Thayer, "EM algorithms for ML factor analysis", Psychometrika 47, 1982.
    https://doi.org/10.1007/BF02293851

    Examples
    --------
    >>> likelihood = MultivariateNormal(rank=1).build((2,))
    >>> with torch.no_grad():
    ...     _ = likelihood.W.copy_(torch.ones(2, 1))  # the covariance is now [[2, 1], [1, 2]]
    >>> likelihood.log_prob(torch.zeros(1, 2), torch.tensor([[1.0, 1.0]])).item()
    -2.720516...
    """

    W: Tensor

    def __init__(
        self, rank: int = 0, scale: float | int = 1.0, learn_scale: bool = True, min_scale: float | int = 0.01
    ) -> None:
        super().__init__(scale, learn_scale, min_scale)
        if not isinstance(rank, int | np.integer) or isinstance(rank, bool):
            raise TypeError(f"rank must be an integer, but is {rank!r}")
        if rank < 0:
            raise ValueError(f"rank must be 0 or more, but is {rank!r}; 0 gives a diagonal covariance")
        self.rank = int(rank)

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        self._make_scale(shape)
        # Small, so that sigma starts as the scale asked for, but not zero, where the gradient vanishes.
        W = torch.randn(math.prod(shape), self.rank) * (0.1 * self.scale / math.sqrt(max(self.rank, 1)))
        if self.rank:
            self.W = nn.Parameter(W)
        else:
            self.register_buffer("W", W, persistent=False)

    def log_prob(
        self,
        eta: Float[Tensor, "..."],
        x: Float[Tensor, "B *shape"],
        observed: Bool[Tensor, "B *shape"] | None = None,
    ) -> Float[Tensor, "*L B"]:
        r"""Return the log density of the observed features' marginal, (\*L, B), nats."""
        features = self._axes[0]
        with torch.autocast(eta.device.type, enabled=False):  # half precision is too coarse for C
            sigma = self.sigma.flatten()
            whiten = 1 / sigma  # products are cheaper than quotients, backwards above all
            V = self.W * whiten[:, None]
            e = (x - eta).flatten(features) * whiten
            constant = sigma.log() + _HALF_LOG_2_PI
            if observed is None:
                VV = V.mT @ V
            else:
                o = observed.flatten(features).to(V.dtype)
                e, constant = e * o, constant * o
                VV = torch.einsum("bd,dr,ds->brs", o, V, V)
            C = VV + torch.eye(self.rank, dtype=V.dtype, device=V.device)
            root: Tensor = torch.linalg.cholesky(C)
            u = ((e @ V).unsqueeze(-2) @ torch.cholesky_inverse(root)).squeeze(-2)
            residual = e - u @ V.mT
            if observed is not None:
                residual = residual * o
            half_log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + constant.sum(-1)
            # Two squares rather than e'e - u'Cu, which cancels badly where W is large beside sigma.
            return -0.5 * (residual.square().sum(-1) + u.square().sum(-1)) - half_log_det

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return eta + sigma * noise + W u, with u standard normal."""
        u = eta.new_empty(*eta.shape[: self._axes[0]], self.rank).normal_(generator=generator)
        noise = torch.empty_like(eta).normal_(generator=generator)
        return eta + self.sigma * noise + (u @ self.W.mT).reshape(eta.shape)


class MSE(_Factorised, _Real):
    r"""The negative squared error: not a normalised density.

    .. math:: \log p(x \mid \eta) := -\sum_d (x_d - \eta_d)^2

    The plain reconstruction loss of autoencoders, and the "Default" of multi-view-AE. It is a :class:`Normal`
    of variance 1/2 up to the constant D/2 log(pi), so its values do not compare with those of other
    likelihoods. A sample is the mean.

    References
    ----------
    A. Lawry Aguila, A. Altmann, "A tutorial on multi-view autoencoders using the multi-view-AE library",
    2024, equation (4). https://arxiv.org/abs/2403.07456

    Examples
    --------
    >>> MSE().build((2,)).log_prob(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]))
    tensor([-5.])
    """

    normalised = False

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        pass

    def _log_density(
        self, eta: Float[Tensor, "..."], x: Float[Tensor, "B *shape"]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "*shape"]]:
        return -F.mse_loss(eta, x.expand_as(eta), reduction="none"), x.new_zeros(x.shape[1:])

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return a copy of the mean: an error that is no density has no noise to draw."""
        return eta.clone()


class Bernoulli(_Factorised):
    r"""Independent binary features, with eta the logit of the probability of a 1.

    .. math:: \log p(x \mid \eta) = \sum_d \left[ x_d \log s(\eta_d) + (1 - x_d) \log(1 - s(\eta_d)) \right],
        \qquad s(\eta) = 1 / (1 + e^{-\eta})

    Grey values x in [0, 1] are allowed and give the negative cross-entropy, as is usual for images; it is a
    normalised density for values in {0, 1} only.

    References
    ----------
    G. Loaiza-Ganem, J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders", NeurIPS 2019. https://arxiv.org/abs/1907.06845

    Examples
    --------
    >>> likelihood = Bernoulli().build((3,))
    >>> likelihood.log_prob(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]]))  # 3 log(1/2)
    tensor([-2.0794])
    >>> likelihood.mean(torch.zeros(1, 3))
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    continuous = False

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        pass

    def _log_density(
        self, eta: Float[Tensor, "..."], x: Float[Tensor, "B *shape"]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "*shape"]]:
        cross_entropy = F.binary_cross_entropy_with_logits(eta, x.expand_as(eta), reduction="none")
        return -cross_entropy, x.new_zeros(x.shape[1:])

    def mean(self, eta: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the probabilities of a 1."""
        return eta.sigmoid()

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return zeros and ones."""
        return torch.bernoulli(eta.sigmoid(), generator=generator)

    def check(self, x: np.ndarray, view: str) -> None:
        """Accept values in [0, 1]."""
        outside = (x < 0) | (x > 1)
        if outside.any():
            where = np.unravel_index(outside.argmax(), x.shape)
            raise ValueError(
                f"likelihood of view {view!r}: bernoulli needs values in [0, 1], but found {x[where]:g} "
                f"at row {where[0]}; rescale the view or choose likelihood={{{view!r}: 'normal'}}"
            )


class Categorical(Likelihood):
    r"""One class of D, one-hot encoded, with eta the logits.

    .. math:: \log p(x \mid \eta) = \sum_d x_d \eta_d - \log \sum_d e^{\eta_d}

    Where entries of x are missing, the class is known if one that is observed is 1, and otherwise it is one
    of those missing: the first sum becomes the log-sum-exp over these.

    Examples
    --------
    >>> likelihood = Categorical().build((4,))
    >>> likelihood.log_prob(torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))  # log(1/4)
    tensor([-1.3863])
    >>> likelihood.mean(torch.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    continuous = False

    def _make_parameters(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 1:
            raise ValueError(
                f"categorical needs one-hot rows, features of shape (classes,), but the shape is {shape}; "
                "flatten the view or choose another likelihood"
            )

    def log_prob(
        self,
        eta: Float[Tensor, "..."],
        x: Float[Tensor, "B *shape"],
        observed: Bool[Tensor, "B *shape"] | None = None,
    ) -> Float[Tensor, "*L B"]:
        r"""Return the log probability of the class, or of all classes still possible, (\*L, B), nats."""
        if observed is None:
            return (eta * x).sum(self._axes) - eta.logsumexp(self._axes)
        known = observed & (x == 1)
        possible = torch.where(known.any(-1, keepdim=True), known, ~observed)
        return eta.masked_fill(~possible, -torch.inf).logsumexp(self._axes) - eta.logsumexp(self._axes)

    def mean(self, eta: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the probabilities of the classes."""
        return eta.softmax(-1)

    def sample(self, eta: Float[Tensor, "*any"], generator: torch.Generator | None = None) -> Float[Tensor, "*any"]:
        """Return one-hot rows."""
        gumbel = -torch.empty_like(eta).exponential_(generator=generator).log()
        return F.one_hot((eta + gumbel).argmax(-1), eta.shape[-1]).to(eta.dtype)

    def check(self, x: np.ndarray, view: str) -> None:
        """Accept one-hot rows (n, classes)."""
        advice = f"one-hot encode the classes or choose another likelihood={{{view!r}: ...}}"
        if x.ndim != 2:
            raise ValueError(
                f"likelihood of view {view!r}: categorical needs one-hot rows, an array (n, classes), "
                f"but its shape is {x.shape}; {advice}"
            )
        wrong = ~_is_one_hot(x)
        if wrong.any():
            i = wrong.argmax()
            row = x[i][~np.isnan(x[i])]
            strange = row[(row != 0) & (row != 1)]
            found = f"found {strange[0]:g} at row {i}" if strange.size else f"row {i} sums to {row.sum():g}"
            raise ValueError(
                f"likelihood of view {view!r}: categorical needs one-hot rows, one 1 and else 0, but {found}; {advice}"
            )


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "multivariate_normal": MultivariateNormal,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "mse": MSE,
    "default": MSE,  # its name in multi-view-AE
}


def as_likelihood(spec: object) -> Likelihood:
    """Return the likelihood that a specification in any of its forms means.

    Parameters
    ----------
    spec : str, Likelihood or mapping
        A name in ``LIKELIHOODS``; an object, which is returned as it is; a mapping
        ``{"name": name, **settings}`` or ``{"_target_": "package.module.Class", **settings}``.

    Returns
    -------
    Likelihood
        Not yet built, unless a built object was given.

    Raises
    ------
    TypeError
        If the specification has none of these forms.
    ValueError
        If a name or a setting is unknown, or a target is not a Likelihood that can be imported.

    Examples
    --------
    >>> as_likelihood("bernoulli")
    Bernoulli()
    >>> as_likelihood({"name": "normal", "scale": 0.75})
    Normal(scale=0.75, learn_scale=True, min_scale=0.01)
    """
    if isinstance(spec, Likelihood):
        return spec
    settings = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else None
    if settings is None:
        raise TypeError(
            "a likelihood is given by name, as an object such as Normal(), or as a mapping such as "
            f"{{'name': 'normal', 'scale': 0.5}}, but got {spec!r}"
        )
    if ("name" in settings) == ("_target_" in settings):
        raise ValueError(
            f"a likelihood's mapping needs either 'name' or '_target_', such as "
            f"{{'name': 'normal', 'scale': 0.5}}, but got {spec!r}"
        )
    if "_target_" in settings:
        label = settings.pop("_target_")
        kind = _import_likelihood(label)
    else:
        label = settings.pop("name")
        if label not in LIKELIHOODS:
            raise ValueError(f"unknown likelihood {label!r}{closest(label, LIKELIHOODS)}")
        kind = LIKELIHOODS[label]
    known = inspect.signature(kind).parameters
    for key in settings:
        if key not in known:
            raise ValueError(f"likelihood {label!r} has no setting {key!r}{closest(key, known)}")
    return kind(**settings)


def detect_likelihood(x: np.ndarray) -> str:
    r"""Return the name of the likelihood that suits the data (NaN is missing).

    One-hot rows are "categorical", other data of zeros and ones "bernoulli", all else "normal".

    Parameters
    ----------
    x : ndarray
        One view, (n, \*shape).

    Returns
    -------
    str
        A name in ``LIKELIHOODS``.

    Examples
    --------
    >>> [detect_likelihood(np.array(x)) for x in ([[0, 1], [1, 0]], [[0, 1], [1, 1]], [[0, 1], [1, 2]])]
    ['categorical', 'bernoulli', 'normal']
    """
    missing = np.isnan(x)
    zero, one = x == 0, x == 1
    if not (zero | one | missing).all():
        return "normal"
    if x.ndim == 2 and x.shape[1] >= 2 and (~missing).all(1).any() and _is_one_hot(x).all():
        return "categorical"
    return "bernoulli" if zero.any() and one.any() else "normal"


def _is_one_hot(x: np.ndarray) -> np.ndarray:
    """Whether each row of x (n, D) is one-hot, or can be once its missing entries are known; (n,)."""
    missing = np.isnan(x)
    ones = (x == 1).sum(1)
    binary = ((x == 0) | (x == 1) | missing).all(1)
    return np.asarray(binary & ((ones == 1) | (ones == 0) & missing.any(1)))


def _number(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but is {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, but is {value!r}")
    return float(value)


def _import_likelihood(path: object) -> type[Likelihood]:
    try:
        found = import_object(path)
    except ValueError as error:
        raise ValueError(
            f"the likelihood's _target_ {path!r} cannot be imported ({error}); "
            "give the full path of a class, such as 'manyview.likelihoods.Normal'"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Likelihood)):
        raise ValueError(
            f"the likelihood's _target_ {path!r} is not a likelihood; give the full path of a subclass of "
            "manyview.likelihoods.Likelihood"
        )
    return found
