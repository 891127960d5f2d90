"""Covariates: what conditional models are told about each sample, as users have it, to numbers.

Age, sex, site or batch come as DataFrames, mappings, arrays or lists; a model gets (n, C) numbers. pandas is never
imported to find out whether an object is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyview.data.views import _as_numpy, _check_unique, _is, _is_default
from manyview.messages import closest

__all__ = ["CategoricalColumn", "FittedCovariates", "NumericColumn", "as_labels", "covariates_at"]


class _Column(NamedTuple):
    values: np.ndarray  # (n,): real numbers if numeric, else Python's own objects
    categorical: bool
    index: Any = None  # labels of the rows: a pandas Index, None for arrays


class _Table(NamedTuple):
    columns: dict[str, _Column]
    named: bool  # whether the caller named the columns
    n_rows: int
    index: Any


@final
@dataclass(frozen=True)
class NumericColumn:
    """What training learned about a numeric covariate, which is encoded as (x - loc) / scale.

    Parameters
    ----------
    name : str
        The column.
    loc, scale : float
        Mean and standard deviation in training; the scale of a constant is 1.
    """

    kind: ClassVar[str] = "numeric"
    name: str
    loc: float
    scale: float

    @classmethod
    def fit(cls, name: str, column: _Column) -> NumericColumn:
        """Learn mean and standard deviation."""
        x = column.values.astype(np.float64)
        loc, scale = float(x.mean()), float(x.std())
        constant = scale <= 10 * np.finfo(np.float64).eps * abs(loc)  # rounding noise is no signal
        return cls(name, loc, 1.0 if constant else scale)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of its one number."""
        return (self.name,)

    def encode(self, column: _Column) -> Float[np.ndarray, "n 1"]:
        """Standardised values."""
        if column.categorical and (odd := _mask(column, lambda value: not isinstance(value, Real))).any():
            raise ValueError(
                f"column {self.name!r} is numeric, but {odd.sum()} of its values are not numbers, "
                f"first {_first(column, odd)}; give numbers, e.g. by .astype(float)"
            )
        x: np.ndarray = (column.values.astype(np.float64) - self.loc) / self.scale
        return x[:, None]


@final
@dataclass(frozen=True)
class CategoricalColumn:
    """What training learned about a categorical covariate, which is encoded one-hot.

    Parameters
    ----------
    name : str
        The column.
    categories : tuple of str, int, float or bool
        Those that occurred in training, sorted: numbers by value, then strings.
    """

    kind: ClassVar[str] = "categorical"
    name: str
    categories: tuple[str | int | float | bool, ...]

    @classmethod
    def fit(cls, name: str, column: _Column) -> CategoricalColumn:
        """Learn which categories there are."""
        odd = _mask(column, lambda value: not isinstance(value, str | int | float))
        if odd.any():
            raise ValueError(
                f"column {name!r} holds {odd.sum()} values that are neither numbers, strings nor bools, "
                f"first {_first(column, odd)}; convert it, e.g. by .astype(str) or .astype(float)"
            )
        # a category is what equals it, so True and 1 are one
        categories = sorted(set(column.values), key=lambda value: (isinstance(value, str), value))
        return cls(name, tuple(categories))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each category."""
        return tuple(f"{self.name}={category}" for category in self.categories)

    def encode(self, column: _Column) -> Float[np.ndarray, "n K"]:
        """One where a sample is of a category, else zero."""
        column = column._replace(values=column.values.astype(object))  # NumPy's numbers become Python's
        position = {category: k for k, category in enumerate(self.categories)}
        unseen = _mask(column, lambda value: not isinstance(value, str | int | float) or value not in position)
        if unseen.any():
            value = column.values[unseen.argmax()]
            strings = [category for category in self.categories if isinstance(category, str)]
            known = (
                closest(value, strings)
                if isinstance(value, str) and len(strings) == len(self.categories)
                else f". Allowed: {', '.join(map(repr, self.categories))}"
            )
            raise ValueError(
                f"column {self.name!r} holds categories unseen in training in {unseen.sum()} rows, "
                f"first {_first(column, unseen)}; drop these samples, or train with such{known}"
            )
        one_hot = np.zeros((len(column.values), len(self.categories)))
        one_hot[np.arange(len(one_hot)), [position[value] for value in column.values]] = 1.0
        return one_hot


@contextmanager
def _about(argument: str) -> Iterator[None]:
    """Errors begin with the name of the argument that they are about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


_KINDS = {cls.kind: cls for cls in (NumericColumn, CategoricalColumn)}


