"""Data sets: real ones, and simulations whose truth is known."""

from manyview.datasets.real import fetch_mfeat, load_digits
from manyview.datasets.simulated import LinearGaussian, make_linear_gaussian, make_multiview

__all__ = ["LinearGaussian", "fetch_mfeat", "load_digits", "make_linear_gaussian", "make_multiview"]
