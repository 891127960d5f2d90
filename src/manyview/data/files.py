r"""Files as views: tables, arrays, annotated data and folders of images, joined on the sample id.

A file *labels* its samples if a column or array of it is named by `id`, or if it names them itself: AnnData by
``obs_names``, a folder by the names of its files, Parquet by an index. Labels are strings: 7 in one file is "7" in
another, and "007" stays what it is. Files without labels are matched by position, but never with files that have them.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from manyview.atomic import replacing
from manyview.data.views import Views
from manyview.messages import warn

if TYPE_CHECKING:
    import pandas

__all__ = ["FORMATS", "read_sample", "read_table", "read_views", "write_table"]

FORMATS: dict[str, str] = {
    ".csv": "comma-separated table",
    ".csv.gz": "comma-separated table, compressed",
    ".tsv": "tab-separated table",
    ".tsv.gz": "tab-separated table, compressed",
    ".parquet": "Parquet table",
    ".npy": "NumPy array",
    ".npz": "NumPy arrays",
    ".h5": "HDF5 arrays",
    ".hdf5": "HDF5 arrays",
    ".h5ad": "AnnData file",
    ".h5mu": "MuData file",
}
"""What a file's suffix says that it is. Folders of .png, .jpg, .tif, .bmp, .nii or .npy are read as well."""

_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_TABLES = (*_SEPARATORS, ".parquet")
_UNNAMED = "Unnamed: "  # as pandas calls column i without a name
_SEEMS_ID = re.compile(
    r"(row|sample|subject|patient|participant|donor|barcode|index|name|id)s?[ _.-]*(id|name)?s?", re.I
)

logger = logging.getLogger("manyview")


class _Part(NamedTuple):
    """What a file says of one view."""

    path: Path
    values: Any  # a DataFrame of numbers, or an array (n, ...)
    ids: Any = None  # a pandas Index of unique str, the index of `values` if that is a DataFrame; None: no labels


def read_views(paths: Mapping[str, str | os.PathLike[str]] | str | os.PathLike[str], *, id: str | None = None) -> Views:
    r"""Read views from files, one a view, and join them on the sample id.

    Parameters
    ----------
    paths : mapping of view name to path, or path
        A file (its suffix is one of :data:`FORMATS`) or a folder for each view; of a file with several arrays, the one
        that has the view's name. One path alone holds all views: the arrays of .npz, .h5 and .h5mu by their names,
        anything else as a single view that is named after the file.
    id : str, optional
        The column (of AnnData: of ``obs``, else ``obs_names``; of .npz and .h5: the array) that labels the samples. A
        sample that a file lacks misses that view. Default: files that label their samples themselves are joined on
        these labels; others are matched by position and must have equally many rows.

    Returns
    -------
    Views
        The views in the order of `paths`; the samples in the order of the first view, followed by those that it lacks.
        Tables have one feature a column. A folder has one sample a file: images are (C, H, W), with C = 1 for grey and
        3 for colour, scaled to [0, 1] unless they hold floats; .nii and .npy are as they are. The stem of a file's
        name is its sample's label.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a format needs a package that is not installed.
    ValueError
        If a file is empty, damaged or of unknown format, a column is not numeric, labels are missing, repeated, or
        in no two files the same, or rows cannot be matched.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "genes.csv").write_text("mouse,Acox1,Cpt2\nm1,0.5,1.2\nm2,0.1,0.9\nm3,0.3,1.0\n")
    >>> _ = (folder / "lipids.csv").write_text("mouse,C16.0\nm3,26.4\nm1,24.0\n")
    >>> views = read_views({"genes": folder / "genes.csv", "lipids": folder / "lipids.csv"}, id="mouse")
    >>> views
    Views(n=3, genes=(2,), lipids=(1,), missing: lipids 1)
    >>> views["lipids"]
           C16.0
    mouse
    m1      24.0
    m2       NaN
    m3      26.4
    """
    if not isinstance(paths, Mapping):
        return _join(_read(Path(paths), id), id)
    if not paths:
        raise ValueError("paths: no files given; name a file for each view, as in {'genes': 'genes.csv'}")
    return _join({view: _choose(view, _read(Path(path), id)) for view, path in paths.items()}, id)


