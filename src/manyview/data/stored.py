"""Data sets: samples that are read when they are asked for, however many there are.

A :class:`Dataset` says how many samples it has, the shapes of their views, and gives any of its rows as
:class:`~manyview.Views`. Every estimator takes one in place of data in memory.
"""

from __future__ import annotations

import math
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch

from manyview.data.files import read_sample
from manyview.data.views import Views
from manyview.messages import closest

__all__ = ["Dataset", "IndexMVDataset", "MVDataset"]

# Bytes of a sample's view that are read together where the storage has no chunks of its own.
_CHUNK = 2**18

_STORES = (".npy", ".zarr", ".h5", ".hdf5", ".h5ad")

Rows = int | np.integer | slice | Sequence[int] | np.ndarray


class Dataset(ABC):
    r"""Samples that are read when they are asked for: ``len(dataset)``, ``dataset.shapes``, ``dataset[rows]``.

    A data set of your own sets ``shapes`` and answers ``__len__`` and :meth:`read`; the other attributes are there to
    be set where they differ. ``read`` is called by several threads at once.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        The feature shape of each view.
    chunk : int, default 1
        Rows that are stored, and best read, together: row i lies in chunk i // chunk. Shuffling keeps to them.
    workers : int, default 2
        Threads that read ahead while a model trains.
    index : sequence, optional
        A label for each sample; default: their numbers.
    feature_names : dict of str to list of str
        Names of the flattened features, of the views that have such.

    Examples
    --------
    >>> import numpy as np
    >>> class Waves(Dataset):
    ...     shapes = {"sine": (8,), "cosine": (8,)}
    ...
    ...     def __len__(self):
    ...         return 10**9
    ...
    ...     def read(self, rows):
    ...         x = np.multiply.outer(rows, np.arange(8))
    ...         return {"sine": np.sin(x), "cosine": np.cos(x)}
    >>> Waves()[[5, 999_999_999]]
    Views(n=2, sine=(8,), cosine=(8,))
    """

    shapes: Mapping[str, tuple[int, ...]]
    chunk: int = 1
    workers: int = 2
    index: Any = None
    feature_names: Mapping[str, Sequence[str]] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows: np.ndarray) -> Mapping[str, Any]:
        r"""Each view of the samples with these numbers, (len(rows), \*shape), NaN where it is missing."""

    @final
    def __getitem__(self, rows: Rows) -> Views:
        """Read some samples: a number, slice, array of numbers, or boolean mask."""
        numbers = self._numbers(rows)
        views = dict(self.read(numbers))
        if views.keys() != set(self.names):
            raise ValueError(f"{self!r} read the views {list(views)}, but it states shapes for {list(self.names)}")
        for name, x in views.items():
            expected = (len(numbers), *self.shapes[name])
            if np.shape(x) != expected:
                raise ValueError(f"{self!r} read view {name!r} of shape {np.shape(x)}, but should have read {expected}")
        return Views({name: views[name] for name in self.names}, ids=self.labels(numbers))

    @final
    def __iter__(self) -> Iterator[Views]:
        return (self[row] for row in range(len(self)))

    @final
    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """What torch's DataLoader asks for, and collates to a dict of tensors."""
        views = self.read(self._numbers(rows))
        tensors = {name: torch.as_tensor(np.asarray(x, dtype=np.float32)) for name, x in views.items()}
        return [{name: x[i] for name, x in tensors.items()} for i in range(len(rows))]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={len(self)}, {', '.join(f'{k}={v}' for k, v in self.shapes.items())})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(self.shapes)

    # ---- what estimators ask of any data ----

    @property
    def container(self) -> str:
        """What answers come in."""
        return "numpy"

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    @final
    def like(self, name: str, array: Any) -> Any:
        """An answer for a view: an array."""
        return array

    @final
    def pack(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Answers by view."""
        return dict(results)

    # ---- parts of it ----

    @final
    def labels(self, rows: np.ndarray) -> Any:
        """The labels of some samples."""
        return rows if self.index is None else self.index[rows]

    @final
    def take(self, rows: np.ndarray) -> Selected:
        """Those of the samples that have these numbers, which must increase."""
        return Selected(self, rows)

    @final
    def map(self, function: Callable[[Views], Views]) -> Mapped:
        """The same samples with a function applied to what is read; it must keep names and shapes."""
        return Mapped(self, function)

    def _numbers(self, rows: Rows) -> np.ndarray:
        n = len(self)
        if isinstance(rows, slice):
            return np.arange(*rows.indices(n))
        numbers = np.atleast_1d(np.asarray(rows))
        if numbers.dtype == bool:
            if numbers.shape != (n,):
                raise IndexError(f"a mask of rows needs shape ({n},), but has {numbers.shape}")
            return np.flatnonzero(numbers)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise IndexError(f"rows must be an int, a slice, or a 1-d array of int or bool, but got {rows!r}")
        numbers = numbers.astype(np.intp)
        if numbers.size and not -n <= numbers.min() <= numbers.max() < n:
            raise IndexError(f"row {numbers[(numbers < -n) | (numbers >= n)][0]} of a data set of {n} samples")
        return np.where(numbers < 0, numbers + n, numbers)


@final
class Selected(Dataset):
    """Some samples of another data set.

    Parameters
    ----------
    dataset : Dataset
        All of them.
    rows : ndarray of int
        The numbers of those that are kept, increasing.
    """

    def __init__(self, dataset: Dataset, rows: np.ndarray) -> None:
        self.dataset: Dataset = dataset.dataset if isinstance(dataset, Selected) else dataset
        self.rows: np.ndarray = dataset.rows[rows] if isinstance(dataset, Selected) else rows
        self.shapes, self.workers, self.feature_names = dataset.shapes, dataset.workers, dataset.feature_names
        self.index = dataset.labels(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: np.ndarray) -> Mapping[str, Any]:
        """Each view of these samples, NaN where it is missing."""
        return self.dataset.read(self.rows[rows])


@final
class Mapped(Dataset):
    """The samples of another data set, with a function applied to what is read.

    Parameters
    ----------
    dataset : Dataset
        The samples.
    function : callable
        From Views to Views of the same names and shapes.
    """

    def __init__(self, dataset: Dataset, function: Callable[[Views], Views]) -> None:
        self.dataset, self.function = dataset, function
        self.shapes, self.workers, self.feature_names = dataset.shapes, dataset.workers, dataset.feature_names
        self.chunk, self.index = dataset.chunk, dataset.index

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, rows: np.ndarray) -> Mapping[str, Any]:
        """Each view of these samples, NaN where it is missing."""
        views = self.function(self.dataset[rows])
        return {name: views.array(name) for name in views.names}


# ---- arrays that lie in files ---------------------------------------------------------------------------------------


@final
class FlatFile:
    r"""Rows of a file of plain numbers, read as they are asked for.

    What a memory map has once touched may stay in memory; what is read from a file is gone when it was used.

    Parameters
    ----------
    path : str or Path
        The file.
    dtype : dtype
        The type of its numbers.
    shape : tuple of int
        (n, \*shape), in C order.
    offset : int
        Bytes before the first number.
    """

    def __init__(self, path: str | Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int) -> None:
        self.path, self.dtype, self.shape, self.offset = Path(path), dtype, shape, offset

    @classmethod
    def of(cls, x: np.memmap[Any, Any]) -> FlatFile | np.ndarray:
        """What a memory map shows, if that is a stretch of its file; else the map itself."""
        whole = isinstance(x.base, mmap.mmap) and x.flags.c_contiguous and x.filename is not None and x.mode != "c"
        return cls(str(x.filename), x.dtype, x.shape, x.offset) if whole else x

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        width = math.prod(self.shape[1:])
        where = self.offset + start * width * self.dtype.itemsize
        x = np.fromfile(self.path, self.dtype, (stop - start) * width, offset=where)
        return x.reshape(stop - start, *self.shape[1:])


@final
class HDF5Array:
    """An array of an HDF5 file, opened for each read, so that threads and processes need not share a handle.

    Parameters
    ----------
    path : str or Path
        The file.
    key : str
        Where in the file it is: a data set, or a group that holds a sparse matrix by rows as AnnData writes them.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        import h5py

        self.path, self.key = Path(path), key
        with h5py.File(path, "r") as file:
            array = file[key]
            self.sparse = not isinstance(array, h5py.Dataset)
            if not self.sparse:
                self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
                return
            kind = array.attrs.get("encoding-type", "a group")
            if kind != "csr_matrix":
                raise ValueError(f"'{key}' is {kind}, not an array or a csr_matrix, of which rows can be read")
            self.shape, self.dtype, self.chunks = tuple(array.attrs["shape"]), array["data"].dtype, None

    def __getitem__(self, rows: slice) -> np.ndarray:
        import h5py

        with h5py.File(self.path, "r") as file:
            if not self.sparse:
                return np.asarray(file[self.key][rows])
            start, stop, _ = rows.indices(self.shape[0])
            matrix = file[self.key]
            ends = matrix["indptr"][start : stop + 1]
            stretch = slice(ends[0], ends[-1])
            x = np.zeros((stop - start, self.shape[1]), self.dtype)
            x[np.repeat(np.arange(stop - start), np.diff(ends)), matrix["indices"][stretch]] = matrix["data"][stretch]
            return x


class _Source(NamedTuple):
    """An array of samples, wherever it is: sliced by rows."""

    array: Any
    index: Any = None  # labels of its rows
    features: Any = None  # names of its columns

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(int, self.array.shape))

    @property
    def chunk(self) -> int:
        """Rows that are stored together."""
        chunks = getattr(self.array, "shards", None) or getattr(self.array, "chunks", None)
        if chunks and isinstance(chunks[0], int):
            return chunks[0]
        return max(1, _CHUNK // (math.prod(self.shape[1:]) * np.dtype(self.array.dtype).itemsize or 1))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows in any order, by as few reads of whole stretches as keep within the chunks that have such rows."""
        if isinstance(self.array, np.ndarray) and not isinstance(self.array, np.memmap):
            return np.asarray(self.array[rows])
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        apart = (np.diff(ordered) > 1) & (np.diff(ordered // self.chunk) > 0)
        out = np.empty((len(rows), *self.shape[1:]), self.array.dtype)
        for stretch in np.split(np.arange(len(rows)), np.flatnonzero(apart) + 1):
            if len(stretch):
                first, last = int(ordered[stretch[0]]), int(ordered[stretch[-1]])
                block = np.asarray(self.array[first : last + 1])
                out[order[stretch]] = block[ordered[stretch] - first]
        return out


def _open(name: str, x: Any) -> _Source:
    """The source of a view: a path, or any array that can be sliced by rows."""
    source = _open_path(name, x) if isinstance(x, str | Path) else _as_source(x)
    if not hasattr(source.array, "shape") or not hasattr(source.array, "dtype"):
        raise TypeError(
            f"view {name!r}: is a {type(x).__name__}; give the path of a file ({', '.join(_STORES)}), or an array with "
            "shape and dtype that can be sliced by rows"
        )
    if len(source.shape) < 2 or 0 in source.shape:
        raise ValueError(f"view {name!r}: needs shape (samples, features), but has shape {source.shape}")
    if np.dtype(source.array.dtype).kind not in "biuf":
        raise ValueError(f"view {name!r}: is not real numbers but {source.array.dtype}")
    return source


def _as_source(x: Any) -> _Source:
    if isinstance(x, np.memmap):
        return _Source(FlatFile.of(x))
    if isinstance(x, torch.Tensor):
        return _Source(x.numpy(force=True))
    if hasattr(x, "obs_names") and hasattr(x, "var_names"):  # AnnData
        if x.isbacked and not x.is_view:
            return _Source(HDF5Array(x.filename, "X"), x.obs_names, x.var_names)
        values = x.to_memory().X if x.isbacked else x.X
        return _Source(values.toarray() if hasattr(values, "toarray") else values, x.obs_names, x.var_names)
    if hasattr(x, "iloc"):  # a DataFrame
        return _Source(x.to_numpy(), x.index, x.columns)
    return _Source(x)


def _open_path(name: str, location: str | Path) -> _Source:
    text, _, key = str(location).partition("::")
    path = Path(text)
    if not path.exists():
        raise FileNotFoundError(f"view {name!r}: there is no {path}")
    try:
        if path.suffix == ".npy":
            return _Source(FlatFile.of(np.load(path, mmap_mode="r", allow_pickle=False)))
        if path.suffix in (".h5", ".hdf5"):
            return _Source(HDF5Array(path, key or _only_array(path)))
        if path.suffix == ".zarr":
            import zarr

            return _Source(zarr.open_array(path / key, mode="r"))
        if path.suffix == ".h5ad":
            import anndata

            return _as_source(anndata.read_h5ad(path, backed="r"))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"view {name!r}: {location} cannot be read: {error}") from error
    raise ValueError(
        f"view {name!r}: files of type {path.suffix!r} cannot be read in parts{closest(path.suffix, _STORES)}; "
        "read it into memory, or store it as one of these"
    )


def _only_array(path: Path) -> str:
    import h5py

    keys: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda key, item: keys.append(key) if isinstance(item, h5py.Dataset) else None)
    if len(keys) != 1:
        raise ValueError(f"it holds the arrays {keys}; choose one as '{path}::{keys[0] if keys else 'key'}'")
    return keys[0]


@final
class MVDataset(Dataset):
    r"""Views that lie in arrays: files of any size, or what can be sliced by rows.

    Arrays are matched by position. Those with labels (AnnData, DataFrames) are matched by them where they differ: a
    sample without a row in a view lacks that view.

    Parameters
    ----------
    data : dict of str to array or path, sequence of these, or Views
        A view each, of shape (n, \*features): the path of an ``.npy``, ``.zarr``, ``.h5`` or ``.h5ad`` file
        (``"file.h5::key"`` where it holds several arrays), an array in memory, a memory map, or an h5py, zarr or other
        array that can be sliced by rows, or AnnData, backed or not.
    ids : sequence, optional
        A label for each sample, for arrays without.
    feature_names : dict of str to sequence of str, optional
        Names of the flattened features.
    workers : int, default 2
        Threads that read ahead while a model trains.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If a file or array cannot be read, or the samples cannot be matched.

    Examples
    --------
    >>> import numpy as np
    >>> dataset = MVDataset({"genes": np.zeros((4, 3)), "lipids": np.ones((4, 2))})
    >>> len(dataset), dataset[[3, 0]].shapes
    (4, {'genes': (3,), 'lipids': (2,)})
    """

    def __init__(
        self,
        data: Any,
        *,
        ids: Any = None,
        feature_names: Mapping[str, Iterable[str]] | None = None,
        workers: int = 2,
    ) -> None:
        self.workers = workers
        self._sources = {name: _open(name, x) for name, x in _named(data).items()}
        if not self._sources:
            raise ValueError("no views: give at least one array or path")
        self.shapes = {name: source.shape[1:] for name, source in self._sources.items()}
        self.chunk = max(source.chunk for source in self._sources.values())
        names = {name: source.features for name, source in self._sources.items() if source.features is not None}
        self.feature_names = {
            name: [str(feature) for feature in features]
            for name, features in {**names, **(feature_names or {})}.items()
        }
        for name, features in self.feature_names.items():
            if name not in self.shapes:
                raise KeyError(f"feature_names: no view {name!r}{closest(name, self.shapes)}")
            if len(features) != math.prod(self.shapes[name]):
                width = math.prod(self.shapes[name])
                raise ValueError(f"view {name!r}: {len(features)} feature names for {width} features")
        self._rows: dict[str, np.ndarray] = {}
        self._match(ids)

    def _match(self, ids: Any) -> None:
        """Find the rows of each sample in each view: the same in all, or by label where these differ."""
        counts = {name: source.shape[0] for name, source in self._sources.items()}
        indexes = {name: source.index for name, source in self._sources.items() if source.index is not None}
        first: Any = next(iter(indexes.values()), None)
        if all(index.equals(first) for index in indexes.values()) and len(set(counts.values())) == 1:
            self._n = next(iter(counts.values()))
            self.index = first if ids is None else np.asarray(ids)
            if self.index is not None and len(self.index) != self._n:
                raise ValueError(f"ids: {len(self.index)} labels for {self._n} samples")
            return
        if len(indexes) < len(counts):
            raise ValueError(
                f"the views have different numbers of samples, {counts}, or differ in their labels; arrays without "
                "labels are matched by position: give equal numbers, or AnnData with obs_names"
            )
        if ids is not None:
            raise ValueError(f"ids: the labels of {list(indexes)} differ, and say which sample is which; leave ids out")
        joined = first.append([index for index in indexes.values() if index is not first]).unique()
        for name, index in indexes.items():
            if not index.is_unique:
                raise ValueError(f"view {name!r}: label {index[index.duplicated()][0]!r} occurs more than once")
            self._rows[name] = index.get_indexer(joined)
        self._n, self.index = len(joined), joined

    def __len__(self) -> int:
        return self._n

    def read(self, rows: np.ndarray) -> Mapping[str, Any]:
        """Each view of these samples, NaN where it is missing."""
        return {name: self._read_view(name, source, rows) for name, source in self._sources.items()}

    def _read_view(self, name: str, source: _Source, rows: np.ndarray) -> np.ndarray:
        if name not in self._rows:
            return source.read(rows)
        rows = self._rows[name][rows]
        there = rows >= 0
        found = source.read(rows[there])
        out = np.full((len(rows), *source.shape[1:]), np.nan, np.result_type(found.dtype, np.float32))
        out[there] = found
        return out


def _named(data: Any) -> dict[str, Any]:
    """The views by name."""
    if hasattr(data, "mod"):  # MuData
        data = data.mod
    if isinstance(data, Views):
        return {name: data.array(name) for name in data.names}
    if isinstance(data, Mapping):
        return dict(data)
    views = data if isinstance(data, list | tuple) else [data]
    return {f"view_{i}": view for i, view in enumerate(views)}


# ---- a file for each sample -----------------------------------------------------------------------------------------


@final
class IndexMVDataset(Dataset):
    """A list of sample names, and a folder that has a file for each sample and view.

    A sample whose file is not there lacks that view.

    Parameters
    ----------
    ids : sequence
        Names of the samples, unique.
    data_dir : str or Path
        The folder.
    filename : str, default "{view}/{id}.npy"
        Where in it a file is, with ``{view}`` and ``{id}`` in the places of their names. Without names, as in
        ``"view{}_{}.npy"``, the view comes first.
    views : sequence of str, or int
        Names of the views; or how many there are: they are then called view_0, view_1, ..., and ``{view}`` is their
        number.
    reader : callable, optional
        What reads a file: a function from its path to an array, the same shape for all samples. By default by the
        file's type: ``.npy``; an image, which becomes (channels, height, width), from 0 to 1; NIfTI.
    workers : int, default 2
        Threads that read ahead while a model trains.

    Raises
    ------
    FileNotFoundError
        If there is no file at all of some view.
    ValueError
        If names occur more than once, or a file cannot be read, or differs from the others in shape.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("anna", "bert"):
    ...     np.save(folder / f"mri_{name}.npy", np.ones((4, 4)))
    >>> IndexMVDataset(["anna", "bert"], folder, "{view}_{id}.npy", views=["mri"])[0]
    Views(n=1, mri=(4, 4))
    """

    def __init__(
        self,
        ids: Iterable[Any],
        data_dir: str | Path,
        filename: str = "{view}/{id}.npy",
        *,
        views: int | Sequence[str],
        reader: Callable[[Path], Any] | None = None,
        workers: int = 2,
    ) -> None:
        self.index = np.asarray(list(ids))
        if self.index.ndim != 1 or not len(self.index) or len(np.unique(self.index)) < len(self.index):
            raise ValueError("ids: give the names of the samples, at least one, each once")
        self.data_dir, self.filename, self.workers = Path(data_dir), filename, workers
        if not self.data_dir.is_dir():
            raise FileNotFoundError(f"data_dir={str(data_dir)!r}: there is no such folder")
        numbered = isinstance(views, int)
        self._fields = {f"view_{i}": i for i in range(views)} if isinstance(views, int) else {v: v for v in views}
        if not self._fields or isinstance(views, str):
            example = 2 if numbered else ["mri", "pet"]
            raise ValueError(f"views={views!r}: give the names of the views, or their number, such as {example}")
        self._reader = read_sample if reader is None else reader
        examples = {name: self._first(name) for name in self._fields}
        self.shapes = {name: x.shape for name, x in examples.items()}
        self._dtypes = {
            name: np.float32 if np.can_cast(x.dtype, np.float32) else np.float64 for name, x in examples.items()
        }

    def path(self, view: str, row: int) -> Path:
        """The file of a view of a sample."""
        field, label = self._fields[view], self.index[row]
        try:
            return self.data_dir / self.filename.format(field, label, view=field, id=label)
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f"filename={self.filename!r}: only {{view}} and {{id}} can be put into it ({error!r})"
            ) from error

    def _first(self, view: str) -> np.ndarray:
        """The view of the first sample that has it."""
        path = next((path for row in range(len(self)) if (path := self.path(view, row)).exists()), None)
        if path is None:
            raise FileNotFoundError(
                f"view {view!r}: none of the {len(self)} samples has a file, for example {self.path(view, 0)}; "
                "check data_dir, filename and ids"
            )
        return self._read_file(path)

    def _read_file(self, path: Path) -> np.ndarray:
        try:
            x = self._reader(path)
            array = np.asarray(x.numpy(force=True) if isinstance(x, torch.Tensor) else x)
        except ImportError:
            raise
        except Exception as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if array.dtype.kind not in "biuf" or not array.ndim or not array.size:
            raise ValueError(f"{path}: needs an array of numbers, but gave shape {array.shape} and type {array.dtype}")
        return array

    def __len__(self) -> int:
        return len(self.index)

    def read(self, rows: np.ndarray) -> Mapping[str, Any]:
        """Each view of these samples, NaN where it is missing."""
        return {name: self._read_view(name, rows) for name in self._fields}

    def _read_view(self, name: str, rows: np.ndarray) -> np.ndarray:
        shape = self.shapes[name]
        out = np.full((len(rows), *shape), np.nan, self._dtypes[name])
        for i, row in enumerate(rows.tolist()):
            path = self.path(name, row)
            if not path.exists():
                continue
            x = self._read_file(path)
            if x.shape != shape:
                raise ValueError(f"{path} has shape {x.shape}, but the first file of view {name!r} has {shape}")
            out[i] = x
        return out
