"""How well the latents tell classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyview.estimator import Estimator, ViewNames
from manyview.messages import closest
from manyview.metrics.queries import check_labels, codes, find_subsets, having, mean_estimate, read_samples, seeds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["latent_classification"]


def latent_classification(
    model: Estimator,
    train: Any,
    train_labels: Any,
    test: Any,
    test_labels: Any,
    *,
    classifier: Any = "knn",
    subsets: Sequence[ViewNames] | None = None,
    train_covariates: Any = None,
    test_covariates: Any = None,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""The accuracy of a classifier of the latents, for each subset of views that they are inferred from.

    .. math:: \frac1n \sum_{i=1}^n \mathbb 1\big[ c_S\big( \mathbb E_{q(z \mid x_{iS})}[z] \big) = y_i \big]

    over the test samples that have all the views of S. The classifier :math:`c_S` is trained on the latents of the
    training samples that have them. From 0 to 1; ``baseline`` is the accuracy of always answering with the class that
    is most frequent in training.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    train, test : views
        The samples to train the classifier on and to test it on, each in any form that the model takes as one argument.
    train_labels, test_labels : array-like of shape (n,)
        Their classes.
    classifier : {"knn", "logistic"} or scikit-learn classifier, default "knn"
        The five nearest neighbours, or a linear probe: logistic regression on standardised latents. Another one is
        cloned for each subset.
    subsets : sequence of view names or of sequences of these, optional
        The subsets S; by default all but the empty one.
    train_covariates, test_covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    random_state : int, RandomState or None
        Seeds a classifier that is given by name; by default the model's own.

    Returns
    -------
    DataFrame
        One row a subset: ``given`` (tuple of names), ``n_given``, ``accuracy``, its ``standard_error`` over the test
        samples, ``baseline``, and the numbers of samples ``n_train`` and ``n``.

    Raises
    ------
    ValueError
        If the classifier is unknown, or no training sample has the views of a subset.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021.
    https://arxiv.org/abs/2105.02470

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.load_digits()[:400]
    >>> digit = views["label"].argmax(1)
    >>> model = mv.MVAE(z_dim=8, max_epochs=20, random_state=0, verbose=False).fit(views[:300])
    >>> latent_classification(model, views[:300], digit[:300], views[300:], digit[300:])["given"].tolist()
    [('image',), ('label',), ('image', 'label')]
    """
    import pandas as pd
    from sklearn.base import clone

    training = read_samples(model, train, train_covariates, "train_covariates")
    testing = read_samples(model, test, test_covariates, "test_covariates")
    y = check_labels(train_labels, len(training), "train_labels")
    truth = check_labels(test_labels, len(testing), "test_labels")
    (seed,) = seeds(model, random_state, 1)
    rows = []
    for subset in find_subsets(model, subsets, proper=False):
        here, there = np.flatnonzero(having(training, subset)), np.flatnonzero(having(testing, subset))
        if not len(here):
            raise ValueError(f"no training sample has all of {subset}; leave this subset out of subsets")
        found: dict[str, Any] = {"given": subset, "n_given": len(subset)}
        hit = same = np.zeros(0)
        if len(there):
            probe = _classifier(classifier, len(here), seed) if isinstance(classifier, str) else clone(classifier)
            probe.fit(codes(model, training[here], subset)[0], y[here])
            hit = (probe.predict(codes(model, testing[there], subset)[0]) == truth[there]).astype(float)
            classes, counts = np.unique(y[here], return_counts=True)
            same = (truth[there] == classes[counts.argmax()]).astype(float)
        found["accuracy"], found["standard_error"], n = mean_estimate(hit)
        rows.append(found | {"baseline": mean_estimate(same).value, "n_train": len(here), "n": n})
    return pd.DataFrame(rows)


def _classifier(name: str, n: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifiers = {
        "knn": lambda: KNeighborsClassifier(min(5, n)),
        "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed)),
    }
    if name not in classifiers:
        raise ValueError(f"classifier={name!r} is unknown{closest(name, classifiers)}, or a scikit-learn classifier")
    return classifiers[name]()
