"""Hyperparameters from YAML files, the library's own and those of the multi-view-AE library, and back into files."""

from manyview.config.building import build_section
from manyview.config.loading import find_model, model_names, register_models
from manyview.config.reading import read_config
from manyview.config.writing import default_config, print_config, save_config, to_config

__all__ = [
    "build_section",
    "default_config",
    "find_model",
    "model_names",
    "print_config",
    "read_config",
    "register_models",
    "save_config",
    "to_config",
]
