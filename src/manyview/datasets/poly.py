"""PolyMNIST: five images of one digit, each on the background of its view."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.utils import check_random_state

from manyview.data.views import Views
from manyview.datasets.folders import home
from manyview.datasets.mnist import Split, read_mnist

__all__ = ["polymnist"]

Array = np.ndarray

N_VIEWS = 5
ARCHIVE = "PolyMNIST.zip"
# The two photographs that come with scikit-learn: which one, and rows and columns of it that look alike.
PARTS = (
    ("china.jpg", slice(100, 400), slice(90, 340)),  # roofs
    ("flower.jpg", slice(60, 427), slice(0, 165)),  # leaves
    ("china.jpg", slice(0, 190), slice(345, 640)),  # sky
    ("flower.jpg", slice(95, 350), slice(180, 440)),  # petals
    ("china.jpg", slice(300, 427), slice(330, 640)),  # trees
)


def polymnist(
    data_home: str | os.PathLike[str] | None = None,
    *,
    split: Split = "train",
    n_samples: int | None = None,
    original: bool | None = None,
    backgrounds: Sequence[Any] | None = None,
    random_state: Any = 0,
    download_if_missing: bool = True,
) -> tuple[Views, Int[Array, " n"]]:
    r"""PolyMNIST: views that show the same digit, by different writers, each on a background of its own.

    What the views share is the digit's class. Sample i takes its class from MNIST's image i; each of its views takes an
    image of that class, by a permutation of the images of a class for each view, and a random crop b of the view's
    photograph, which it inverts where there is ink:

    .. math:: x = \begin{cases} 1 - b & \text{where grey} > 1/2 \\ b & \text{elsewhere} \end{cases}

    The original archive is read where there is one, ``original=None``. Its five photographs cannot be had apart from
    it: what is built elsewhere shows five parts of the two that come with scikit-learn (roofs, leaves, sky, petals and
    trees), by the same construction. Say which of the two a number comes from.

    Parameters
    ----------
    data_home : path, optional
        The folder in which data sets are kept: MNIST as for :func:`fetch_mnist`; the original in a folder ``PolyMNIST``
        or ``polymnist`` or in `data_home` itself, as the archive ``PolyMNIST.zip`` or as its folder ``MMNIST``, either
        with images ``train/m0/0.5.png`` (of view, number and digit) or with tensors ``train/m0.pt`` and
        ``train/labels.pt``.
        Default: the environment variable ``MANYVIEW_DATA``, else pooch's folder for caches.
    split : {"train", "test"}, default "train"
        60,000 samples, or 10,000 of other writers.
    n_samples : int, optional
        The first so many of them, without the work for the others, which take 0.6 GB a view; default: all.
    original : bool, optional
        Whether to read the original (True), to build one (False), or to build one if the original is not there (None).
    backgrounds : sequence of uint8 arrays of shape (h, w, 3), optional
        Photographs to build from in place of those parts, as many as there are to be views; each at least 28 x 28.
        With them nothing else is read than MNIST.
    random_state : int, RandomState or None, default 0
        Seeds the choice of images and crops, where views are built.
    download_if_missing : bool, default True
        Whether to download MNIST if it is not there.

    Returns
    -------
    views : Views
        ``m0`` to ``m4``, (n, 3, 28, 28) each, colours in [0, 1].
    labels : ndarray of int
        The digits 0 to 9, (n,).

    Raises
    ------
    FileNotFoundError, ImportError
        As :func:`fetch_mnist`; also if the original is asked for and not there, or if Pillow, which reads the
        photographs, is not installed.
    ValueError
        If the split is unknown, `n_samples` out of range, a background no photograph, or the archive not this data set.

    References
    ----------
    T. M. Sutter, I. Daunhawer, J. E. Vogt, "Generalized multimodal ELBO", ICLR 2021.
    https://arxiv.org/abs/2105.02470

    Examples
    --------
    >>> from manyview.datasets import polymnist
    >>> views, digit = polymnist(split="test", n_samples=1000)  # doctest: +SKIP
    >>> views  # doctest: +SKIP
    Views(n=1000, m0=(3, 28, 28), m1=(3, 28, 28), m2=(3, 28, 28), m3=(3, 28, 28), m4=(3, 28, 28))
    """
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: give a positive number, or None for all")
    if original and backgrounds is not None:
        raise ValueError("original=True, but backgrounds are given: the original has its own; leave one of them out")
    if original or (original is None and backgrounds is None):
        archive = _find_original(home(data_home), split)
        if archive is not None:
            return _read_original(archive, n_samples)
        if original:
            raise FileNotFoundError(
                f"neither {home(data_home)} nor its folders PolyMNIST and polymnist have {ARCHIVE}, or MMNIST/{split} "
                "with m0 or m0.pt; name another folder, or let original=None build one"
            )
    photographs = _parts() if backgrounds is None else [_as_photograph(m, x) for m, x in enumerate(backgrounds)]
    image, digit = read_mnist(data_home, split, download_if_missing)
    n = _limited(n_samples, len(digit))
    # A sample has the same random numbers however many are asked for.
    rng = check_random_state(random_state)
    data = {}
    for m, photograph in enumerate(photographs):
        ink = image[_same_class(digit, rng)[:n]] > 127
        data[f"m{m}"] = np.divide(
            _drawn(photograph, ink, rng.random_sample((len(digit), 2))[:n]), 255, dtype=np.float32
        )
    return Views(data), digit[:n]


def _limited(n_samples: int | None, n: int) -> int:
    if n_samples is not None and n_samples > n:
        raise ValueError(f"n_samples={n_samples}: there are {n}")
    return n_samples or n


def _same_class(digit: Int[Array, " n"], rng: np.random.RandomState) -> Int[Array, " n"]:
    """For each image another of its class: a permutation within each class."""
    partner = np.empty_like(digit)
    for label in range(10):
        rows = np.flatnonzero(digit == label)
        partner[rows] = rng.permutation(rows)
    return partner


def _drawn(
    photograph: UInt8[Array, "H W 3"], ink: Bool[Array, "n 28 28"], where: Float[Array, "n 2"]
) -> UInt8[Array, "n 3 28 28"]:
    """The digits on crops of a photograph, whose places are shares of the way down and across."""
    crops = np.lib.stride_tricks.sliding_window_view(photograph, (28, 28), axis=(0, 1))  # (H - 27, W - 27, 3, 28, 28)
    row, column = (where * crops.shape[:2]).astype(np.intp).T
    x = crops[row, column]
    return np.asarray(np.where(ink[:, None], 255 - x, x))


def _parts() -> list[UInt8[Array, "H W 3"]]:
    try:
        from sklearn.datasets import load_sample_image

        return [load_sample_image(name)[rows, columns] for name, rows, columns in PARTS]
    except ImportError as error:
        raise ImportError(
            "reading photographs needs Pillow: pip install pillow; or give them as backgrounds="
        ) from error


def _as_photograph(m: int, photograph: Any) -> UInt8[Array, "H W 3"]:
    x = np.asarray(photograph)
    if x.ndim != 3 or x.shape[2] != 3 or min(x.shape[:2]) < 28 or x.dtype != np.uint8:
        raise ValueError(
            f"backgrounds[{m}] is {x.dtype} of shape {x.shape}; give uint8 of shape (height, width, 3), "
            "at least (28, 28, 3)"
        )
    return x


# ---- the original ---------------------------------------------------------------------------------------------------

Folder = Path | zipfile.Path


def _find_original(place: Path, split: Split) -> Folder | None:
    """The folder of a split."""
    for folder in (place / "PolyMNIST", place / "polymnist", place):
        roots: list[Folder] = [folder]
        if (folder / ARCHIVE).exists():
            try:
                archive = zipfile.Path(folder / ARCHIVE)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{folder / ARCHIVE} is no archive: {error}; fetch it again") from error
            roots += [archive, archive / "PolyMNIST"]
        for root in roots:
            found = root / "MMNIST" / split
            if (found / "m0").is_dir() or (found / "m0.pt").exists():
                return found
    return None


def _read_original(folder: Folder, n_samples: int | None) -> tuple[Views, Int[Array, " n"]]:
    read = _read_tensors if (folder / "m0.pt").exists() else _read_images
    views, labels = read(folder, n_samples)
    wrong = [name for name, x in views.items() if x.shape != (len(labels), 3, 28, 28)]
    if wrong or labels.ndim != 1 or not np.isin(labels, range(10)).all():
        raise ValueError(f"{folder}: its views {wrong or list(views)} and labels are not those of PolyMNIST")
    return Views(views), labels.astype(np.int64)


def _read_tensors(folder: Folder, n_samples: int | None) -> tuple[dict[str, Array], Array]:
    import torch

    def load(name: str) -> Array:
        tensor = torch.load(io.BytesIO((folder / name).read_bytes()), weights_only=True).numpy()
        return np.asarray(tensor[: _limited(n_samples, len(tensor))])

    images = {f"m{m}": load(f"m{m}.pt") for m in range(N_VIEWS)}
    coloured = {name: x / np.float32(255) if x.dtype == np.uint8 else x for name, x in images.items()}
    return coloured, load("labels.pt")


def _read_images(folder: Folder, n_samples: int | None) -> tuple[dict[str, Array], Array]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading PolyMNIST's images needs Pillow: pip install pillow") from error
    found = [re.fullmatch(r"(\d+)\.(\d)\.png", path.name) for path in (folder / "m0").iterdir()]
    samples = sorted((int(match[1]), int(match[2])) for match in found if match)  # one of each digit after the other
    samples = samples[: _limited(n_samples, len(samples))]
    images = {}
    for name in (f"m{m}" for m in range(N_VIEWS)):
        x = np.empty((len(samples), 3, 28, 28), dtype=np.float32)
        for i, (number, digit) in enumerate(samples):
            path = folder / name / f"{number}.{digit}.png"
            if not path.exists():
                raise FileNotFoundError(f"{folder} lacks {name}/{path.name}, which it has in view m0")
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
            if pixels.shape != (28, 28, 3):
                raise ValueError(f"{path}: an image of shape {pixels.shape}, but PolyMNIST's have (28, 28, 3)")
            x[i] = pixels.transpose(2, 0, 1) / 255
        images[name] = x
    return images, np.array([digit for _, digit in samples], dtype=np.int64)
