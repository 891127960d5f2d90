"""Data sets: real ones, and simulations whose truth is known."""

from manyview.datasets.real import load_digits
from manyview.datasets.simulated import LinearGaussian, make_linear_gaussian, make_multiview

__all__ = ["LinearGaussian", "load_digits", "make_linear_gaussian", "make_multiview"]
