r"""What holds codes without noise to the prior: a network that learns to tell codes from draws of the prior.

It is trained in turn with the encoders, which learn to fool it: ``n_steps`` steps that raise
:meth:`Adversary.objective`, each followed by :meth:`Adversary.after_step`, then one step of the encoders, whose
objective :meth:`Adversary.generator` is part of. Neither of the two has a gradient in what the other one trains.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from manyview.nn import NetworkSpec, build_encoder
from manyview.validation import check_count

__all__ = ["Adversary", "Discriminator", "WassersteinCritic"]


class Adversary(nn.Module, ABC):
    """A score of codes, high where the prior is likelier than the codes.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions Z.
    network : str, dict, Module or callable
        What makes a network from (rows, Z) to (rows, 1), with a linear output: see
        :func:`manyview.nn.build_encoder`.
    n_steps : int
        Steps of the adversary for each step of the encoders.
    learning_rate : float, optional
        The adversary's learning rate; that of the model when not given.

    Raises
    ------
    ValueError
        If a number is out of range, the network does not fit, or it has batch normalisation, with which the score of a
        code would depend on the other codes of its batch.
    TypeError
        If a number is not one.
    """

    def __init__(self, z_dim: int, network: NetworkSpec, n_steps: int, learning_rate: float | int | None) -> None:
        super().__init__()
        self.network = build_encoder(network, (z_dim,), 1, "discriminator")
        self.n_steps = check_count("n_steps", n_steps)
        self.learning_rate = None if learning_rate is None else _positive("learning_rate", learning_rate)
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.network.modules()):
            raise ValueError(
                "the score of a code must not depend on the other codes of its batch, as batch normalisation makes "
                "it; use norm='layer' or None"
            )

    def forward(self, z: Float[Tensor, "*L Z"]) -> Float[Tensor, "*L"]:
        """The score of each code."""
        score: Tensor = self.network(z.flatten(0, -2))
        return score.view(z.shape[:-1])

    def objective(
        self, codes: Float[Tensor, "M B Z"], prior: Float[Tensor, "M B Z"], present: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, " B"]:
        """What the adversary maximises, averaged over the views that each sample has.

        Parameters
        ----------
        codes : Tensor
            The codes of the views, (M, B, Z); no gradient reaches them.
        prior : Tensor
            As many draws of the prior, (M, B, Z).
        present : Tensor, optional
            Which views each sample has, (B, M); all when not given.

        Returns
        -------
        Tensor
            (B,); 0 for a sample without views.
        """
        return _mean_over_views(self._told_apart(codes.detach(), prior.detach()), present)

    def generator(
        self, codes: Float[Tensor, "M B Z"], present: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, " B"]:
        """What the encoders maximise to fool the adversary, averaged over the views that each sample has.

        Parameters
        ----------
        codes : Tensor
            The codes of the views, (M, B, Z); the gradient reaches them, and not the adversary's weights.
        present : Tensor, optional
            Which views each sample has, (B, M); all when not given.

        Returns
        -------
        Tensor
            (B,); 0 for a sample without views.
        """
        frozen = {name: weight.detach() for name, weight in self.named_parameters()}
        return _mean_over_views(self._fooled(functional_call(self, frozen, (codes,))), present)

    @abstractmethod
    def after_step(self) -> None:
        """Restore, in place, what must hold of the weights after each step of the adversary."""

    @abstractmethod
    def _told_apart(self, codes: Float[Tensor, "M B Z"], prior: Float[Tensor, "M B Z"]) -> Float[Tensor, "M B"]:
        """How well each code is told from its draw of the prior."""

    @abstractmethod
    def _fooled(self, score: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
        """How well a code with this score passes for a draw of the prior."""


@final
class Discriminator(Adversary):
    r"""The adversary of a generative adversarial network: the probability D(z) that z was drawn from the prior.

    .. math:: \frac1M \sum_{m=1}^M \min_{f_m} \max_D \mathbb E_{z \sim p(z)} [\log D(z)]
        + \mathbb E_{x_m} [\log(1 - D(f_m(x_m)))]

    The score is the logit of D. With q the distribution of the codes of all views together, the best discriminator is
    D = p / (p + q), where the objective is twice the Jensen-Shannon divergence of p and q, less log 4, in nats.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions Z.
    network : str, dict, Module or callable, default "mlp"
        What makes the network from (rows, Z) to (rows, 1), with a linear output; for instance
        ``{"hidden": [64, 64]}``: see :func:`manyview.nn.build_encoder`.
    n_steps : int, default 1
        Steps of the discriminator for each step of the encoders.
    learning_rate : float, optional
        The discriminator's learning rate; that of the model when not given.
    saturating : bool, default False
        Whether encoders minimise log(1 - D), as the equation has it. By default they maximise log D, which has the same
        fixed point, and whose gradient does not vanish where the discriminator is sure: Goodfellow et al., section 3.

    Raises
    ------
    ValueError, TypeError
        As in :class:`Adversary`.

    References
    ----------
    I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014.
    https://arxiv.org/abs/1406.2661

    A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow, B. Frey, "Adversarial autoencoders", ICLR workshop 2016.
    https://arxiv.org/abs/1511.05644

    Examples
    --------
    A discriminator that knows nothing has the value -log 4:

    >>> import torch
    >>> discriminator = Discriminator(2, {"hidden": []})
    >>> _ = [torch.nn.init.zeros_(weight) for weight in discriminator.parameters()]
    >>> codes, prior = torch.randn(2, 3, 5, 2)
    >>> discriminator.objective(codes, prior)
    tensor([-1.3863, -1.3863, -1.3863, -1.3863, -1.3863], grad_fn=...)
    """

    def __init__(
        self,
        z_dim: int,
        network: NetworkSpec = "mlp",
        *,
        n_steps: int = 1,
        learning_rate: float | int | None = None,
        saturating: bool = False,
    ) -> None:
        super().__init__(z_dim, network, n_steps, learning_rate)
        self.saturating = saturating

    def after_step(self) -> None:
        """Nothing is asked of the weights."""

    def _told_apart(self, codes: Float[Tensor, "M B Z"], prior: Float[Tensor, "M B Z"]) -> Float[Tensor, "M B"]:
        """Log D(prior) + log(1 - D(code))."""
        of_prior, of_codes = self(torch.stack([prior, codes]))
        return F.logsigmoid(of_prior) + F.logsigmoid(-of_codes)

    def _fooled(self, score: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
        """Log D, or -log(1 - D)."""
        return -F.logsigmoid(-score) if self.saturating else F.logsigmoid(score)


@final
class WassersteinCritic(Adversary):
    r"""The adversary of a Wasserstein network: a critic C(z) whose slope is bounded.

    .. math:: \frac1M \sum_{m=1}^M \max_C \mathbb E_{z \sim p(z)} [C(z)] - \mathbb E_{x_m} [C(f_m(x_m))]
        - \lambda\, \mathbb E_{\hat z} \big[ (\lVert \nabla C(\hat z) \rVert_2 - 1)^2 \big], \qquad
        \max_{f_m} \mathbb E_{x_m} [C(f_m(x_m))]

    Among the critics whose slope is nowhere above 1, the best one has the Wasserstein-1 distance of the prior and the
    codes of all views together as its value, in units of z. Two ways to bound the slope are at choice:

    - the gradient penalty, the default: slopes other than 1 are penalised at points :math:`\hat z` drawn evenly from
      the line between each code and its draw of the prior. Gulrajani et al. found λ = 10 to serve all their tasks;
    - weight clipping, the original: after each step of the critic, all its weights are put back into [-clip, clip];
      Arjovsky et al. took 0.01. The bound on the slope is then unknown, the distance known up to a factor only, and
      critics tend to be too simple.

    C is defined up to a constant, so that the encoders' objective has a meaning only as a difference.

    Parameters
    ----------
    z_dim : int
        Number of latent dimensions Z.
    network : str, dict, Module or callable, default "mlp"
        What makes the network from (rows, Z) to (rows, 1), with a linear output; for instance
        ``{"hidden": [64, 64]}``: see :func:`manyview.nn.build_encoder`.
    n_steps : int, default 5
        Steps of the critic for each step of the encoders; both papers take five.
    learning_rate : float, optional
        The critic's learning rate; that of the model when not given.
    gradient_penalty : float, default 10.0
        The weight λ of the gradient penalty; 0 switches it off, for weight clipping.
    one_sided : bool, default False
        Whether only slopes above 1 are penalised, :math:`\max(0, \lVert \nabla C \rVert - 1)^2`, which has no local
        optima in C. Choose it for one latent dimension: there, a critic that starts with the wrong sign would have to
        pass slope 0 to change it, and the penalty of λ at slope 0 may hold it back for good.
    clip : float, optional
        The largest absolute value of a weight; no clipping when not given.

    Raises
    ------
    ValueError
        As in :class:`Adversary`, or unless the slope is bounded in exactly one of the two ways.
    TypeError
        If a number is not one.

    References
    ----------
    M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein generative adversarial networks", ICML 2017.
    https://arxiv.org/abs/1701.07875

    I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville, "Improved training of Wasserstein GANs", NeurIPS
    2017. https://arxiv.org/abs/1704.00028

    H. Petzka, A. Fischer, D. Lukovnikov, "On the regularization of Wasserstein GANs", ICLR 2018 (the one-sided
    penalty). https://arxiv.org/abs/1709.08894

    Examples
    --------
    The best critic of codes that lie 3 below the prior has the value 3:

    >>> import torch
    >>> critic = WassersteinCritic(1, {"hidden": []})
    >>> _ = [torch.nn.init.ones_(weight) for weight in critic.parameters()]
    >>> prior = torch.tensor([[[0.0], [1.0]]])
    >>> critic.objective(prior - 3, prior)
    tensor([3., 3.], grad_fn=...)
    """

    def __init__(
        self,
        z_dim: int,
        network: NetworkSpec = "mlp",
        *,
        n_steps: int = 5,
        learning_rate: float | int | None = None,
        gradient_penalty: float | int = 10.0,
        one_sided: bool = False,
        clip: float | int | None = None,
    ) -> None:
        super().__init__(z_dim, network, n_steps, learning_rate)
        self.gradient_penalty = _positive("gradient_penalty", gradient_penalty, or_zero=True)
        self.clip = None if clip is None else _positive("clip", clip)
        self.one_sided = one_sided
        if (self.clip is None) == (self.gradient_penalty == 0):
            raise ValueError(
                f"gradient_penalty={gradient_penalty!r} and clip={clip!r}: the critic's slope is to be bounded in one "
                "way; give gradient_penalty=10.0 and clip=None, or gradient_penalty=0 and clip=0.01"
            )
        if one_sided and not self.gradient_penalty:
            raise ValueError("one_sided=True is about the gradient penalty, which gradient_penalty=0 switches off")

    @torch.no_grad()
    def after_step(self) -> None:
        """Clip the weights, if they are to be clipped."""
        if self.clip is not None:
            for weight in self.parameters():
                weight.clamp_(-self.clip, self.clip)

    def _told_apart(self, codes: Float[Tensor, "M B Z"], prior: Float[Tensor, "M B Z"]) -> Float[Tensor, "M B"]:
        """C(prior) - C(code), less the gradient penalty."""
        of_prior, of_codes = self(torch.stack([prior, codes]))
        gap: Tensor = of_prior - of_codes
        return gap - self.gradient_penalty * self._penalty(codes, prior) if self.gradient_penalty else gap

    def _penalty(self, codes: Float[Tensor, "M B Z"], prior: Float[Tensor, "M B Z"]) -> Float[Tensor, "M B"]:
        """(‖∇C‖ - 1)², or max(0, ‖∇C‖ - 1)², at a random point between each code and its draw of the prior."""
        trains = torch.is_grad_enabled()
        u = torch.rand_like(codes[..., :1])
        # The slope is part of the value, so that it takes a gradient even where none is asked for: in validation.
        with torch.inference_mode(False), torch.enable_grad():
            z = torch.lerp(codes, prior, u).requires_grad_()
            (slope,) = torch.autograd.grad(self(z).sum(), z, create_graph=trains)
        excess: Tensor = torch.linalg.vector_norm(slope, dim=-1) - 1
        return (excess.clamp(min=0) if self.one_sided else excess).square()

    def _fooled(self, score: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
        """C."""
        return score


def _mean_over_views(value: Float[Tensor, "M B"], present: Bool[Tensor, "B M"] | None) -> Float[Tensor, " B"]:
    """The mean over the views that are present."""
    if present is None:
        return value.mean(0)
    return (value * present.T).sum(0) / present.sum(1).clamp(min=1)


def _positive(name: str, value: object, *, or_zero: bool = False) -> float:
    """A finite positive number, or zero where that is allowed."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but is {value!r}")
    number = float(value)
    if not (math.isfinite(number) and (number > 0 or (or_zero and number == 0))):
        raise ValueError(f"{name} must be {'at least' if or_zero else 'above'} 0 and finite, but is {value!r}")
    return number
