"""Multi-view autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.estimator import LikelihoodSpec
from manyview.fusion import Fusion, MoE
from manyview.latent import Latent, Point
from manyview.models.deterministic import Deterministic
from manyview.network import Network
from manyview.objectives import Scalar, Terms, cross_reconstruction

__all__ = ["AE"]


@final
class AE(Deterministic):
    r"""Multi-view autoencoder: each view's code reconstructs every view.

    .. math:: \mathcal L = -\frac{1}{M^2} \sum_{s=1}^M \sum_{m=1}^M \lVert x_m - d_m(f_s(x_s)) \rVert_2^2

    The codes :math:`z_s = f_s(x_s)` have no noise and no prior. Every code learns to reconstruct every view, which
    makes codes of the same sample alike; ``transform`` returns the mean of the codes of the views that are given, and
    ``predict`` the mean of what these codes reconstruct. Where views are missing, the sums run over the pairs (s, m)
    that are present, and M counts the views that are present.

    **Choose it** as a baseline, or for codes with no assumption about their distribution. It cannot draw samples and
    states no likelihood: ``score_samples`` is the objective above.

    **What goes wrong:** Nothing holds the codes together or in place: their scale is free, a code between those of two
    samples may decode to nothing sensible, and with many dimensions the noise of the training data is learned by heart.
    Take fewer dimensions and watch the held-out loss; take :class:`~manyview.models.MCVAE` when codes are to be
    compared with a distribution.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean; see :class:`~manyview.estimator.Estimator`, which describes all the parameters
        that models share. With another than the squared error, the objective is the mean log-likelihood.

    References
    ----------
    A. Lawry Aguila, A. Altmann, "A tutorial on multi-view autoencoders using the multi-view-AE library", 2024, eq. 4.
    https://arxiv.org/abs/2403.07456

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.AE(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> model.fit(train).transform(test, given="view_0").shape
    (100, 2)
    >>> found = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")
    >>> bool(found.by_view["r2"].item() > 0.3)
    True
    >>> codes = model.predict_latents(test)  # one code of each view
    >>> len(codes), codes[0].shape
    (2, (100, 2))
    """

    likelihood: LikelihoodSpec = "mse"

    def latent(self) -> Latent:
        return Point(self.z_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return MoE()

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        z = network.experts(batch).mean
        return cross_reconstruction(network.reconstruction(z, batch), batch.present)

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The objective of each sample: codes have no noise to average over."""
        return self.objective(network, batch, 1.0).value