def read_table(path: str | os.PathLike[str], *, id: str | None = None) -> pandas.DataFrame:
    """Read a table of anything, such as covariates; text and categories stay what they are.

    Parameters
    ----------
    path : path
        A .csv, .tsv (either may be compressed, .gz) or .parquet file, with column names in its first line.
    id : str, optional
        The column that labels the rows; it becomes the index, of unique str. Default: none; the index of Parquet
        files is kept.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, damaged or no table, columns are repeated or have no name, or `id` is not one of them, or its
        labels are missing or repeated.
    """
    path = _existing(Path(path))
    suffix = _suffix(path, _TABLES)
    frame = _read_text(path, id, _SEPARATORS[suffix]) if suffix in _SEPARATORS else _read_parquet(path)
    if frame.empty:
        raise ValueError(f"{path}: has names of columns, but no rows" if len(frame.columns) else f"{path}: is empty")
    if id is None:
        return frame
    if any(frame.index.names):
        frame = frame.reset_index()
    _check_id(path, id, frame.columns)
    if frame[id].isna().any():
        frame = frame.dropna(how="all")  # spreadsheets leave empty rows below a table
    labels = _as_ids(frame[id], path, id)
    return frame.drop(columns=id).set_axis(labels)


def write_table(frame: pandas.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table with its index, whole or not at all.

    Parameters
    ----------
    frame : DataFrame
        The table. Its index becomes the first column, called "id" if it has no name.
    path : path
        Where to; the suffix is the format: .csv, .tsv (either may be followed by .gz) or .parquet.

    Raises
    ------
    ValueError
        If the suffix is another, or the index and a column have the same name.
    OSError
        If the file cannot be written; one that was there stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> path = Path(tempfile.mkdtemp()) / "latents.csv"
    >>> write_table(pd.DataFrame({"z0": [0.1, 0.2]}, index=["m1", "m2"]), path)
    >>> print(path.read_text(), end="")
    id,z0
    m1,0.1
    m2,0.2
    """
    path = Path(path).expanduser()
    suffix = _suffix(path, _TABLES)
    frame = frame.rename_axis(index=[str(name or "id") for name in frame.index.names])
    frame.columns = frame.columns.map(str)
    if taken := [name for name in frame.index.names if name in frame.columns]:
        raise ValueError(f"{path}: the index and a column are both called {taken[0]!r}; rename one of them")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {os.fspath(path.parent)!r}; make it first")
    with replacing(path) as beside:
        if suffix == ".parquet":
            _package("pyarrow", "Parquet")
            frame.to_parquet(beside, index=True)
        else:
            frame.to_csv(beside, sep=_SEPARATORS[suffix])


# ---- one file -------------------------------------------------------------------------------------------------------


def _read(path: Path, id: str | None) -> dict[str, _Part]:
    """Every view that a file or folder holds."""
    path = _existing(path)
    if path.is_dir():
        return {path.name: _read_folder(path)}
    suffix = _suffix(path, FORMATS)
    if suffix in _TABLES:
        return {path.name[: -len(suffix)]: _read_features(path, id)}
    if suffix == ".npy":
        return {path.stem: _Part(path, _load_npy(path))}
    return {".npz": _read_npz, ".h5ad": _read_h5ad, ".h5mu": _read_h5mu}.get(suffix, _read_hdf5)(path, id)


def _choose(view: str, parts: dict[str, _Part]) -> _Part:
    if len(parts) == 1:
        return next(iter(parts.values()))
    if view not in parts:
        raise ValueError(
            f"{next(iter(parts.values())).path}: holds {len(parts)} arrays, and none is called {view!r}"
            f"{_guess(view, parts)}"
        )
    return parts[view]


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if path.is_dir() or (path.is_file() and path.stat().st_size):
        return path
    if path.exists():
        raise ValueError(f"{path}: is empty")
    near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = get_close_matches(path.name, near, n=1, cutoff=0.75)
    meant = f"; did you mean {guess[0]!r}?" if guess else f" (looked in {Path.cwd()})" * (not path.is_absolute())
    raise FileNotFoundError(f"no file {os.fspath(path)!r}{meant}")


def _suffix(path: Path, allowed: Iterable[str]) -> str:
    name, allowed = path.name.lower(), list(allowed)
    for suffix in allowed:
        if name.endswith(suffix):
            return suffix
    raise ValueError(f"{path}: unknown format; save it as one of {', '.join(allowed)}, with that ending to its name")


def _guess(name: str, known: Iterable[Any]) -> str:
    """The end of a message about an unknown name; tables may have too many columns to list them all."""
    by_lower = {str(other).lower(): str(other) for other in known}
    guess = get_close_matches(name.lower(), by_lower, n=1)
    meant = f"; did you mean {by_lower[guess[0]]!r}?" if guess else "."
    names = list(by_lower.values())
    return f"{meant} It has {', '.join(map(repr, names[:8]))}{', ...' * (len(names) > 8)}"


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Say which file it is that a reader cannot read."""
    try:
        yield
    except (ImportError, MemoryError, PermissionError):
        raise
    except Exception as error:  # each reader fails on damaged files in ways of its own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: cannot be read as {what} ({reason}); is it complete, and of that format?") from error


def _package(name: str, what: str, pip: str | None = None) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{what} needs a package that is not installed: pip install {pip or name}") from error


# ---- tables ---------------------------------------------------------------------------------------------------------


def _open_text(path: Path) -> TextIOWrapper:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_text(path: Path, id: str | None, separator: str) -> pandas.DataFrame:
    import pandas as pd

    what = "text in UTF-8 with columns separated by " + {",": "commas", "\t": "tabs"}[separator]
    with _reading(path, what), _open_text(path) as file:
        lines = (line for line in csv.reader(file, delimiter=separator, skipinitialspace=True) if line)
        header, first = next(lines, []), next(lines, [])
    columns = _columns(path, header, first, id)
    with _reading(path, what):
        frame = pd.read_csv(
            path,
            sep=separator,
            names=columns,
            header=0,
            index_col=False,
            encoding="utf-8-sig",
            compression="gzip" if path.name.lower().endswith(".gz") else None,
            converters=None if id is None else {id: str.strip},  # as text: 007 is not 7
            skipinitialspace=True,
            low_memory=False,
        )
    if len(frame) and frame.iloc[:, -1].isna().any():  # pandas fills short lines up, as in a file that was cut off
        with _open_text(path) as file:
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            lines = (line for line in reader if line)
            next(lines)  # the names
            for line in lines:
                if len(line) < len(columns):
                    raise _ragged(path, reader.line_num, len(line), len(columns))
    return frame


def _columns(path: Path, header: list[str], first: list[str], id: str | None) -> list[str]:
    """Names of the columns, from the first two lines."""
    names = [name.strip() for name in header]
    if not any(names):
        raise ValueError(f"{path}: is empty, or its first line is; that must hold the names of the columns")
    other = next(
        (mark for mark in ";\t," if len(names) == len(first) == 1 and mark in names[0] and mark in first[0]), ""
    )
    if other:
        raise ValueError(
            f"{path}: has a single column {names[0][:40]!r}, as if columns were separated by {other!r}; "
            "separate them by commas in .csv and by tabs in .tsv files"
        )
    if len(first) == len(names) + 1 and first[-1].strip():
        names = ["", *names]  # R's write.table has no name for the column of row names
    elif len(first) > len(names):
        raise _ragged(path, 2, len(first), len(names))
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        numbers = []
    # wavelengths and numbered columns are in order
    if len(numbers) > 2 and numbers not in (sorted(numbers), sorted(numbers, reverse=True)):
        raise ValueError(
            f"{path}: its first line is numbers ({', '.join(names[:3])}, ...), but must hold the names of the columns"
        )
    named = [name or f"{_UNNAMED}{i}" for i, name in enumerate(names)]
    for i, (name, column) in enumerate(zip(names, named, strict=True), start=1):
        if not name and column != id:
            raise ValueError(
                f"{path}: column {i} has no name; name it in the first line, or delete it; "
                f"if it holds the sample ids, give id={column!r}"
            )
    _check_unique(path, named)
    if id is not None:
        _check_id(path, id, named)
    return named


def _check_id(path: Path, id: str, columns: Iterable[str]) -> None:
    if id not in columns:
        raise ValueError(f"{path}: has no column {id!r} of sample ids{_guess(id, columns)}")


def _check_unique(path: Path, columns: Iterable[str]) -> None:
    column, count = Counter(columns).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: {count} columns are called {column!r}; names of columns must be unique")


def _ragged(path: Path, line: int, found: int, expected: int) -> ValueError:
    return ValueError(
        f"{path}: line {line} has {found} values for {expected} columns; "
        "is the file complete, and text with separators quoted?"
    )


def _read_parquet(path: Path) -> pandas.DataFrame:
    import pandas as pd

    _package("pyarrow", "Parquet")
    with _reading(path, "Parquet"):
        frame = pd.read_parquet(path)
    if len(frame.columns):
        frame.columns = frame.columns.map(str)
        _check_unique(path, frame.columns)
    return frame


def _read_features(path: Path, id: str | None) -> _Part:
    """A table of which every column is a feature."""
    import pandas as pd

    frame = read_table(path, id=id)
    if not len(frame.columns):
        raise ValueError(f"{path}: has no columns but the sample ids")
    if id is None and _SEEMS_ID.fullmatch(frame.columns[0]):
        name = frame.columns[0]
        raise ValueError(
            f"{path}: column {name!r} seems to label the samples: give id={name!r}, or rename that feature"
        )
    # Parquet keeps an index; one that only counts is none
    labelled = id is not None or any(frame.index.names) or not frame.index.equals(pd.RangeIndex(len(frame)))
    frame = _numeric(path, frame, labelled)
    if not labelled:
        return _Part(path, frame)
    ids = frame.index if id is not None else _as_ids(frame.index, path, frame.index.name or "the index")
    return _Part(path, frame.set_axis(ids), ids)


def _numeric(path: Path, frame: pandas.DataFrame, labelled: bool) -> pandas.DataFrame:
    """The same table with every column a number."""
    import pandas as pd

    converted: dict[str, Any] = {}
    odd: dict[str, Any] = {}  # by column, its entries that are no numbers
    for name, dtype in frame.dtypes.items():
        if dtype.kind in "biuf":
            continue
        column = frame[name]
        # to_numeric makes numbers of dates
        numbers = pd.to_numeric(column.astype(object), errors="coerce") if dtype.kind == "O" else column.isna() * np.nan
        bad = column[column.notna() & numbers.isna()]
        (odd if len(bad) else converted)[str(name)] = bad if len(bad) else numbers
    if not odd:
        return frame.assign(**converted) if converted else frame
    name, bad = next(iter(odd.items()))
    row = f"sample {bad.index[0]!r}" if labelled else f"row {bad.index[0] + 1}"
    others = f" ({len(odd) - 1} other columns are not numeric either)" if len(odd) > 1 else ""
    ids = "" if labelled or name != frame.columns[0] else f"; if it holds the sample ids, give id={name!r}"
    raise ValueError(
        f"{path}: column {name!r} is not numeric, first {bad.iloc[0]!r} in {row}{others}; write numbers as 1.5 and "
        f"missing values as NA or nothing; encode categories, or leave the column out{ids}"
    )


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _load_npy(path: Path) -> np.ndarray:
    with _reading(path, "NumPy array"):
        return np.asarray(np.load(path, allow_pickle=False))


def _read_npz(path: Path, id: str | None) -> dict[str, _Part]:
    with _reading(path, "NumPy arrays"), np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return _from_arrays(path, arrays, id)


def _read_hdf5(path: Path, id: str | None) -> dict[str, _Part]:
    h5py = _package("h5py", "HDF5")
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with _reading(path, "HDF5"), h5py.File(path, "r") as file:
        pandas = any("pandas_type" in file[key].attrs for key in file)
        kind = file.attrs.get("encoding-type", "pandas" if pandas else "")
        if not kind:
            file.visititems(collect)
    if kind:
        raise ValueError(
            f"{path}: holds a table of pandas, not arrays; write it by DataFrame.to_parquet"
            if kind == "pandas"
            else f"{path}: was written as {kind}; give the file the ending .h5ad (AnnData) or .h5mu (MuData)"
        )
    return _from_arrays(path, arrays, id)


def _from_arrays(path: Path, arrays: dict[str, np.ndarray], id: str | None) -> dict[str, _Part]:
    labels = None if id is None else arrays.pop(id, None)
    if id is not None and labels is None:
        raise ValueError(f"{path}: has no array {id!r} of sample ids{_guess(id, arrays)}")
    if not arrays:
        raise ValueError(f"{path}: has no arrays{'' if id is None else ' but the sample ids'}")
    if labels is not None and labels.ndim != 1:
        raise ValueError(f"{path}: the ids in {id!r} need shape (samples,), but have {labels.shape}")
    ids = None if labels is None else _as_ids(labels, path, id)
    return {name: _Part(path, array, ids) for name, array in arrays.items()}


def _check_array(view: str, part: _Part) -> None:
    shape, dtype = part.values.shape, part.values.dtype
    if dtype.kind not in "biuf" or len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{part.path}: view {view!r} must be numbers of shape (samples, features) or (samples, channels, height, "
            f"width), but is {dtype} of shape {shape}; reshape a single feature to (samples, 1); if these are the "
            "sample ids, put them beside the views in .npz or .h5, and give the name of that array as id"
        )
    if part.ids is not None and len(part.ids) != shape[0]:
        raise ValueError(f"{part.path}: view {view!r} has {shape[0]} rows, but there are {len(part.ids)} sample ids")


def _read_h5ad(path: Path, id: str | None) -> dict[str, _Part]:
    anndata = _package("anndata", "AnnData")
    with _reading(path, "AnnData"):
        data = anndata.read_h5ad(path)
    return {path.stem: _from_anndata(path, data, id)}


def _read_h5mu(path: Path, id: str | None) -> dict[str, _Part]:
    mudata = _package("mudata", "MuData")
    with _reading(path, "MuData"):
        data = mudata.read_h5mu(path)
    return {name: _from_anndata(path, modality, id) for name, modality in data.mod.items()}


def _from_anndata(path: Path, data: Any, id: str | None) -> _Part:
    import pandas as pd

    if data.X is None:
        raise ValueError(f"{path}: has no X, only {list(data.layers)} as layers; put what is to be modelled in X")
    ids = _as_ids(data.obs[id], path, id) if id in data.obs else _as_ids(data.obs_names, path, "obs_names")
    x = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)  # may be sparse
    return _Part(path, pd.DataFrame(x, index=ids, columns=data.var_names), ids)


