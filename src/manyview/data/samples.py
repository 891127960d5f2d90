"""Samples: views, in memory or not, and covariates of the same rows, as a model that is being asked wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from manyview.data.batch import Batch
from manyview.data.covariates import FittedCovariates, as_labels
from manyview.data.preprocessing import FittedView, make_batch
from manyview.data.stored import Dataset
from manyview.data.views import Views, as_views, holds_all_views
from manyview.messages import closest

__all__ = [
    "Samples",
    "covariates_or_labels",
    "drop_target",
    "encode_covariates",
    "read_for",
    "take_samples",
]

Array = np.ndarray


@dataclass(frozen=True)
class Samples:
    """Views, in memory or not, and the encoded covariates of the same rows."""

    views: Views | Dataset
    covariates: Tensor | None = None

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, rows: slice | Array) -> Samples:
        return Samples(self.views[rows], None if self.covariates is None else self.covariates[rows])

    def batch(self, fitted: tuple[FittedView, ...]) -> Batch:
        """The samples as the networks see them."""
        return replace(make_batch(self.in_memory, fitted), covariates=self.covariates)

    @property
    def in_memory(self) -> Views:
        """The views, read if they are not yet."""
        return self.views if isinstance(self.views, Views) else self.views[:]


def take_samples(
    data: Views | Dataset,
    covariates: Any,
    fitted: FittedCovariates | None,
    argument: str = "covariates",
    rows: Array | None = None,
) -> Samples:
    """The samples at these rows of the data, all by default."""
    encoded = encode_covariates(covariates, fitted, argument, data, rows)
    return Samples(data if rows is None else data[rows], encoded)


def encode_covariates(
    covariates: Any,
    fitted: FittedCovariates | None,
    argument: str = "covariates",
    data: Views | Dataset | None = None,
    rows: Array | None = None,
) -> Tensor | None:
    """The covariates as the networks see them, (n, C): of the samples in data, or of as many as there are rows."""
    if fitted is None:
        if covariates is not None:
            raise ValueError(f"{argument} given, but the model was fitted without; leave them out, or fit with them")
        return None
    if covariates is None:
        raise ValueError(f"the model was fitted with covariates {list(fitted.names)}; give them as {argument}=")
    if data is None:
        return fitted.encode(covariates, argument=argument)
    return fitted.encode(covariates, len(data), data.index, rows, argument)


def covariates_or_labels(covariates: Any, labels: Any) -> Any:
    """The covariates; or the labels, which are one."""
    if labels is None:
        return covariates
    if covariates is not None:
        raise ValueError("labels are one categorical covariate: give them among the covariates, or alone")
    return as_labels(labels)


def drop_target(X: Any, views: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments without scikit-learn's y, which follows data that hold all the views."""
    if len(views) != 1 or (views[0] is not None and not holds_all_views(X)):
        return (X, *views)
    if isinstance(views[0], Views | Mapping):
        raise TypeError("two collections of views were given; put all the views in one dict, list or Views")
    return (X,)


def read_for(fitted: Sequence[FittedView], X: Any, views: tuple[Any, ...]) -> Views | Dataset:
    """Samples for a fitted model: its views, in any form, by name or by position, with the features it knows."""
    if isinstance(X, Dataset):
        return _checked(fitted, X)
    known = {view.name: view for view in fitted}
    by_position = X if isinstance(X, list | tuple) else () if holds_all_views(X) else (X, *views)
    if by_position and len(by_position) != len(known):
        raise ValueError(
            f"{len(by_position)} views are given by position, but the model has {len(known)}: {list(known)}; "
            "give None for a view that is missing, or a dict from name to view"
        )
    data = as_views(X, *views, names=list(known))
    for name in data.names:
        if name not in known:
            raise ValueError(f"the model has no view {name!r}{closest(name, known)}")
        view = known[name]
        if view.named and data.has_feature_names(name):
            data = data.with_features(name, view.feature_names)
        if data.shapes[name] != view.shape:
            raise ValueError(
                f"view {name!r} has features of shape {data.shapes[name]}, but the model was fitted on {view.shape}"
            )
        view.likelihood.check(data.array(name), name)
    if not len(data):
        raise ValueError("there are no samples: give at least one row")
    return data


def _checked(fitted: Sequence[FittedView], data: Dataset) -> Dataset:
    """A data set for a fitted model, which is checked as it is read."""
    known = {view.name: view for view in fitted}
    for name in data.names:
        if name not in known:
            raise ValueError(f"the model has no view {name!r}{closest(name, known)}")
        if tuple(data.shapes[name]) != known[name].shape:
            raise ValueError(
                f"view {name!r} has features of shape {data.shapes[name]}, but the model was fitted on "
                f"{known[name].shape}"
            )
        features = known[name].feature_names
        if known[name].named and list(data.feature_names.get(name, features)) != features:
            raise ValueError(f"view {name!r} has other features, or in another order, than the model was fitted on")

    def check(views: Views) -> Views:
        for name in views.names:
            known[name].likelihood.check(views.array(name), name)
        return views

    return data.map(check)