@final
@dataclass(frozen=True)
class FittedCovariates:
    """What training learned about the covariates: how each sample's become C numbers.

    Numeric columns are standardised, categorical ones are one-hot. The dtype says which is which: integers and
    floats are numeric; strings, bools, pandas' ``category`` and its ``object`` are categorical. The values say so
    where there is no such dtype, in lists and NumPy's object arrays: real numbers are numeric.

    Parameters
    ----------
    columns : tuple of NumericColumn or CategoricalColumn
        What was learned of each column, in their order in training.

    Examples
    --------
    >>> fitted = FittedCovariates.fit({"age": [20, 40], "site": ["Rome", "Oslo"]})
    >>> fitted.feature_names
    ('age', 'site=Oslo', 'site=Rome')
    >>> fitted.encode({"site": ["Rome"], "age": [50]}, n_samples=1)
    tensor([[2., 0., 1.]])
    """

    columns: tuple[NumericColumn | CategoricalColumn, ...]

    @classmethod
    def fit(
        cls, data: Any, n_samples: int | None = None, index: Any = None, rows: np.ndarray | None = None
    ) -> FittedCovariates:
        """Learn means, standard deviations and categories from the covariates of the training samples.

        Parameters
        ----------
        data : DataFrame, Series, mapping of name to column, array, tensor or list
            One row a sample. Columns of arrays are called "covariate_0", "covariate_1", ...
        n_samples : int, optional
            Number of samples n; default: as many as there are rows.
        index : pandas Index or array, optional
            Labels of the samples; see `encode`.
        rows : array of int, optional
            Positions of the samples to learn from; all by default.

        Raises
        ------
        ValueError
            If there are no columns or rows, if rows cannot be matched to samples, or if values are missing, infinite,
            or neither numbers, strings nor bools.
        """
        with _about("covariates"):
            table = _take(_match(_read(data), n_samples, index), rows)
            if not table.n_rows:
                raise ValueError("have no rows; give one row a sample")
            for name, column in table.columns.items():
                _check_finite(name, column)
            return cls(
                tuple(
                    (CategoricalColumn if column.categorical else NumericColumn).fit(name, column)
                    for name, column in table.columns.items()
                )
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the C numbers: that of a numeric column, and "column=category"."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def width(self) -> int:
        """The number C of numbers for a sample."""
        return len(self.feature_names)

    def encode(
        self,
        data: Any,
        n_samples: int | None = None,
        index: Any = None,
        rows: np.ndarray | None = None,
        argument: str = "covariates",
    ) -> Float[Tensor, "n C"]:
        """Numbers for the covariates of samples.

        Parameters
        ----------
        data : DataFrame, Series, mapping of name to column, array, tensor or list
            The columns of training: by name where they have names, else in their order.
        n_samples : int, optional
            Number of samples n; default: as many as there are rows.
        index : pandas Index or array, optional
            Labels of the samples. A DataFrame or Series whose rows are in another order, or are more, is matched to
            them by its index. All else is matched by position: arrays, and samples without labels (no index, or an
            array 0 .. n-1). A default RangeIndex is no label.
        rows : array of int, optional
            Positions of the samples that are asked for; all by default.
        argument : str, default "covariates"
            What messages call the data.

        Raises
        ------
        ValueError
            If a column is unknown or lacking, if rows cannot be matched to samples, if values are missing or infinite,
            if a numeric column holds other than numbers, or a categorical one a category unseen in training.
        """
        with _about(argument):
            columns = self._select(_take(_match(_read(data), n_samples, index), rows))
            for name, column in zip(self.names, columns, strict=True):
                _check_finite(name, column)
            parts = [fitted.encode(column) for fitted, column in zip(self.columns, columns, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32))

    def _select(self, table: _Table) -> list[_Column]:
        """The columns of training, in their order."""
        given, names = table.columns, self.names
        if not table.named:
            if len(given) != len(names):
                raise ValueError(
                    f"{len(given)} columns without names, but the model was trained with {len(names)}: "
                    f"{list(names)}; give these, in this order"
                )
            return list(given.values())
        lacking = [name for name in names if name not in given]
        others = [name for name in given if name not in names]
        if lacking or others:
            nameless = names == tuple(map(_default_name, range(len(names))))
            mend = "training had an array: give one again" if nameless else "give the columns of training"
            wrong = [f"{what} {columns}" for what, columns in (("no", lacking), ("unknown", others)) if columns]
            meant = closest(others[0], names) if others else f": {list(names)}"
            raise ValueError(f"{' and '.join(wrong)} among the columns; {mend}{meant}")
        return [given[name] for name in names]

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain values for JSON."""
        return {"columns": [{"kind": column.kind, **asdict(column)} for column in self.columns]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FittedCovariates:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        columns = [dict(column) for column in values["columns"]]
        for column in columns:
            if "categories" in column:
                column["categories"] = tuple(column["categories"])
        return cls(tuple(_KINDS[column.pop("kind")](**column) for column in columns))


def covariates_at(
    rows: np.ndarray, data: Any, n_samples: int, index: Any = None, *, argument: str = "covariates"
) -> dict[str, np.ndarray]:
    """The columns of the covariates of some samples, matched to them as :meth:`FittedCovariates.encode` does.

    Parameters
    ----------
    rows : array of int
        Positions of the samples that are asked for.
    data : DataFrame, Series, mapping of name to column, array, tensor or list
        The covariates.
    n_samples : int
        Number of all samples n.
    index : pandas Index or array, optional
        Labels of the samples.
    argument : str
        What errors begin with.

    Examples
    --------
    >>> covariates_at(np.array([2, 0]), {"age": [20, 30, 40]}, n_samples=3)
    {'age': array([40, 20])}
    """
    with _about(argument):
        table = _take(_match(_read(data), n_samples, index), rows)
    return {name: column.values for name, column in table.columns.items()}


def as_labels(labels: Any) -> dict[str, Any]:
    """Class labels as covariates: one categorical column, "label", even of integers.

    Parameters
    ----------
    labels : array, tensor, list, Series or DataFrame of shape (n,) or (n, 1), or (n, K) one-hot
        Integers, strings or bools. One-hot rows become the number of their column, or its name in a DataFrame.

    Returns
    -------
    dict
        Covariates for `FittedCovariates.fit` and `FittedCovariates.encode`.

    Raises
    ------
    ValueError
        If there are several columns that are not one-hot, or numbers that are not whole.

    Examples
    --------
    >>> fitted = FittedCovariates.fit(as_labels([7, 0, 7]))
    >>> fitted.feature_names
    ('label=0', 'label=7')
    >>> fitted.encode(as_labels([0]), n_samples=1)
    tensor([[1., 0.]])
    """
    with _about("labels"):
        table = _read(labels)
        columns = list(table.columns.values())
        values = columns[0].values
        if len(columns) > 1:
            for name, column in table.columns.items():
                _check_finite(name, column)
            one_hot = np.stack([column.values for column in columns], axis=1)
            ones = one_hot == 1
            if not (np.all(ones | (one_hot == 0)) and np.all(ones.sum(1) == 1)):
                raise ValueError(
                    f"need one column, or one-hot rows, but got {len(columns)} columns that are not one-hot; "
                    "give several variables as covariates"
                )
            names = np.array(list(labels) if table.named else range(len(columns)), dtype=object)
            values = names[ones.argmax(1)]
        elif values.dtype.kind == "f" and np.isfinite(values).all():
            if np.any(values % 1):
                raise ValueError(
                    f"are classes, but {values[values % 1 != 0].tolist()[0]!r} is not a whole number; "
                    "give real numbers as covariates"
                )
            values = values.astype(np.int64)
    return {"label": _Column(_as_objects(values), True, table.index)}


def _default_name(i: int) -> str:
    return f"covariate_{i}"


def _is_series(data: Any) -> bool:
    """Whether data are one column of pandas: a Series, Index, Categorical or the like."""
    return type(data).__module__.partition(".")[0] == "pandas" and getattr(data, "ndim", 0) == 1


def _read(data: Any) -> _Table:
    """Columns of whatever the caller has."""
    named = True
    if _is(data, "pandas.DataFrame"):
        given = [(str(name), data.iloc[:, i]) for i, name in enumerate(data.columns)]
    elif isinstance(data, Mapping):
        given = [(str(name), column) for name, column in data.items()]
    elif _is_series(data):
        named = getattr(data, "name", None) is not None
        given = [(str(data.name) if named else _default_name(0), data)]
    else:
        x = _as_array(data)
        if x.ndim not in (1, 2):
            raise ValueError(
                f"need shape (samples,) or (samples, columns), but got {type(data).__name__} of shape {x.shape}"
            )
        named = False
        given = [(_default_name(i), column) for i, column in enumerate(x[:, None].T if x.ndim == 1 else x.T)]
    if not given:
        raise ValueError("have no columns; give at least one, or leave them out")
    _check_unique([name for name, _ in given], "column")
    columns = {name: _read_column(name, column) for name, column in given}
    sizes = {name: len(column.values) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns differ in length, {sizes}; give one value a sample in each")
    indexes = [column.index for column in columns.values() if column.index is not None]
    if not all(index.equals(indexes[0]) for index in indexes):
        raise ValueError("the indexes of the columns differ; put them in one DataFrame")
    return _Table(columns, named, next(iter(sizes.values())), indexes[0] if indexes else None)


def _as_array(data: Any) -> np.ndarray:
    """An array of one dtype, or of objects where it would turn numbers or missing entries into something else."""
    if isinstance(data, np.ma.MaskedArray):
        data = data.tolist()  # None where masked
    if isinstance(data, list | tuple):
        return np.array(data, dtype=object)
    return _as_numpy(data)


def _read_column(name: str, data: Any) -> _Column:
    if isinstance(data, _Column):
        return data
    if _is_series(data):
        import pandas as pd

        series, index = pd.Series(data), getattr(data, "index", None)
        if series.dtype.kind in "iuf":
            complete = not series.hasnans
            return _Column(np.asarray(series if complete else series.to_numpy(float, na_value=np.nan)), False, index)
        return _Column(_as_objects(series.astype(object)), True, index)
    x = _as_array(data)
    if x.ndim != 1:
        raise ValueError(f"column {name!r} needs shape (samples,), but got shape {x.shape}")
    if x.dtype.kind in "iuf":
        return _Column(x, False)
    values = _as_objects(x)
    given = [math.nan if _is_missing(value) else value for value in values]
    if any(isinstance(value, bool) or not isinstance(value, Real) for value in given):
        return _Column(values, True)
    numbers = np.array(given)
    return _Column(numbers if numbers.dtype.kind in "iuf" else numbers.astype(np.float64), False)


def _as_objects(values: Any) -> np.ndarray:
    """An array of Python's own objects, rather than NumPy's or torch's scalars."""
    scalar = (np.generic, torch.Tensor)
    return np.fromiter((x.item() if isinstance(x, scalar) else x for x in values), dtype=object, count=len(values))


def _match(table: _Table, n_samples: int | None, index: Any) -> _Table:
    """The rows of the samples, by position or by label."""
    own = table.index
    n = n_samples if n_samples is not None else table.n_rows if index is None else len(index)
    labelled = own is not None and index is not None
    if labelled and not hasattr(index, "get_indexer"):  # samples in arrays have numbers, which need be no labels
        index = np.asarray(index)
        labelled = not (_is_default(own) or np.array_equal(index, np.arange(n)))
    if not labelled or own.tolist() == index.tolist():
        if table.n_rows != n:
            raise ValueError(f"{table.n_rows} rows for {n} samples; give one row a sample")
        return table
    if _is_default(own) or _is_default(index):
        raise ValueError(
            f"rows cannot be matched to samples ({table.n_rows} rows, {n} samples): their indexes differ, "
            f"and that of the {'rows' if _is_default(own) else 'samples'} is a default RangeIndex; set_index "
            "with a sample id, or, if the rows are in the order of the samples, give them .set_axis(views.index)"
        )
    _check_unique(own.tolist(), "index label")
    rows = own.get_indexer(index)
    lacking = [label for label, row in zip(index.tolist(), rows, strict=True) if row < 0]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {n} samples have no row among the {table.n_rows} that are given, first "
            f"{lacking[:5]}; given are rows {own.tolist()[:5]} and so on: add the missing ones, drop these samples, "
            "or, if the rows are in the order of the samples, give them .set_axis(views.index)"
        )
    return _take(table, rows)