# ---- folders --------------------------------------------------------------------------------------------------------


def _read_folder(path: Path) -> _Part:
    """One sample a file."""
    files: dict[Path, str] = {}  # each with its suffix
    others = []
    for file in sorted(path.iterdir()):
        suffix = next((suffix for suffix in _SAMPLES if file.name.lower().endswith(suffix)), None)
        if suffix and file.is_file() and not file.name.startswith("."):
            files[file] = suffix
        elif not file.name.startswith("."):
            others.append(file.name)
    if not files:
        raise ValueError(f"{path}: this folder has no samples: no {', '.join(_SAMPLES)} files{_first(others)}")
    if others:
        warn(f"{path}: {len(others)} files that are no {', '.join(_SAMPLES)} are left out{_first(others)}")
    samples: list[np.ndarray] = []
    for file, suffix in files.items():
        what, read = _SAMPLES[suffix]
        with _reading(file, what):
            samples.append(read(file))
        if samples[-1].shape != samples[0].shape:
            raise ValueError(
                f"{file}: has shape {samples[-1].shape}, but {next(iter(files)).name} has {samples[0].shape}; "
                "all samples of a view need the same size and number of colours"
            )
    stems = [file.name[: -len(suffix)] for file, suffix in files.items()]
    return _Part(path, np.stack(samples), _as_ids(stems, path, "names of files"))


