"""Data sets: real ones, simulations whose truth is known, and views that go missing."""

from manyview.datasets.missing import remove
from manyview.datasets.mnist import BinarisedDataset, binary_mnist, fetch_mnist, mnist_halves
from manyview.datasets.poly import polymnist
from manyview.datasets.real import fetch_mfeat, load_breast_cancer_views, load_digits, load_nutrimouse
from manyview.datasets.simulated import LinearGaussian, make_linear_gaussian, make_multiview

__all__ = [
    "BinarisedDataset",
    "LinearGaussian",
    "binary_mnist",
    "fetch_mfeat",
    "fetch_mnist",
    "load_breast_cancer_views",
    "load_digits",
    "load_nutrimouse",
    "make_linear_gaussian",
    "make_multiview",
    "mnist_halves",
    "polymnist",
    "remove",
]
