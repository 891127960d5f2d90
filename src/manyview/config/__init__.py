"""Hyperparameters from YAML files: the library's own, and those of the multi-view-AE library."""

from manyview.config.reading import read_config

__all__ = ["read_config"]