def _first(names: list[str]) -> str:
    return f", but {names[0]!r}" if names else ""


def _load_image(path: Path) -> np.ndarray:
    """Channels first, (C, H, W), and integers scaled to [0, 1]."""
    with _package("PIL.Image", "reading images", "pillow").open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError(f"it has {image.n_frames} frames; save each sample as one picture, or as .npy")
        if image.mode not in ("1", "L", "F", "I", "I;16", "I;16B"):
            image = image.convert("RGB")  # palettes, CMYK and the like; transparency is left out
        pixels = np.asarray(image)
    white = {"bool": 1, "uint8": 255, "uint16": 65535, "int32": 65535}.get(pixels.dtype.name, 1)
    scaled = pixels.astype(np.float32) / np.float32(white)
    return scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)


def _load_nifti(path: Path) -> np.ndarray:
    return np.asarray(_package("nibabel", "NIfTI").load(path).get_fdata(dtype=np.float32))


_SAMPLES: dict[str, tuple[str, Callable[[Path], np.ndarray]]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), ("an image", _load_image)),
    **dict.fromkeys((".nii.gz", ".nii"), ("NIfTI", _load_nifti)),
    ".npy": ("NumPy array", _load_npy),
}
"""What one file of a folder may be, and what reads it."""


def read_sample(path: Path) -> np.ndarray:
    """One sample's view from a file of its own: ``.npy``, an image, or NIfTI.

    Raises
    ------
    ValueError
        If it is of another type.
    """
    for suffix, (_, read) in _SAMPLES.items():
        if path.name.lower().endswith(suffix):
            return read(path)
    raise ValueError(
        f"files of this type need a reader of your own: reader=, a function from path to array; "
        f"{', '.join(_SAMPLES)} need none"
    )


