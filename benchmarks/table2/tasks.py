"""The data sets of the benchmark: what models are trained on, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import manyview as mv
from benchmarks.table2.networks import digit_classifier
from manyview.datasets import BinarisedDataset, binary_mnist, fetch_mfeat, fetch_mnist, polymnist

Measures = dict[str, Any]

# Samples that the classifiers of images are trained on, which are to be the same whatever the models get.
CLASSIFIED = 40_000


@dataclass(frozen=True)
class Task:
    """What a model is trained on, and what its measures need."""

    train: Any
    known: Any  # training samples whose latents a classifier learns from
    known_labels: np.ndarray
    test: Any
    test_labels: np.ndarray
    classifiers: Mapping[str, Any]
    accuracies: Mapping[str, float]  # of the classifiers, on the real test data
    seen: tuple[str, ...]  # the views from which latents are classified: none that is the class itself
    others: Mapping[str, Any] = field(default_factory=dict)  # further data whose log-likelihood is of interest

    def measure(self, model: mv.Estimator, *, n_draws: int, quickly: bool = False) -> Measures:
        """Everything that is measured of a model; `quickly` the log-likelihood alone."""
        found: Measures = {}
        if model.has_likelihood:
            for name, views in {"log_likelihood": self.test, **({} if quickly else self.others)}.items():
                found |= _log_likelihood(name, model, views, n_draws)
        if quickly:
            return found
        coherence = mv.metrics.conditional_coherence(
            model, self.test, self.test_labels, self.classifiers, random_state=0
        )
        table = coherence.table.assign(given=coherence.table["given"].map(",".join))
        found["coherence"] = {int(size): float(value) for size, value in coherence.by_size.items()}
        found["coherence_mean"] = float(table["coherence"].mean())
        if len(model.view_names_) == 2:
            pairs = table[["given", "target", "coherence"]].itertuples(index=False)
            found |= {f"coherence {given} to {target}": float(value) for given, target, value in pairs}
        found |= self.neighbours(model)
        return found | {f"classifier of {name}": value for name, value in self.accuracies.items()}

    def neighbours(self, model: mv.Estimator) -> Measures:
        """How well nearest neighbours tell the classes apart: of the latents, and of as many principal components."""
        accuracy = mv.metrics.latent_classification(
            model, self.known, self.known_labels, self.test, self.test_labels, subsets=[self.seen], random_state=0
        )
        return {
            "knn_accuracy": float(accuracy["accuracy"].iloc[0]),
            "knn_accuracy of PCA": self._accuracy_of_pca(model.z_dim),
        }

    def _accuracy_of_pca(self, n_dimensions: int) -> float:
        """The accuracy of nearest neighbours of as many principal components of all features side by side."""
        train, test = (
            np.hstack([views.array(name).reshape(len(views), -1) for name in self.seen])
            for views in (self.known, self.test)
        )
        pca = PCA(min(n_dimensions, *train.shape), random_state=0)
        neighbours = make_pipeline(StandardScaler(), pca, KNeighborsClassifier(5))
        return float(neighbours.fit(train, self.known_labels).score(test, self.test_labels))


def _log_likelihood(name: str, model: mv.Estimator, views: Any, n_draws: int) -> Measures:
    found = mv.metrics.log_likelihood(model, views, n_samples=n_draws, random_state=0)
    return {
        name: found.value,
        f"{name}, standard error": found.standard_error,
        f"{name}, gap": found.gap,
        f"{name}, effective samples": found.effective_samples,
    }


def load(folder: Path, *, name: str, **settings: Any) -> Task:
    """The task of this name; what takes long to make is kept in a folder."""
    return TASKS[name](folder, **settings)


def _binary_mnist(folder: Path, n_train: int | None = None, n_test: int | None = None) -> Task:
    """Images in black and white, drawn anew in each epoch, and their labels; grey values beside, as others use them."""
    train = BinarisedDataset(fetch_mnist()[:n_train], random_state=0)
    test, grey = binary_mnist(split="test")[:n_test], fetch_mnist(split="test")[:n_test]
    known = binary_mnist()[: min(10_000, n_train or 10_000)]
    every = binary_mnist()[:CLASSIFIED]
    labels = test["label"].argmax(1)
    classify, accuracy = digit_classifier(
        every["image"], every["label"].argmax(1), test["image"], labels, folder / "binary_mnist.safetensors"
    )
    classifiers: dict[str, Callable[[np.ndarray], np.ndarray]] = {"image": classify, "label": lambda x: x.argmax(1)}
    return Task(
        train,
        known,
        known["label"].argmax(1),
        test,
        labels,
        classifiers,
        {"image": accuracy},
        ("image",),
        {"log_likelihood of grey values": grey},
    )


def _polymnist(folder: Path, n_train: int | None = None, n_test: int | None = None, size: int = 28) -> Task:
    """Five images of one digit. The backgrounds are not those of the original archive, unless that is at hand."""
    every, every_label = polymnist(n_samples=max(CLASSIFIED, n_train or 60_000))
    test, test_labels = polymnist(split="test", n_samples=n_test)
    every, test = _shrunk(every, size), _shrunk(test, size)
    train, labels = every[:n_train], every_label[:n_train]
    classifiers, accuracies = {}, {}
    for name in train.names:
        classifiers[name], accuracies[name] = digit_classifier(
            every.array(name)[:CLASSIFIED],
            every_label[:CLASSIFIED],
            test.array(name),
            test_labels,
            folder / f"polymnist-{size}-{name}.safetensors",
        )
    known = slice(0, min(10_000, len(train)))
    return Task(train, train[known], labels[known], test, test_labels, classifiers, accuracies, train.names)


def _shrunk(views: mv.Views, size: int) -> mv.Views:
    """Smaller images, whose pixels are means of those of the originals."""
    k = 28 // size
    if k == 1:
        return views
    images = ((name, views.array(name)) for name in views.names)
    return mv.Views({name: x.reshape(len(x), 3, size, k, size, k).mean(axis=(3, 5)) for name, x in images})


def _mfeat(folder: Path) -> Task:
    """Six sets of features of 2,000 numerals, 70 % of them to train on."""
    views, labels = fetch_mfeat(return_labels=True)
    train, test = train_test_split(np.arange(len(views)), test_size=0.3, stratify=labels, random_state=0)
    classifiers, accuracies = {}, {}
    for name in views.names:
        # With as many features as samples allow, a little shrinkage; the features of one view are collinear.
        classifier = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01))
        classifiers[name] = classifier.fit(views.array(name)[train], labels[train])
        accuracies[name] = float(classifier.score(views.array(name)[test], labels[test]))
    parts = (views[train], views[train], labels[train], views[test], labels[test])
    return Task(*parts, classifiers, accuracies, views.names)


TASKS = {"binary_mnist": _binary_mnist, "polymnist": _polymnist, "mfeat": _mfeat}
