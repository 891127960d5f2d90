"""Multi-channel variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from manyview.data.batch import Batch
from manyview.fusion import Fusion, MoE
from manyview.latent import Latent
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, elbo

__all__ = ["MCVAE"]


@final
class MCVAE(GaussianVariational):
    r"""Multi-channel variational autoencoder: each view has its own latent, and each latent generates every view.

    .. math:: \mathcal L = \sum_{s=1}^M \Big( \mathbb E_{q(z_s \mid x_s)} \Big[ \sum_{m=1}^M \log p(x_m \mid z_s) \Big]
        - \beta\, \mathrm{KL}\big(q(z_s \mid x_s) \,\Vert\, p(z)\big) \Big)

    The latents are coordinated rather than joint: reconstructing the other views is what makes them agree.
    ``transform`` returns the mean of the given views' posterior means, ``predict`` the mean of their reconstructions.
    With missing views, both sums run over the views that are present.

    With ``sparse=True`` the posteriors are those of variational dropout,
    :math:`q(z_i \mid x) = \mathcal N(\mu_i, \alpha_i \mu_i^2)` under a log-uniform prior, and dimensions whose dropout
    rate exceeds ``threshold`` are zero after training: start with a generous ``z_dim`` and read how many are needed
    from ``kept_dimensions_``. Dropout rates start at one half and fall slowly, so train for long; with linear
    networks, as in the paper (``{"hidden": ()}``), the dimensions are the easiest to read. That prior is improper:
    there is no log-likelihood and there are no samples.

    **Choose it** to relate heterogeneous views that are all of interest, to predict each from each, and (sparse) to
    find the dimension. Choose :class:`~manyview.models.MVAE` when evidence from several views should add up.

    **What goes wrong:** Each view must explain all the others by itself, so that a view that knows little reconstructs
    poorly, and pulls the shared decoders towards averages; what it has to itself takes up dimensions that the others
    cannot fill. With ``sparse=True`` dropout rates move after everything else has been learned, so that early stopping
    ends training before (``validation_fraction=0`` and enough ``max_epochs`` mend that), and with non-linear networks
    one factor may be spread over several dimensions.

    Parameters
    ----------
    sparse : bool, default False
        Whether dimensions are switched off by variational dropout.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off (the paper's choice); used when sparse.
    beta : float, default 1.0
        Weight of the divergences.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    dropout_rate_ : ndarray
        The dropout rate of each latent dimension, (Z,); when sparse.
    kept_dimensions_ : ndarray
        The indices of the dimensions that are on; when sparse.

    References
    ----------
    L. Antelmi, N. Ayache, P. Robert, M. Lorenzi, "Sparse multi-channel variational autoencoder for the joint analysis
    of heterogeneous data", ICML 2019. https://proceedings.mlr.press/v97/antelmi19a.html

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> linear = {"encoder": {"hidden": ()}, "decoder": {"hidden": ()}, "learning_rate": 0.02}
    >>> model = mv.MCVAE(z_dim=4, sparse=True, max_epochs=200, patience=None, random_state=0, verbose=False, **linear)
    >>> len(model.fit(views).kept_dimensions_)  # of four dimensions, two are needed
    2
    >>> model.dropout_rate_.shape
    (4,)
    >>> plain = mv.MCVAE(z_dim=2, max_epochs=20, random_state=0, verbose=False).fit(views)
    >>> plain.sample(3)
    Views(n=3, view_0=(10,), view_1=(8,))
    """

    def latent(self) -> Latent:
        return self.normal_latent()

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        return MoE()

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        q = network.experts(batch)
        active = None if batch.present is None else batch.present.T
        return elbo(network.reconstruction(q.rsample(), batch), network.latent.kl(q), beta=beta, active=active)
