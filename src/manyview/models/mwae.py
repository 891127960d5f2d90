"""Multi-view adversarial autoencoder with the Wasserstein distance."""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Ge, Gt

from manyview.adversary import Adversary, WassersteinCritic
from manyview.models.adversarial import Adversarial

__all__ = ["MWAE"]


@final
class MWAE(Adversarial):
    r"""Multi-view adversarial autoencoder with a Wasserstein loss: a critic of bounded slope holds codes to the prior.

    .. math:: \mathcal L = -\frac{1}{M^2} \sum_{s=1}^M \sum_{m=1}^M \lVert x_m - d_m(f_s(x_s)) \rVert_2^2
        + \beta\, \Big( \frac1M \sum_{s=1}^M C(f_s(x_s)) - \mathbb E_{z \sim p(z)} [C(z)] \Big)

    .. math:: \max_C\; \mathbb E_{z \sim p(z)} [C(z)] - \frac1M \sum_{s=1}^M \mathbb E_{x_s} [C(f_s(x_s))]
        - \lambda\, \mathbb E_{\hat z} \big[ \max(0, \lVert \nabla C(\hat z) \rVert_2 - 1)^2 \big]

    As :class:`~manyview.models.MAAE`, with a critic C in place of the discriminator. With slopes of at most 1, its
    objective is the Wasserstein distance between the prior p(z) = N(0, I) and the codes of all views together, which
    has a useful gradient even where the two do not overlap, and the bracket is minus that distance. The slope is
    bounded by the gradient penalty with weight λ, at points between codes and draws of the prior, or, with ``clip``, by
    clipping the critic's weights; each part of the tutorial's eq. 35 is with respect to its own networks.

    Where views are missing, the sums run over the pairs (s, m) that are present, and M counts the views present.
    There is no likelihood: ``score_samples`` is the first line, with ``n_samples`` draws of the prior.

    Training takes all of ``max_epochs``, whatever ``patience``, and keeps the weights of the last epoch.

    **Choose it** over :class:`~manyview.models.MAAE` for stable training; an epoch takes about three times as long.

    **What goes wrong:** A critic that is behind gives gradients of no use: give it more steps or a higher learning rate
    if the codes' mean and covariance stay away from 0 and I. With ``clip``, the slopes that it can have depend on its
    depth and width, and are soon far too small or large; the penalty is easier to set. With momentum in the optimiser
    training may swing.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean; with another than the squared error, the first term is a log-likelihood.
    beta : float, default 1.0
        Weight of the encoders' part in the game; 1 is the tutorial's.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    discriminator : str, dict, Module or callable, default "mlp"
        The network of C, from (rows, Z) to (rows, 1), such as ``{"hidden": [64, 64]}``.
    discriminator_learning_rate : float, optional
        Step size of C's optimiser; ``learning_rate`` when not given.
    n_critic_steps : int, default 5
        Steps of the critic for each step of the encoders, on the same samples and new draws of the prior; Arjovsky et
        al. and Gulrajani et al. take 5.
    gradient_penalty : float, default 10.0
        The weight λ; 10 is the choice of Gulrajani et al. Give 0 to clip weights instead.
    one_sided : bool, default True
        Whether the penalty is for slopes above 1 alone, as Petzka et al. have it. That of Gulrajani et al.,
        :math:`(\lVert \nabla C \rVert_2 - 1)^2`, is for all others than 1: where codes are distributed as the prior
        the best critic is flat, which it does not allow, so that codes are pushed to and fro for as long as training
        lasts.
    clip : float, optional
        The largest absolute value of the critic's weights, such as the 0.01 of Arjovsky et al.; not clipped by default.
    optimizer : str, default "RMSprop"
        The optimiser of both sides; it is the choice of Arjovsky et al., who found momentum to make training unstable.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein generative adversarial networks", ICML 2017.
    https://arxiv.org/abs/1701.07875

    I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville, "Improved training of Wasserstein GANs", NeurIPS
    2017. https://arxiv.org/abs/1704.00028

    H. Petzka, A. Fischer, D. Lukovnikov, "On the regularization of Wasserstein GANs", ICLR 2018.
    https://arxiv.org/abs/1709.08894

    A. Lawry Aguila, A. Altmann, "A tutorial on multi-view autoencoders using the multi-view-AE library", 2024, eq.
    35-36. https://arxiv.org/abs/2403.07456

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MWAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> model.fit(train).sample(3)
    Views(n=3, view_0=(10,), view_1=(8,))
    >>> z = model.transform(train)
    >>> z.shape, model.predict(test, given="view_0", target="view_1")["view_1"].shape
    ((200, 2), (100, 8))
    >>> bool(abs(z.mean()) < 1)
    True
    """

    n_critic_steps: Annotated[int, Gt(0)] = 5
    gradient_penalty: Annotated[float, Ge(0)] = 10.0
    one_sided: bool = True
    clip: Annotated[float, Gt(0)] | None = None

    def adversary(self) -> Adversary:
        return WassersteinCritic(
            self.z_dim,
            self.discriminator,
            n_steps=self.n_critic_steps,
            learning_rate=self.discriminator_learning_rate,
            gradient_penalty=self.gradient_penalty,
            one_sided=self.one_sided and self.clip is None,
            clip=self.clip,
        )
