"""Whether what a model generates in different views is of one kind, as classifiers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from manyview.estimator import Estimator, ViewNames
from manyview.metrics.queries import (
    Estimate,
    check_labels,
    check_names,
    expected_views,
    find_subsets,
    generate,
    having,
    mean_estimate,
    read_samples,
    seeds,
)
from manyview.validation import check_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coherence", "conditional_coherence", "joint_coherence"]

Array = np.ndarray

Classifiers = Mapping[str, Callable[[Array], Any] | Any]


@dataclass(frozen=True)
class Coherence:
    """Conditional coherence, of each subset of given views and each absent view.

    Parameters
    ----------
    table : DataFrame
        One row a subset and target: ``given`` (tuple of names), ``n_given``, ``target``, ``coherence`` (from 0 to 1),
        its ``standard_error`` over the samples, and the number of samples ``n``.
    """

    table: pd.DataFrame

    @property
    def by_size(self) -> pd.Series[float]:
        """The mean over subsets and targets for each number of given views."""
        return self.table.groupby("n_given")["coherence"].mean()


def conditional_coherence(
    model: Estimator,
    views: Any,
    labels: Any,
    classifiers: Classifiers,
    *,
    subsets: Sequence[ViewNames] | None = None,
    covariates: Any = None,
    n_samples: int | None = 1,
    random_state: Any = None,
) -> Coherence:
    r"""How often a view generated from others shows the class of the sample, to a classifier of that view.

    .. math:: \frac1n \sum_{i=1}^n \mathbb 1\big[ c_m(\hat x_{im}) = y_i \big], \qquad
        \hat x_{im} = \mathbb E[x_m \mid z_i], \quad z_i \sim q(z \mid x_{iS}), \quad m \notin S

    From 0 to 1; the accuracy of :math:`c_m` on real views is what can be reached, and what guessing reaches is chance.
    Each subset S of the views predicts each view outside S, over the samples that have all of S; private latents of
    generated views are drawn from their prior. Papers average over the subsets of each size: see
    :attr:`Coherence.by_size`.

    Parameters
    ----------
    model : Estimator
        A fitted model of at least two views.
    views : views
        The n samples, in any form that the model takes as one argument.
    labels : array-like of shape (n,)
        Their classes y.
    classifiers : dict of callable
        By view, what maps an array (n, \*shape), in the units of the data, to n labels; or a classifier with such a
        ``predict``. Views without one are given, but never targets.
    subsets : sequence of view names or of sequences of these, optional
        The subsets S; by default all but the empty and the full one.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples, if the model was fitted with such.
    n_samples : int or None, default 1
        Number of draws of z for each sample, over which coherence is averaged; None takes what ``predict`` answers
        instead. Of mixtures of experts that is a mean over components, which may be of no class at all.
    random_state : int, RandomState or None
        Seeds the draws; by default the model's own.

    Returns
    -------
    Coherence

    Raises
    ------
    ValueError
        If a classifier is of no view or its answer has another shape, or if a subset leaves no view to be a target.

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393

    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021 (subsets).
    https://arxiv.org/abs/2105.02470

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.load_digits()[:300]
    >>> digit = views["label"].argmax(1)
    >>> model = mv.MVAE(z_dim=8, max_epochs=20, random_state=0, verbose=False).fit(views)
    >>> found = conditional_coherence(model, views, digit, {"label": lambda x: x.argmax(1)})
    >>> found.table[["given", "target", "n"]].values.tolist()
    [[('image',), 'label', 300]]
    """
    import pandas as pd

    samples = read_samples(model, views, covariates)
    y = check_labels(labels, len(samples), "labels")
    names = model.view_names_
    check_names(classifiers, names, "classifiers")
    rows: list[dict[str, Any]] = []
    chosen = find_subsets(model, subsets, proper=True)
    for subset, seed in zip(chosen, seeds(model, random_state, len(chosen)), strict=True):
        targets = [name for name in names if name not in subset and name in classifiers]
        if not targets:
            if subsets is not None:
                raise ValueError(f"subsets: {subset} leaves no view that has a classifier; leave this subset out")
            continue
        here = np.flatnonzero(having(samples, subset))
        hits = {name: np.zeros(len(here)) for name in targets}
        if len(here):
            answers = _generated(model, samples[here], subset, targets, n_samples, seed)
            for part, generated in answers:
                for name, draws in generated.items():
                    labelled = _classify(classifiers[name], draws.reshape(-1, *draws.shape[2:]), name)
                    hits[name][part] = (labelled.reshape(draws.shape[:2]) == y[here][part]).mean(axis=0)
        for name, hit in hits.items():
            value, error, n = mean_estimate(hit)
            rows.append(
                {"given": subset, "n_given": len(subset), "target": name, "coherence": value}
                | {"standard_error": error, "n": n}
            )
    if not rows:
        raise ValueError("no view that has a classifier can be predicted from others: the model has one view alone")
    return Coherence(pd.DataFrame(rows))


def joint_coherence(
    model: Estimator,
    classifiers: Classifiers,
    *,
    n_samples: int = 1000,
    covariates: Any = None,
    random_state: Any = None,
) -> Estimate:
    r"""How often the views that are generated together, from nothing, are all of one class to their classifiers.

    .. math:: P\big( c_1(\hat x_1) = \dots = c_M(\hat x_M) \big), \qquad
        \hat x_m = \mathbb E[x_m \mid z, h_m], \quad z \sim p(z), \quad h_m \sim p(h_m)

    From 0 to 1, over the views that have a classifier.

    Parameters
    ----------
    model : Estimator
        A fitted model that draws samples.
    classifiers : dict of callable
        By view, for at least two: see :func:`conditional_coherence`.
    n_samples : int, default 1000
        Number of draws; with covariates, as many as these have rows.
    covariates : DataFrame, dict or array, optional
        The covariates of the new samples, if the model was fitted with such.
    random_state : int, RandomState or None
        Seeds the draws; by default the model's own.

    Returns
    -------
    Estimate
        The share, its standard error over the draws, and their number.

    References
    ----------
    Y. Shi, N. Siddharth, B. Paige, P. H. S. Torr, "Variational mixture-of-experts autoencoders for multi-modal deep
    generative models", NeurIPS 2019. https://arxiv.org/abs/1911.03393

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> sign = {name: lambda x: x[:, 0] > 0 for name in views.names}
    >>> joint_coherence(model, sign, n_samples=50).n
    50
    """
    check_names(classifiers, model.view_names_, "classifiers", fewest=2)
    n = None if covariates is not None else check_count("n_samples", n_samples)
    generated = model.sample(n, covariates=covariates, expected=True, random_state=random_state)
    found = np.stack([_classify(c, generated.array(name), name) for name, c in classifiers.items()])
    return mean_estimate((found == found[0]).all(axis=0).astype(float))


def _generated(model: Estimator, samples: Any, given: Any, targets: list[str], n_samples: int | None, seed: int) -> Any:
    """Pairs of rows and, by view, what is generated for them, (K, rows, *shape)."""
    if n_samples is None:
        expected = expected_views(model, samples, given, targets)
        return [(slice(None), {name: x[None] for name, x in expected.items()})]
    return generate(model, samples, given, targets, check_count("n_samples", n_samples), seed, expected=True)


def _classify(classifier: Any, x: Array, view: str) -> Shaped[Array, " n"]:
    labels = np.asarray(getattr(classifier, "predict", classifier)(x))
    if labels.shape != (len(x),):
        raise ValueError(
            f"classifiers[{view!r}] answers with shape {labels.shape} to {len(x)} samples; it must give one label for "
            "each, such as scores.argmax(1)"
        )
    return labels
