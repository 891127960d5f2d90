"""Joint multimodal variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

from annotated_types import Ge
from torch.distributions import kl_divergence

from manyview.data.batch import Batch
from manyview.fusion import Fusion, Joint
from manyview.latent import Latent, map_parameters
from manyview.messages import warn
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.nn import NetworkSpec
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["JMVAE"]


@final
class JMVAE(GaussianVariational):
    r"""Joint multimodal variational autoencoder: one encoder of all views together, and one of each view to match it.

    .. math:: p(X, z) = p(z) \prod_{m=1}^M p(x_m \mid z), \qquad q(z \mid X) = q(z \mid x_1, \dots, x_M)

    .. math:: \mathcal L = \mathbb E_{q(z \mid X)} \Big[ \sum_{m=1}^M \log p(x_m \mid z) \Big]
        - \beta\, \mathrm{KL}\big(q(z \mid X) \,\Vert\, p(z)\big)
        - \alpha \sum_{m=1}^M \mathrm{KL}\big(q(z \mid X) \,\Vert\, q(z \mid x_m)\big)

    The first two terms are the evidence lower bound of the joint posterior, the paper's JMVAE; with the third it is
    JMVAE-kl. This holds z from the joint posterior in every term, as the paper does; where the tutorial of the
    multi-view-AE library prints expectations under :math:`q(z \mid x_m)`, the joint posterior is meant. The paper has
    two views, this class any number; with a single one, its encoder is the joint one and there is no third term.

    Missing views in training: the joint encoder reads zeros in place of their features, beside flags that say which
    views are there (:class:`~manyview.nn.JointEncoder`); both sums run over the views that are present.

    In prediction, samples with all views have the joint posterior. A sample with one view has :math:`q(z \mid x_m)`,
    which training makes the best normal approximation of the joint posteriors that may go with that :math:`x_m`. With
    several, the views' independence given z is used: their posteriors are multiplied, and the prior, which each has
    counted, is divided out again (:class:`~manyview.fusion.Joint`).

    With ``alpha=0`` there are no encoders of single views, and the joint one answers for every subset. It has learned
    to do so only as far as the training data lack views themselves: do not use it for predicting views from each other
    if they were complete.

    **Choose it** when views interact, so that a product of their posteriors, as in :class:`~manyview.models.MVAE`, is
    too simple for the joint one, and most samples are complete. The joint encoder sees each of the many patterns of
    missing views as another input: with scattered gaps in many views, choose a product of experts.

    **What goes wrong:** The larger α, the better the single-view posteriors, and the worse the joint one, which is made
    wide enough for them to follow: the joint log-likelihood falls as coherence rises. Divergences in this direction
    make single-view posteriors cover all that the other views might add, so that their means blur. For subsets of three
    or more views the quotient of posteriors is a rough answer where these are far from normal.

    Parameters
    ----------
    alpha : float, default 0.1
        Weight of the divergences from the joint posterior to those of single views. The larger, the better they match,
        the more the joint posterior gives up what a single view cannot tell. The paper varies it between 0.01 and 1.
    joint_encoder : str, dict, Module or callable, default "auto"
        The network that makes the joint posterior of the features that each view's part of the joint encoder, a network
        as ``encoder`` says, has found: a specification like those of ``encoder``. "auto" is an MLP.
    beta : float, default 1.0
        Weight of the divergence from the prior; 1 gives the evidence lower bound, minus the third term.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0; α is the same throughout, as in the authors' code.
    sparse : bool, default False
        Whether dimensions are switched off by variational dropout, as in :class:`~manyview.models.MCVAE`. Take
        ``alpha=0`` with it: the scale of a sparse posterior vanishes where its mean changes sign, and the third term
        has no finite expectation, so that little is learned. Products are then plain ones, since no normal prior has
        been counted.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off; used when ``sparse``.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    M. Suzuki, K. Nakayama, Y. Matsuo, "Joint multimodal learning with deep generative models", 2016.
    https://arxiv.org/abs/1611.01891

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.JMVAE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> model.transform(test).shape, model.transform(test, given="view_1").shape
    ((100, 2), (100, 2))
    >>> bool(model.score(test) < 0)
    True
    """

    fewest_views = 2

    alpha: Annotated[float, Ge(0)] = 0.1
    joint_encoder: NetworkSpec = "auto"

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        unimodal = self.alpha > 0
        if unimodal and self.sparse:
            warn(f"sparse=True with alpha={self.alpha}: little is learned, see the docstring; take alpha=0 with it")
        return Joint(self.joint_encoder, unimodal=unimodal, prior_expert=not self.sparse)

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        experts = network.experts(batch)
        q = map_parameters(experts, lambda _, value: value[-1])
        bound = elbo(network.reconstruction(q.rsample((1,)), batch), network.latent.kl(q).unsqueeze(0), beta=beta)
        if not network.fusion.unimodal:
            return bound
        kl = kl_divergence(q, map_parameters(experts, lambda _, value: value[:-1]))
        if batch.present is not None:
            kl = kl * batch.present.T
        return Terms(bound.value - self.alpha * kl.sum(0), {**bound.parts, "kl_unimodal": kl})
