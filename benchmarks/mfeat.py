"""Every model against PCA on the UCI Multiple Features: how well does its z tell ten digits apart?

Six views of 2,000 numerals, 70 % of them to train on. z of all views, and of three of them alone, goes to five nearest
neighbours; PCA is of all standardised features side by side, in as many dimensions. Settings other than the common ones
were chosen on a part of the training samples; early stopping watches a tenth of them.

    python benchmarks/mfeat.py [Model ...]        (MANYVIEW_DATA names a folder with the data, if it is at hand)
"""

import sys
import time
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import manyview as mv

Z_DIM = 10
SETTINGS = {"z_dim": Z_DIM, "max_epochs": 150, "patience": 30, "random_state": 0, "verbose": False}
OWN = {
    "MMVAE": {"n_importance_samples": 1, "posterior": "normal", "max_epochs": 60},
    "MMVAEPlus": {"n_importance_samples": 1, "posterior": "normal", "h_dim": 2, "max_epochs": 60},
    "DVCCA": {"reference": "fac", "max_epochs": 80},
    "DCCA": {"max_epochs": 300},
    "DCCAE": {"max_epochs": 300},
}


def accuracy(z_train, z_test, labels_train, labels_test):
    neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    return neighbours.fit(z_train, labels_train).score(z_test, labels_test)


def main(names):
    views, labels = mv.datasets.fetch_mfeat(return_labels=True)
    train, test = train_test_split(np.arange(len(views)), test_size=0.3, stratify=labels, random_state=0)
    features = np.hstack([views.array(name) for name in views.names])
    pca = make_pipeline(StandardScaler(), PCA(Z_DIM, random_state=0)).fit(features[train])
    baseline = KNeighborsClassifier(5).fit(pca.transform(features[train]), labels[train])
    reference = baseline.score(pca.transform(features[test]), labels[test])
    print(f"{'':14} all views  three views  seconds")
    print(f"{'PCA':14} {reference:9.3f}")
    some = list(views.names[:3])
    for name in names:
        model = getattr(mv, name)(**{**SETTINGS, **OWN.get(name, {})})
        start = time.perf_counter()
        model.fit(views[train])
        seconds = time.perf_counter() - start
        z = model.transform(views[train])
        found = accuracy(z, model.transform(views[test]), labels[train], labels[test])
        partly = accuracy(z, model.transform(views[test], given=some), labels[train], labels[test])
        print(f"{name:14} {found:9.3f}  {partly:11.3f}  {seconds:7.1f}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:] or [Model.__name__ for Model in mv.models.MODELS])
