"""Multi-view adversarial autoencoder."""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Gt

from manyview.adversary import Adversary, Discriminator
from manyview.models.adversarial import Adversarial

__all__ = ["MAAE"]


@final
class MAAE(Adversarial):
    r"""Multi-view adversarial autoencoder: a discriminator holds the codes of all views to the prior.

    .. math:: \mathcal L = -\frac{1}{M^2} \sum_{s=1}^M \sum_{m=1}^M \lVert x_m - d_m(f_s(x_s)) \rVert_2^2
        + \beta\, \Big( \frac1M \sum_{s=1}^M \log D(f_s(x_s)) - \mathbb E_{z \sim p(z)} [\log D(z)] \Big)

    .. math:: \max_D\; \mathbb E_{z \sim p(z)} [\log D(z)]
        + \frac1M \sum_{s=1}^M \mathbb E_{x_s} [\log(1 - D(f_s(x_s)))]

    The codes :math:`z_s = f_s(x_s)` have no noise. Encoders and decoders maximise the first line, the discriminator D
    the second, in turn. At their balance the codes of all views together are distributed as the prior p(z) = N(0, I),
    so that new samples can be drawn; nothing makes the codes of a single view so. As usual, encoders maximise log D
    rather than minimise log(1 - D), which has the same fixed point and steeper slopes; with ``saturating=True`` they do
    as the tutorial's eq. 33 has it, where "D(p(z))" is to be read as D(z), z ~ p(z). The expectation under the prior
    in the first line is no matter of the encoders: with it, the bracket is 0 where codes cannot be told from the prior
    and negative where the best discriminator can.

    Where views are missing, the sums run over the pairs (s, m) that are present, and M counts the views present.
    ``transform`` returns the mean of the codes of the views that are given, ``predict`` the mean of what they
    reconstruct. There is no likelihood: ``score_samples`` is the first line, with ``n_samples`` draws of the prior.

    The loss against an adversary that learns does not tell when codes have reached the prior: training takes all of
    ``max_epochs``, whatever ``patience``, and keeps the weights of the last epoch.

    **Choose it** for codes that fill a known distribution without a bound on a likelihood. Choose
    :class:`~manyview.models.MWAE` if the balance is hard to keep, and a variational model for uncertainty. Many more
    dimensions than the data have are hard to fill: then give the discriminator more steps.

    **What goes wrong:** The game may not settle: encoders that lag behind leave codes outside of the prior, and a
    discriminator that lags behind lets them be anywhere, so that samples drawn from the prior decode to nothing
    sensible. Compare the mean and covariance of ``transform`` with 0 and I; if they differ, change
    ``n_discriminator_steps``, ``beta`` or the learning rates. The codes of one view alone need not fill the prior.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean; with another than the squared error, the first term is a log-likelihood.
    beta : float, default 1.0
        Weight of the encoders' part in the game; 1 is the tutorial's.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    discriminator : str, dict, Module or callable, default "mlp"
        The network of D, from (rows, Z) to (rows, 1), such as ``{"hidden": [64, 64]}``.
    discriminator_learning_rate : float, optional
        Step size of D's optimiser; ``learning_rate`` when not given.
    n_discriminator_steps : int, default 2
        Steps of the discriminator for each step of the encoders, on the same samples and new draws of the prior.
        Goodfellow et al. take 1; with 2, codes of ten dimensions came closer to the prior.
    saturating : bool, default False
        Whether encoders minimise log(1 - D).
    optimizer : str, default "RMSprop"
        The optimiser of both sides. It has no momentum: with Adam's, codes circled around the prior where they had more
        dimensions than the data have factors.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014.
    https://arxiv.org/abs/1406.2661

    A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow, B. Frey, "Adversarial autoencoders", ICLR workshop 2016.
    https://arxiv.org/abs/1511.05644

    A. Lawry Aguila, A. Altmann, "A tutorial on multi-view autoencoders using the multi-view-AE library", 2024, eq.
    32-34. https://arxiv.org/abs/2403.07456

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.MAAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> model.fit(train).sample(3)
    Views(n=3, view_0=(10,), view_1=(8,))
    >>> z = model.transform(train)
    >>> z.shape, model.predict(test, given="view_0", target="view_1")["view_1"].shape
    ((200, 2), (100, 8))
    >>> bool(abs(z.mean()) < 1)
    True
    """

    n_discriminator_steps: Annotated[int, Gt(0)] = 2
    saturating: bool = False

    def adversary(self) -> Adversary:
        return Discriminator(
            self.z_dim,
            self.discriminator,
            n_steps=self.n_discriminator_steps,
            learning_rate=self.discriminator_learning_rate,
            saturating=self.saturating,
        )