# ---- sample ids -----------------------------------------------------------------------------------------------------


def _as_ids(values: Any, path: Path, name: Any) -> Any:
    """Labels as an index of unique strings."""
    import pandas as pd

    series = pd.Series(values, dtype=object)
    text = ["" if missing else _text(value) for value, missing in zip(series, series.isna(), strict=True)]
    if "" in text:
        raise ValueError(
            f"{path}: {text.count('')} of {len(text)} sample ids in {name!r} are missing, "
            f"first in row {text.index('') + 1}; every row needs one"
        )
    label, count = Counter(text).most_common(1)[0]
    if count > 1:
        rows = [i for i, other in enumerate(text, start=1) if other == label]
        raise ValueError(
            f"{path}: sample id {label!r} occurs {count} times in {name!r} (rows {', '.join(map(str, rows[:5]))}); "
            "ids must be unique: keep one row a sample"
        )
    return pd.Index(text, name=getattr(values, "name", None) or "id")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float | np.floating) and value.is_integer():  # ids that were read as numbers
        value = int(value)
    return str(value).strip()


def _join(parts: dict[str, _Part], id: str | None) -> Views:
    """Give all views the same rows: by position if none are labelled, else by their ids."""
    for view, part in parts.items():
        if isinstance(part.values, np.ndarray):
            _check_array(view, part)
    rows = ", ".join(f"{part.path.name} {len(part.values)}" for part in parts.values())
    bare = [part.path.name for part in parts.values() if part.ids is None]
    if bare and (id is not None or len(bare) < len(parts)):
        raise ValueError(
            f"{bare[0]}: does not label its samples, so that its rows cannot be matched with ids; "
            "give id, the name of a column that every table has, and hold arrays with their ids in .npz or .h5"
        )
    if bare:
        if len({len(part.values) for part in parts.values()}) > 1:
            raise ValueError(
                f"rows cannot be matched by position, as files differ in their number: {rows}; "
                "give id, the name of the column that holds the sample ids"
            )
        return Views({view: part.values for view, part in parts.items()})

    _check_overlap(parts)
    joined = next(iter(parts.values())).ids
    for part in parts.values():
        joined = joined.union(part.ids, sort=False)
    found = Counter(label for part in parts.values() for label in part.ids)
    complete = sum(count == len(parts) for count in found.values())
    logger.info("read %d samples, %d of them in all files: %s", len(joined), complete, rows)
    views = {view: _align(part, joined) for view, part in parts.items()}
    arrays = all(isinstance(values, np.ndarray) for values in views.values())
    return Views(views, ids=joined if arrays else None)  # tables have them as index


