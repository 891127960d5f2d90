"""Real data: some ship with scikit-learn, others are downloaded once and kept."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Float

from manyview.data.views import Views

__all__ = ["fetch_mfeat", "load_digits"]

Array = np.ndarray

MFEAT_ARCHIVE = "multiple+features.zip"
MFEAT_URL = f"https://archive.ics.uci.edu/static/public/72/{MFEAT_ARCHIVE}"
MFEAT_WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
MFEAT_LABELS = np.repeat(np.arange(10), 200)


def load_digits() -> Views:
    """Handwritten digits: 1,797 images of 8 x 8 pixels, and their labels.

    Returns
    -------
    Views
        ``image``, (1797, 64), grey values in [0, 1]; ``label``, (1797, 10), one-hot.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
    https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> from manyview.datasets import load_digits
    >>> load_digits()
    Views(n=1797, image=(64,), label=(10,))
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    image = (digits.data / 16).astype(np.float32)
    label = np.eye(10, dtype=np.float32)[digits.target]
    return Views(image=image, label=label)


@overload
def fetch_mfeat(
    data_home: str | os.PathLike[str] | None = ...,
    *,
    download_if_missing: bool = ...,
    return_labels: Literal[False] = ...,
) -> Views: ...
@overload
def fetch_mfeat(
    data_home: str | os.PathLike[str] | None = ...,
    *,
    download_if_missing: bool = ...,
    return_labels: Literal[True],
) -> tuple[Views, Array]: ...
def fetch_mfeat(
    data_home: str | os.PathLike[str] | None = None,
    *,
    download_if_missing: bool = True,
    return_labels: bool = False,
) -> Views | tuple[Views, Array]:
    """UCI Multiple Features: 2,000 handwritten numerals, each described by six sets of features.

    Robert Duin's "mfeat": 200 numerals of each class, cut from Dutch utility maps. The features are as published, on
    scales from 1 (``fou``) to 10,000 (``mor``), and none is missing. The first call downloads a few MB, by pooch
    (``pip install "manyview[datasets]"``).

    Parameters
    ----------
    data_home : path, optional
        The folder in which data sets are kept. This one lies in its folder ``mfeat``, or in `data_home` itself: as the
        archive ``multiple+features.zip``, as its files ``mfeat-fou``, ..., or as tables ``mfeat-fou.csv.gz``, ... with
        one line of header and the digit as last column. Default: the environment variable ``MANYVIEW_DATA``, else
        pooch's folder for caches.
    download_if_missing : bool, default True
        Whether to download what is not there.
    return_labels : bool, default False
        Whether to return the digits as well.

    Returns
    -------
    views : Views
        Six arrays of float32 with 2,000 rows, in the order of the digits: ``fou``, 76 Fourier coefficients of the
        character's shape; ``fac``, 216 profile correlations; ``kar``, 64 Karhunen-Loève coefficients; ``pix``, 240
        averages of 2 x 3 pixels, 0 to 6, in 16 rows of 15; ``zer``, 47 Zernike moments; ``mor``, 6 morphological
        features.
    labels : ndarray of int
        The digits 0 to 9, (2000,); only with ``return_labels=True``.

    Raises
    ------
    FileNotFoundError
        If the data are not there and are not to be downloaded, or one of the six files is lacking.
    ImportError
        If pooch is needed and is not installed.
    ValueError
        If what was read is not this data set: by its shapes, its labels, or the likeness of its classes.

    References
    ----------
    R. Duin, "Multiple Features", UCI Machine Learning Repository. https://doi.org/10.24432/C5HC70

    M. van Breukelen, R. P. W. Duin, D. M. J. Tax, J. E. den Hartog, "Handwritten digit recognition by combined
    classifiers", Kybernetika 34(4), 381-386, 1998.

    Examples
    --------
    >>> from manyview.datasets import fetch_mfeat
    >>> views, digit = fetch_mfeat(return_labels=True)  # doctest: +SKIP
    >>> views  # doctest: +SKIP
    Views(n=2000, fou=(76,), fac=(216,), kar=(64,), pix=(240,), zer=(47,), mor=(6,))
    """
    chosen = data_home or os.environ.get("MANYVIEW_DATA")
    home = Path(chosen).expanduser() if chosen else Path(_pooch().os_cache("manyview"))
    folder = _find_mfeat(home)
    if folder is None:
        if not download_if_missing:
            raise FileNotFoundError(
                f"neither {home} nor its folder mfeat has {MFEAT_ARCHIVE}, mfeat-fou or mfeat-fou.csv.gz; "
                "name another data_home, or let download_if_missing=True"
            )
        # No checksum is published: what is read is checked by its content.
        archive = _pooch().retrieve(MFEAT_URL, known_hash=None, fname=MFEAT_ARCHIVE, path=home / "mfeat")
        folder = _open_archive(Path(archive))
    views = Views({name: _read_mfeat(folder, f"mfeat-{name}", width) for name, width in MFEAT_WIDTHS.items()})
    return (views, MFEAT_LABELS.copy()) if return_labels else views


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            'downloading data needs pooch: pip install "manyview[datasets]"; if you have the data, name their folder '
            "by data_home or the environment variable MANYVIEW_DATA"
        ) from error
    return pooch


def _find_mfeat(home: Path) -> Path | zipfile.Path | None:
    for folder in (home / "mfeat", home):
        if any((folder / f"mfeat-fou{ending}").exists() for ending in ("", ".csv.gz")):
            return folder
        if (folder / MFEAT_ARCHIVE).exists():
            return _open_archive(folder / MFEAT_ARCHIVE)
    return None


def _open_archive(path: Path) -> zipfile.Path:
    try:
        return zipfile.Path(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no archive: {error}; delete it, and it will be downloaded again") from error


def _read_mfeat(folder: Path | zipfile.Path, name: str, width: int) -> Float[Array, "2000 width"]:
    """One view, from its text file or its table, if it is what it should be."""
    text, table = folder / name, folder / f"{name}.csv.gz"
    labelled = table.exists()
    path = table if labelled else text
    if not path.exists():
        raise FileNotFoundError(f"{folder} lacks {name} (or {name}.csv.gz), one of the six files of this data set")
    content = path.read_bytes()
    try:
        lines = (gzip.decompress(content) if labelled else content).decode().splitlines()
        rows = np.loadtxt(lines, delimiter="," if labelled else None, skiprows=int(labelled))
    except Exception as error:  # whatever the unpacker or the parser stumbles over
        raise ValueError(f"{path} cannot be read: {error}") from error
    expected = (len(MFEAT_LABELS), width + labelled)
    if rows.shape != expected or not np.isfinite(rows).all():
        raise ValueError(f"{path}: numbers of shape {rows.shape}, but this data set has {expected}, all finite")
    x = rows[:, :width]
    # The text says nothing of the digits, but rows are like others of their class: of the real ones each view has
    # 46 to 92 % next to their own class's mean, in another order 11 to 15 %.
    means = x.reshape(10, -1, width).mean(axis=1)
    nearest = ((means**2).sum(axis=1) - 2 * x @ means.T).argmin(axis=1)
    if (nearest == MFEAT_LABELS).mean() < 0.3 or (labelled and not np.array_equal(rows[:, -1], MFEAT_LABELS)):
        raise ValueError(f"{path}: its rows are not 200 of each digit, in the order of the digits")
    return x.astype(np.float32)
