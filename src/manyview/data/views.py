r"""Views of the same samples: what every estimator takes as data.

A view is an array :math:`x_m` of shape (n, \*shape_m). Views come as arrays, tensors, lists, mappings,
DataFrames, AnnData or MuData; :func:`as_views` reads them all and :class:`Views` holds them. pandas, anndata
and mudata are never imported to find out whether an object is theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Never, final, overload

import numpy as np
import torch
from jaxtyping import Bool, Float

from manyview.messages import closest, warn

__all__ = ["Views", "as_views", "contain", "holds_all_views"]


class _View(NamedTuple):
    array: np.ndarray  # float32 or float64, (n, *shape), NaN where missing
    kind: str  # the container it came in: "numpy", "pandas" or "torch"
    features: np.ndarray | None = None  # names of the flattened features; None: "{view}_{i}"
    labels: Any = None  # the same as the caller has them: columns of a DataFrame may be integers

    @property
    def width(self) -> int:
        return math.prod(self.array.shape[1:])


@final
class Views:
    r"""Named views of the same n samples; a missing entry is NaN, and only NaN.

    Each view m is an array :math:`x_m` of shape (n, \*shape_m). A sample without any observed entry in a view
    lacks that view. Zeros are data. Views are immutable, but not locked: arrays are shared with the caller's
    wherever nothing had to change, so writing into one changes the other.

    Parameters
    ----------
    data : mapping, sequence, DataFrame, AnnData, MuData, array or Views, optional
        Any single argument that :func:`as_views` takes.
    present : (n, M) bool array, or mapping of view name to (n,) bool array, optional
        False where a sample lacks a view: those rows become NaN, whatever they held. Rows in the order of
        `ids`, columns in the order of `names`. Default: rows are missing where they are all NaN.
    ids : (n,) array-like, optional
        Unique labels of the samples, for views without an index. Default: the index of the DataFrames, else
        0 .. n-1.
    feature_names : mapping of view name to sequence of str, optional
        One name per flattened feature. Default: the columns of a DataFrame, else ``"{view}_{i}"``.
    **views : array-like, DataFrame, AnnData or None
        The views by name, in place of `data`.

    Raises
    ------
    ValueError, TypeError
        If a view is not numeric, not finite, empty or without a feature axis, or if rows cannot be matched.

    Examples
    --------
    >>> import numpy as np
    >>> views = Views(image=np.zeros((4, 2, 2)), label=np.array([[0.0], [1.0], [np.nan], [1.0]]))
    >>> views
    Views(n=4, image=(2, 2), label=(1,), missing: label 1)
    >>> views[1:3].present
    array([[ True,  True],
           [ True, False]])
    >>> views["label"].shape
    (4, 1)
    """

    _views: dict[str, _View]
    _index: Any  # labels of the rows: a pandas Index as it was given, or an array
    _packing: str

    def __init__(
        self,
        data: Any = None,
        /,
        *,
        present: Any = None,
        ids: Any = None,
        feature_names: Mapping[str, Iterable[str]] | None = None,
        **views: Any,
    ) -> None:
        if data is not None and views:
            raise TypeError("give the views as one argument or by keyword, not both")
        self._packing = "views"  # as_views, which knows how the caller gave them, may set another
        if isinstance(data, Views):
            self._views = data._views
            self._index = data._index if ids is None else _as_ids(ids, data.n_samples)
        else:
            named = views if data is None else _unpack(data)[0]
            read = {name: _as_array(name, view) for name, view in named.items() if view is not None}
            if not read:
                raise ValueError("no views: give an array, tensor or DataFrame of shape (samples, features)")
            self._views, self._index = _join(read, ids)
        if present is not None:
            self._views = _mask(self._views, present)
        for name, names in (feature_names or {}).items():
            self._views = self._views | {name: _name_features(name, self._of(name), names)}
        self._check_finite()

    def _check_finite(self) -> None:
        for name, view in self._views.items():
            infinite = np.isinf(view.array).reshape(self.n_samples, view.width)
            if infinite.any():
                row, feature = np.argwhere(infinite)[0]
                raise ValueError(
                    f"view {name!r}: {infinite.sum()} infinite values, first at row {row} "
                    f"(id {self.ids.tolist()[row]!r}), feature {self.feature_names[name][feature]!r}; "
                    "replace them by NaN (missing) or a finite value"
                )

    def _with(self, views: dict[str, _View], index: Any) -> Views:
        new = object.__new__(Views)
        new._views, new._index, new._packing = views, index, self._packing
        return new

    def _of(self, name: str) -> _View:
        if name not in self._views:
            raise KeyError(f"no view {name!r}{closest(name, self._views)}")
        return self._views[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the M views, in the order given."""
        return tuple(self._views)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Feature shape of each view, without the samples' axis."""
        return {name: view.array.shape[1:] for name, view in self._views.items()}

    @property
    def n_samples(self) -> int:
        """Number of samples n."""
        return len(self._index)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples, and number of features of all views together."""
        return self.n_samples, sum(view.width for view in self._views.values())

    @property
    def index(self) -> Any:
        """Labels of the samples as they were given: a pandas Index, or an array."""
        return self._index

    @cached_property
    def ids(self) -> np.ndarray:
        """Labels of the samples, (n,); tuples for a MultiIndex."""
        return np.asarray(self._index)

    @cached_property
    def feature_names(self) -> dict[str, np.ndarray]:
        """Names of each view's flattened features, as object arrays of str."""
        return {
            name: np.array([f"{name}_{i}" for i in range(view.width)], dtype=object)
            if view.features is None
            else view.features
            for name, view in self._views.items()
        }

    @cached_property
    def present(self) -> Bool[np.ndarray, "n M"]:
        """True where a sample has at least one observed entry in a view, (n, M)."""
        observed = [~np.isnan(view.array).all(axis=tuple(range(1, view.array.ndim))) for view in self._views.values()]
        return np.stack(observed, axis=1)

    @property
    def container(self) -> str:
        """The container that all views share: "numpy", "pandas" or "torch"; "numpy" if they differ."""
        kinds = {view.kind for view in self._views.values()}
        return kinds.pop() if len(kinds) == 1 else "numpy"

    @property
    def packing(self) -> str:
        """How the caller gave the views: as "views", a "dict", a "list" or one bare "array".

        DataFrames with two column levels and MuData count as "dict", several positional views as "list".
        """
        return self._packing

    def __len__(self) -> int:
        return self.n_samples

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def __repr__(self) -> str:
        parts = [f"n={self.n_samples}", *(f"{name}={shape}" for name, shape in self.shapes.items())]
        missing = (self.n_samples - self.present.sum(axis=0)).tolist()
        lacking = [f"{name} {count}" for name, count in zip(self.names, missing, strict=True) if count]
        return f"Views({', '.join(parts)}{', missing: ' * bool(lacking)}{', '.join(lacking)})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Never:
        # Without this NumPy would take Views for a nested sequence of rows.
        raise TypeError("Views are several arrays: use views.array(name), or select one with views[name]")

    def keys(self) -> tuple[str, ...]:
        """Names of the views, so that ``dict(views)`` works."""
        return self.names

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and view, each view in its own container."""
        return ((name, self[name]) for name in self._views)

    def to_dict(self) -> dict[str, Any]:
        """Each view in its own container, by name."""
        return dict(self.items())

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: Any) -> Views: ...
    def __getitem__(self, key: Any) -> Any:
        """Return one view in its own container (a name), or the Views of some rows (an int, slice, array)."""
        if isinstance(key, str):
            return self.like(key, self.array(key))
        rows = _as_rows(key)
        views = {name: view._replace(array=view.array[rows]) for name, view in self._views.items()}
        return self._with(views, self._index[rows])

    def array(self, name: str) -> Float[np.ndarray, "n ..."]:
        r"""View `name` as float32 or float64 array of shape (n, \*shape), NaN where missing; not a copy."""
        return self._of(name).array

    def select(self, names: str | Iterable[str]) -> Views:
        """Keep some of the views, in the order of `names`."""
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise ValueError(f"select: no names given; this data has {list(self.names)}")
        return self._with({name: self._of(name) for name in names}, self._index)

    def has_feature_names(self, name: str) -> bool:
        """Whether the features of view `name` were named by the caller, as columns or by `feature_names`."""
        return self._of(name).features is not None

    def with_features(self, name: str, features: Iterable[str]) -> Views:
        """Put the features of view `name` in this order; they must be the same ones.

        Raises
        ------
        ValueError
            If the view lacks one of them, or has others.
        """
        view, wanted = self._of(name), [str(feature) for feature in features]
        has = {feature: i for i, feature in enumerate(self.feature_names[name])}
        if has.keys() != set(wanted):
            lacking = sorted(set(wanted) - has.keys())
            others = sorted(has.keys() - set(wanted))
            raise ValueError(
                f"view {name!r}: features differ from those expected: {len(lacking)} lacking {lacking[:5]}, "
                f"{len(others)} not expected {others[:5]}"
            )
        if list(has) == wanted:
            return self
        shape = view.array.shape
        order = [has[feature] for feature in wanted]
        array = view.array.reshape(shape[0], view.width)[:, order].reshape(shape)
        ordered = _name_features(name, _View(array, view.kind), view.labels[order])
        return self._with(self._views | {name: ordered}, self._index)

    def like(self, name: str, array: Any) -> Any:
        r"""Put an array (n, \*anything) in the container of view `name`.

        A DataFrame gets the ids as index and, if it has as many columns as the view has features, their
        names.
        """
        view = self._of(name)
        columns = view.labels if math.prod(np.shape(array)[1:]) == view.width else None
        return contain(array, view.kind, self._index, columns)

    def pack(self, results: Mapping[str, Any]) -> Any:
        """Results keyed as the input was: together as in `packing`.

        Parameters
        ----------
        results : mapping of view name to anything
            What there is for each view; it is not changed.

        Returns
        -------
        dict, list or array
            A dict for Views and dicts; for a list, a list in the order of the views (of `results` if that has
            other names as well); for one bare array its result alone, or a list if there are several.

        Examples
        --------
        >>> import numpy as np
        >>> views = as_views([np.zeros((2, 1)), np.ones((2, 1))])
        >>> [x.tolist() for x in views.pack({"view_1": np.ones((2, 1)), "view_0": np.zeros((2, 1))})]
        [[[0.0], [0.0]], [[1.0], [1.0]]]
        """
        if self._packing in ("views", "dict"):
            return dict(results)
        known = results.keys() <= self._views.keys()
        listed = [results[name] for name in (self.names if known else results) if name in results]
        return listed[0] if self._packing == "array" and len(listed) == 1 else listed


def as_views(*args: Any, names: Sequence[str] | None = None) -> Views:
    r"""Read views in any form that an estimator takes.

    Parameters
    ----------
    *args : Views, mapping, sequence, DataFrame, AnnData, MuData, array or tensor
        - one Views: returned as it is;
        - a mapping of name to view, or MuData (its modalities);
        - a DataFrame with several column levels: the first holds the views' names;
        - a list or tuple of views, or several positional views: "view_0", "view_1", ...;
        - one bare view: "view_0".

        A view is an array, tensor, DataFrame, AnnData or list of rows; its shape is (n, features), or
        (n, C, H, W) and the like. A row that is None is missing. A view that is None is left out, and the
        others keep their numbers. Arrays are matched by position, DataFrames by their index: a sample without
        a row in a view lacks that view.
    names : sequence of str, optional
        Names of views that are given by position, in place of "view_0", "view_1", ...

    Raises
    ------
    ValueError, TypeError
        As :class:`Views`.

    Examples
    --------
    >>> import pandas as pd
    >>> a = pd.DataFrame({"x": [1.0, 2.0]}, index=["p", "q"])
    >>> b = pd.DataFrame({"y": [3.0]}, index=["q"])
    >>> as_views({"a": a, "b": b})["b"]
         y
    p  NaN
    q  3.0
    """
    # scikit-learn passes fit(X, None): what follows a lone argument must not make a list of it.
    data = args[0] if args and all(other is None for other in args[1:]) else args
    if isinstance(data, Views):
        return data
    named, packing = _unpack(data, names)
    views = Views(named)
    views._packing = packing
    return views


def holds_all_views(data: Any) -> bool:
    """Whether data are a collection of views, rather than one bare view."""
    return isinstance(data, Views) or _unpack(data)[1] != "array"


def contain(array: Any, kind: str, index: Any = None, columns: Any = None) -> Any:
    """Put an array in a container.

    Parameters
    ----------
    array : array, tensor or DataFrame of shape (n, ...)
        Returned as it is if it is of this kind already.
    kind : {"numpy", "pandas", "torch"}
        A DataFrame holds the flattened array, (n, features); a tensor is on the CPU.
    index, columns : array-like, optional
        Labels of the DataFrame's rows and columns; default: their numbers.

    Examples
    --------
    >>> import numpy as np
    >>> contain(np.ones((2, 1)), "pandas", index=["p", "q"], columns=["x"])
         x
    p  1.0
    q  1.0
    """
    if kind == "numpy":
        return _as_numpy(array)
    if kind == "torch":
        if isinstance(array, torch.Tensor):
            return array
        array = _as_numpy(array)
        # torch refuses negative strides, and warns of memory that it must not write to
        shared = array.flags.writeable and min(array.strides, default=0) >= 0
        return torch.from_numpy(array if shared else array.copy())
    if kind == "pandas":
        if _is(array, "pandas.DataFrame"):
            return array
        array = _as_numpy(array)
        if index is not None and len(index) != len(array):
            raise ValueError(f"a DataFrame of {len(index)} rows cannot hold an array of shape {array.shape}")
        import pandas as pd

        return pd.DataFrame(array.reshape(len(array), math.prod(array.shape[1:])), index=index, columns=columns)
    raise ValueError(f"kind must be 'numpy', 'pandas' or 'torch', but got {kind!r}")


def _is(x: object, qualified: str) -> bool:
    """Whether x is a "package.Class", without importing the package."""
    package, cls = qualified.split(".")
    return any(c.__name__ == cls and c.__module__.partition(".")[0] == package for c in type(x).__mro__)


def _unpack(data: Any, names: Sequence[str] | None = None) -> tuple[dict[str, Any], str]:
    """Name the views, and say how they were packed."""
    if isinstance(data, Mapping):
        for name in data:
            if not isinstance(name, str):
                raise TypeError(f"names of views must be str, but got {name!r}")
        return dict(data), "dict"
    if _is(data, "mudata.MuData"):
        return dict(data.mod), "dict"
    if _is(data, "pandas.DataFrame") and data.columns.nlevels > 1:
        return {str(name): data[name] for name in data.columns.get_level_values(0).unique()}, "dict"
    packing = "list" if isinstance(data, list | tuple) else "array"
    views = data if packing == "list" else [data]
    names = [f"view_{i}" for i in range(len(views))] if names is None else names
    if len(views) > len(names):
        raise ValueError(f"{len(views)} views given by position, but there are only {len(names)}: {list(names)}")
    return dict(zip(names, views, strict=False)), packing


def _float(dtype: Any) -> type[np.floating[Any]]:
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


def _as_numpy(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        x = x.to_dense()
        return np.asarray((x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True))
    if isinstance(x, np.ma.MaskedArray) and x.dtype.kind in "biuf":
        return np.ma.filled(x.astype(_float(x.dtype)), np.nan)
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)  # scipy.sparse


def _as_array(name: str, view: Any) -> tuple[_View, Any]:
    """Read a view and its index, None for arrays. Infinite values are left: `present` may mask them."""
    if isinstance(view, Views | Mapping) or _is(view, "mudata.MuData"):
        raise TypeError(
            f"view {name!r}: is a collection of views itself ({type(view).__name__}); pass it alone "
            "(a target y is not used)"
        )
    kind, index, features, missing = "numpy", None, None, None
    if _is(view, "anndata.AnnData"):
        view = view.to_memory() if view.isbacked else view
        kind, index, features, x = "pandas", view.obs_names, view.var_names, _as_numpy(view.X)
    elif _is(view, "pandas.DataFrame"):
        kind, index, features, x = "pandas", view.index, view.columns, _from_frame(name, view)
    elif isinstance(view, torch.Tensor):
        kind, x = "torch", _as_numpy(view)
    elif isinstance(view, list | tuple) or (isinstance(view, np.ndarray) and view.dtype == object and view.ndim == 1):
        x, missing = _from_rows(name, view)
    else:
        x = _as_numpy(view)

    shape = x.shape if missing is None else (len(missing), *x.shape[1:])
    if len(shape) < 2:
        raise ValueError(
            f"view {name!r}: needs shape (samples, features), but got shape {shape}; "
            "use .reshape(-1, 1) for a single feature; "
            "if it is a target y, it is not used: pass the views in a dict or list"
        )
    if 0 in shape:
        raise ValueError(f"view {name!r}: has no {'features' if shape[0] else 'samples'}, its shape is {shape}")
    if x.dtype.kind not in "biuf":
        values = x.ravel().tolist()
        odd = next((i for i, value in enumerate(values) if not isinstance(value, int | float)), 0)
        raise _not_numeric(name, odd % math.prod(shape[1:]), x.dtype, values[odd])
    x = x.astype(_float(x.dtype), copy=False)
    if missing is not None and missing.any():
        given, x = x, np.full(shape, np.nan, x.dtype)
        x[~missing] = given
    return _name_features(name, _View(x, kind), features), index


def _from_frame(name: str, frame: Any) -> np.ndarray:
    if frame.empty:
        return np.empty(frame.shape)
    for position, dtype in enumerate(frame.dtypes):
        if dtype.kind not in "biuf":
            column = frame.iloc[:, position]
            raise _not_numeric(name, column.name, dtype, next(iter(column.dropna()), None))
    # nullable and sparse dtypes name their NumPy dtype each in their own way
    dtypes = [getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)) for dtype in frame.dtypes.unique()]
    target = np.float32 if all(_float(dtype) is np.float32 for dtype in dtypes) else np.float64
    return np.asarray(frame.to_numpy(dtype=target, na_value=np.nan))


def _from_rows(name: str, rows: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
    """Stack the rows that are not None; the mask says which are."""
    missing = np.array([row is None for row in rows], dtype=bool)
    given = [_as_numpy(row) for row in rows if row is not None]
    if not given:
        raise ValueError(f"view {name!r}: has no rows but None; give None for a view that every sample lacks")
    if len({row.shape for row in given}) > 1:
        raise ValueError(f"view {name!r}: rows differ in shape, {given[0].shape} and others; None is a missing row")
    if given[0].ndim > 1 and isinstance(rows, list | tuple) and not missing.any():
        raise ValueError(
            f"view {name!r}: a list of {len(given)} arrays of shape {given[0].shape} is not a view; "
            "give views in one flat list, and stack rows that are arrays by np.stack"
        )
    return np.stack(given), missing


def _not_numeric(view: str, column: Any, dtype: Any, example: Any) -> ValueError:
    return ValueError(
        f"view {view!r}: column {column!r} is not real numbers but {dtype}, for example {example!r}; "
        "encode it, e.g. by pandas.get_dummies (categories) or .astype(float) (numbers held as objects)"
    )


def _check_unique(labels: Sequence[Any], what: str) -> None:
    if len(set(labels)) < len(labels):
        label = Counter(labels).most_common(1)[0][0]
        raise ValueError(f"{what} {label!r} occurs more than once, but must be unique")


def _name_features(name: str, view: _View, features: Iterable[Any] | None) -> _View:
    if features is None:
        return view
    names = np.array([str(feature) for feature in features], dtype=object)
    if len(names) != view.width:
        raise ValueError(f"view {name!r}: {len(names)} feature names for {view.width} features")
    _check_unique(names.tolist(), f"view {name!r}: feature name")
    labels = features if hasattr(features, "get_indexer") else names  # a pandas Index stays one
    return view._replace(features=names, labels=labels)


def _as_ids(ids: Any, n: int) -> Any:
    labels = ids if hasattr(ids, "get_indexer") else np.asarray(ids)  # a pandas Index keeps its name
    if labels.shape != (n,):
        raise ValueError(f"ids: needs shape ({n},), one label a sample, but got shape {labels.shape}")
    _check_unique(labels.tolist(), "ids: label")
    return labels


def _join(read: dict[str, tuple[_View, Any]], ids: Any) -> tuple[dict[str, _View], Any]:
    """Give all views the same rows: by position, or by label where indexes differ."""
    views = {name: view for name, (view, _) in read.items()}
    indexes = {name: index for name, (_, index) in read.items() if index is not None}
    if indexes and ids is not None:
        raise ValueError(f"ids: are the index of {list(indexes)} already; leave them out, or set that index")
    for name, index in indexes.items():
        _check_unique(index.tolist(), f"view {name!r}: index label")

    n = len(next(iter(views.values())).array)
    first: Any = next(iter(indexes.values()), None)
    counts = ", ".join(f"{name} {len(view.array)}" for name, view in views.items())
    if all(index.equals(first) for index in indexes.values()):
        if any(len(view.array) != n for view in views.values()):
            raise ValueError(
                f"views have different numbers of samples: {counts}; arrays are matched by position: "
                "give equal numbers, or DataFrames with sample ids as index"
            )
        return views, first if first is not None else np.arange(n) if ids is None else _as_ids(ids, n)

    if positional := [name for name in views if name not in indexes]:
        raise ValueError(
            f"rows cannot be matched: {positional} are arrays, matched by position, but the indexes of "
            f"{list(indexes)} differ ({counts}); give DataFrames with sample ids as index"
        )
    if default := [name for name, index in indexes.items() if _is_default(index)]:
        raise ValueError(
            f"rows cannot be matched: the indexes differ, and that of {default} is a default RangeIndex "
            f"({counts}); set_index with a sample id, or give views of equal length"
        )
    joined = first.append([index for index in indexes.values() if index is not first]).unique()
    if len(indexes) > 1 and len(joined) == sum(map(len, indexes.values())):
        warn(
            f"no sample is in two views: the indexes of {list(indexes)} have no label in common "
            f"(for example {', '.join(repr(index[0]) for index in indexes.values())}); are they of the same kind?"
        )
    for name, view in views.items():
        rows = np.full((len(joined), *view.array.shape[1:]), np.nan, view.array.dtype)
        rows[joined.get_indexer(indexes[name])] = view.array
        views[name] = view._replace(array=rows)
    return views, joined


def _is_default(index: Any) -> bool:
    return _is(index, "pandas.RangeIndex") and index.start == 0 and index.step == 1


def _mask(views: dict[str, _View], present: Any) -> dict[str, _View]:
    """Drop the rows that are not present, in copies."""
    n = len(next(iter(views.values())).array)
    if not isinstance(present, Mapping):
        table = _as_numpy(present)
        if table.shape != (n, len(views)):
            raise ValueError(
                f"present: needs shape {(n, len(views))}, samples by views {list(views)}, but got shape {table.shape}"
            )
        present = dict(zip(views, table.T, strict=True))
    masked = dict(views)
    for name, mask in present.items():
        if name not in views:
            raise KeyError(f"present: no view {name!r}{closest(name, views)}")
        observed = _as_numpy(mask)
        if observed.dtype != bool or observed.shape != (n,):
            raise ValueError(
                f"present: the mask of view {name!r} needs shape ({n},) and dtype bool, "
                f"but has {observed.shape} and {observed.dtype}; use .astype(bool) for zeros and ones"
            )
        if not observed.all():
            array = views[name].array.copy()
            array[~observed] = np.nan
            masked[name] = views[name]._replace(array=array)
    return masked


def _as_rows(key: Any) -> Any:
    """Read an index of rows: a slice, or a 1-d array of bool or int. Their bounds are left to NumPy."""
    if isinstance(key, tuple):  # scikit-learn indexes arrays by array[rows, ...]
        if len(key) != 2 or not (key[1] is Ellipsis or (isinstance(key[1], slice) and key[1] == slice(None))):
            raise IndexError(
                "Views are indexed by a view's name or by rows; for entries of a view use views.array(name)"
            )
        key = key[0]
    if isinstance(key, slice):
        return key
    rows = _as_numpy(key)
    if rows.size == 0 and rows.dtype != bool:
        rows = rows.astype(int)  # an empty list has dtype float
    if rows.ndim == 0 and rows.dtype.kind in "iu":
        rows = rows.reshape(1)
    if rows.ndim != 1 or rows.dtype.kind not in "biu":
        raise IndexError(
            f"rows must be an int, a slice, or a 1-d array of int or bool, but got {key!r}; "
            "for several views use select(names)"
        )
    return rows