def _check_overlap(parts: dict[str, _Part]) -> None:
    """Ids that hardly meet are a mistake: of another kind, or written differently."""
    doubts = []
    for view, part in parts.items():
        others = [other for name, other in parts.items() if name != view]
        if not others:
            return
        share, nearest = max(((_share(part, other), other) for other in others), key=lambda pair: pair[0])
        which = " and ".join(
            f"{file.path.name} ({len(file.ids)} ids, such as {file.ids[0]!r})" for file in (part, nearest)
        )
        if not share:
            turned = any(nearest.ids.isin(getattr(part.values, "columns", ())))
            mend = "transpose it: each sample is a row" if turned else "are they of the same kind, and written alike?"
            raise ValueError(f"no sample of {part.path} is in another file: {which} have no id in common; {mend}")
        if share < 0.5:
            doubts.append(f"{which} have only {len(part.ids.intersection(nearest.ids))} ids in common")
    if doubts:
        warn(f"{doubts[0]}; are they written alike?")


def _share(part: _Part, other: _Part) -> float:
    """Fraction of the shorter one's ids that the other has as well."""
    return float(part.ids.isin(other.ids).sum() / min(len(part.ids), len(other.ids)))


def _align(part: _Part, joined: Any) -> Any:
    """The rows in the order of the joined ids, NaN where there is none."""
    if not isinstance(part.values, np.ndarray):
        return part.values.reindex(joined)
    rows = np.full((len(joined), *part.values.shape[1:]), np.nan, np.result_type(part.values.dtype, np.float32))
    rows[joined.get_indexer(part.ids)] = part.values
    return rows
