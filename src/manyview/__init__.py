"""manyview: multi-view autoencoders in one place, in one notation, behind one interface."""

from importlib import import_module as _import_module
from typing import Any

from manyview import datasets, likelihoods, models, nn
from manyview.data.stored import Dataset, IndexMVDataset, MVDataset
from manyview.data.views import Views
from manyview.estimator import Estimator
from manyview.io import load
from manyview.models import (
    AE,
    DCCA,
    DCCAE,
    DMVAE,
    DVCCA,
    JMVAE,
    MAAE,
    MCVAE,
    MEMVAE,
    MMJSD,
    MMVAE,
    MVAE,
    MVTCAE,
    MWAE,
    MMVAEPlus,
    MoPoEVAE,
    WeightedDMVAE,
    WeightedMVAE,
)  # fmt: skip
from manyview.training import NonFiniteObjectiveError

__version__ = "0.1.0"

__all__ = [
    "AE",
    "DCCA",
    "DCCAE",
    "DMVAE",
    "DVCCA",
    "JMVAE",
    "MAAE",
    "MCVAE",
    "MEMVAE",
    "MMJSD",
    "MMVAE",
    "MVAE",
    "MVTCAE",
    "MWAE",
    "Dataset",
    "Estimator",
    "IndexDataModule",
    "IndexMVDataset",
    "MMVAEPlus",
    "MVDataset",
    "MoPoEVAE",
    "MultiviewDataModule",
    "NonFiniteObjectiveError",
    "Tuning",
    "Views",
    "WeightedDMVAE",
    "WeightedMVAE",
    "datasets",
    "likelihoods",
    "load",
    "metrics",
    "models",
    "nn",
    "plotting",
    "report",
    "testing",
    "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Imported when asked for, to keep the import light.
    if name in ("metrics", "plotting", "report", "testing"):
        return _import_module(f"manyview.{name}")
    if name in ("IndexDataModule", "MultiviewDataModule"):
        return getattr(_import_module("manyview.data.modules"), name)
    if name in ("Tuning", "tune"):
        return getattr(_import_module("manyview.tuning"), name)
    raise AttributeError(f"module 'manyview' has no attribute {name!r}")
