"""Deep canonical correlation analysis."""

from __future__ import annotations

from typing import final

from manyview.cca import total_correlation
from manyview.data.batch import Batch
from manyview.models.canonical import Canonical
from manyview.network import Network
from manyview.objectives import Scalar, Terms, beside

__all__ = ["DCCA"]


@final
class DCCA(Canonical):
    r"""Deep canonical correlation analysis: codes of the views that correlate as highly as possible.

    .. math:: \mathcal L = \sum_{m < n} \sum_{i=1}^Z \rho_i\big(f_m(X_m), f_n(X_n)\big)
        = \sum_{m < n} \big\lVert (S_{mm} + r I)^{-1/2}\, S_{mn}\, (S_{nn} + r I)^{-1/2} \big\rVert_*

    with S the covariances of the codes in a batch, and :math:`\rho_i` their canonical correlations; with two views this
    is the objective of Andrew et al., more are the sum over pairs. It is a function of a whole batch, biased upwards in
    small ones: by default all samples are one batch if there are fewer than 5,000, and a batch must have at least
    2 Z. After training, linear CCA is fitted to the codes of the training data, as in the paper: each dimension of a
    view's canonical code has variance one, and correlates with the same dimension of the other views alone, in the
    order of ``correlations_``. ``transform`` returns the mean of the canonical codes of the views that are given.

    The objective needs no decoders. So that views can be predicted from one another, each has a decoder that is
    trained beside it, on codes that are held fixed, to reconstruct its own view: that changes neither the objective's
    value nor the encoders.

    Where views are missing, each pair is computed on the samples that have both, which should be as many as a batch
    needs; a view that meets no other is refused. There is no likelihood: ``score_samples`` is how well the canonical
    codes of a sample agree, :math:`\sum_{m < n} z_m \cdot z_n`, whose mean over the training data is the sum of the
    correlations.

    **Choose it** for what views have in common and nothing else. Correlations of the training data grow with Z and the
    size of the networks, whatever the views share: where samples are few take few dimensions, and judge by the
    correlations of new samples. Choose :class:`~manyview.models.DCCAE` or :class:`~manyview.models.DVCCA` when codes
    are to reconstruct the views as well.

    **What goes wrong:** Flexible networks correlate anything: with few samples, or many dimensions, the correlations of
    the training data are near 1 and mean nothing. Judge by those of new samples. Small batches bias the objective
    upwards, and one outlier can make a canonical direction of its own. What the codes leave out, which may be most of a
    view, no decoder brings back: predictions are poor by design.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean.
    regularisation : float, default 1e-4
        The r that is added to the variances of the codes; Wang et al. take 1e-4.
    condition : {"both", "encoder", "decoder"}, default "decoder"
        Which networks get the covariates. Encoders that do make codes of them, which correlate perfectly.
    batch_size : int, "auto" or "full", default "auto"
        Samples in an optimiser step: with "auto" all below 5,000, and 5,000 otherwise. With all of them, an epoch is
        one step: networks without hidden layers need a ``learning_rate`` of some 0.1 then.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    Attributes
    ----------
    correlations_ : ndarray
        The canonical correlations of the training codes in each dimension of z, (Z,); means over the pairs of views.

    References
    ----------
    G. Andrew, R. Arora, J. Bilmes, K. Livescu, "Deep canonical correlation analysis", ICML 2013.
    https://proceedings.mlr.press/v28/andrew13.html

    W. Wang, R. Arora, K. Livescu, J. Bilmes, "On deep multi-view representation learning", ICML 2015 (the settings).
    https://proceedings.mlr.press/v37/wangb15.html

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.DCCA(z_dim=2, max_epochs=30, random_state=0, verbose=False)
    >>> bool(model.fit(train).correlations_[0] > 0.5)
    True
    >>> first, second = model.predict_latents(test)  # canonical codes of samples that it has not seen
    >>> import numpy as np
    >>> bool(np.corrcoef(first[:, 0], second[:, 0])[0, 1] > 0.5)
    True
    >>> model.transform(test).shape
    (100, 2)
    """

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        z = network.experts(batch).mean
        correlation = total_correlation(z, batch.present, self.regularisation).expand(len(batch))
        log_lik = network.self_reconstruction(z.detach(), batch)
        return Terms(beside(correlation, log_lik.sum(0)), {"correlation": correlation})
