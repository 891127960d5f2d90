"""Deep canonically correlated autoencoders."""

from __future__ import annotations

from typing import Annotated, final

from annotated_types import Gt

from manyview.cca import total_correlation
from manyview.data.batch import Batch
from manyview.models.canonical import Canonical
from manyview.network import Network
from manyview.objectives import Scalar, Terms

__all__ = ["DCCAE"]


@final
class DCCAE(Canonical):
    r"""Deep canonically correlated autoencoders: codes that correlate, and reconstruct their own views.

    .. math:: \mathcal L = \sum_{m < n} \sum_{i=1}^Z \rho_i\big(f_m(X_m), f_n(X_n)\big)
        - \frac{\lambda}{N} \sum_{j=1}^N \sum_{m=1}^M \big\lVert x_m^j - d_m(f_m(x_m^j)) \big\rVert_2^2

    The first term is that of :class:`~manyview.models.DCCA`, where batches, missing views, the linear CCA after
    training, and ``score_samples`` are described; the errors are of the views that are present. The left side of the
    tutorial's eq. 8, "DCCA", is to be read as DCCAE.

    **Choose it** rather than DCCA when samples are few, since reconstruction regularises, or when what a view does not
    share matters as well: more so with a larger λ. Errors are summed over features: with hundreds of them, and λ = 1,
    little is left of the correlations.

    **What goes wrong:** The two terms have different scales: correlations are at most Z, errors grow with the number of
    features, so that a λ that is right for one table is far too large for another, and the correlations vanish. Try
    powers of ten. What is said of samples, dimensions and batches in :class:`~manyview.models.DCCA` holds here too.

    Parameters
    ----------
    reconstruction_weight : float, default 1e-3
        The weight λ of the reconstruction; 0.001 is the paper's choice for noisy MNIST.
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean; with another than the squared error, the second term is a log-likelihood.
    regularisation : float, default 1e-4
        The r that is added to the variances of the codes; 1e-4 is the paper's choice.
    condition : {"both", "encoder", "decoder"}, default "decoder"
        Which networks get the covariates. Encoders that do make codes of them, which correlate perfectly.
    batch_size : int, "auto" or "full", default "auto"
        Samples in an optimiser step: with "auto" all below 5,000, and 5,000 otherwise.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    correlations_ : ndarray
        The canonical correlations of the training codes in each dimension of z, (Z,); means over the pairs of views.

    References
    ----------
    W. Wang, R. Arora, K. Livescu, J. Bilmes, "On deep multi-view representation learning", ICML 2015.
    https://proceedings.mlr.press/v37/wangb15.html

    W. Wang, R. Arora, K. Livescu, J. Bilmes, "On deep multi-view representation learning: objectives and
    optimization", 2016. https://arxiv.org/abs/1602.01024

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.DCCAE(z_dim=2, reconstruction_weight=0.01, max_epochs=30, random_state=0, verbose=False)
    >>> bool(model.fit(train).correlations_[0] > 0.5)
    True
    >>> first, second = model.predict_latents(test)  # canonical codes of samples that it has not seen
    >>> first.shape, second.shape
    ((100, 2), (100, 2))
    >>> model.predict(test, given="view_0", target="view_0")["view_0"].shape
    (100, 10)
    """

    reconstruction_weight: Annotated[float, Gt(0)] = 1e-3

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        z = network.experts(batch).mean
        correlation = total_correlation(z, batch.present, self.regularisation).expand(len(batch))
        log_lik = network.self_reconstruction(z, batch)
        value = correlation + self.reconstruction_weight * log_lik.sum(0)
        return Terms(value, {"correlation": correlation, "log_lik": log_lik})