def _take(table: _Table, rows: np.ndarray | None) -> _Table:
    """Some rows, in this order."""
    if rows is None:
        return table
    index = None if table.index is None else table.index[rows]
    columns = {name: _Column(x.values[rows], x.categorical, index) for name, x in table.columns.items()}
    return _Table(columns, table.named, len(rows), index)


def _check_finite(name: str, column: _Column) -> None:
    x = column.values
    missing, infinite = (
        (_mask(column, _is_missing), _mask(column, _is_infinite)) if x.dtype == object else (np.isnan(x), np.isinf(x))
    )
    for what, mask in (("missing", missing), ("infinite", infinite)):
        if mask.any():
            raise ValueError(
                f"column {name!r} has {mask.sum()} {what} values, first {_first(column, mask)}; "
                "drop these samples or fill them in"
            )


def _is_missing(value: Any) -> bool:
    if isinstance(value, str | bool):  # most values are, and what follows is slow
        return False
    return math.isnan(value) if isinstance(value, Real) else value is None or _is(value, "pandas.NAType")


def _is_infinite(value: Any) -> bool:
    return not isinstance(value, str) and isinstance(value, Real) and math.isinf(value)


def _mask(column: _Column, test: Callable[[Any], bool]) -> Bool[np.ndarray, " n"]:
    """Where a test is true of the objects of a column."""
    return np.array([test(value) for value in column.values], dtype=bool)


def _first(column: _Column, mask: Bool[np.ndarray, " n"]) -> str:
    """The first value under a mask, and where it is."""
    row = int(mask.argmax())
    label = "" if column.index is None else f" (index {column.index.tolist()[row]!r})"
    return f"{column.values.tolist()[row]!r} at row {row}{label}"
