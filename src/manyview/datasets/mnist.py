"""MNIST, and the multi-view data sets that are made of it alone."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final, get_args, overload

import numpy as np
import torch
from jaxtyping import Int, UInt8

from manyview.data.stored import Dataset
from manyview.data.views import Views
from manyview.datasets.folders import download, home
from manyview.messages import closest
from manyview.seeding import as_seed

__all__ = ["BinarisedDataset", "Split", "binary_mnist", "fetch_mnist", "mnist_halves", "read_mnist"]

Array = np.ndarray

Split = Literal["train", "test"]

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SIZES = {"train": 60_000, "test": 10_000}
# Of each file the MD5 of the archive, as published, and the SHA-256 of what is in it, however it was packed.
MNIST_CHECKSUMS = {
    "train-images-idx3-ubyte": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "d53e105ee54ea40749a09fcbcd1e9432",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "9fb629c4189551a2d022fa330f9573f3",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "ec29112dd5afa0611ce80d1b7f02629c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def fetch_mnist(
    data_home: str | os.PathLike[str] | None = None, *, split: Split = "train", download_if_missing: bool = True
) -> Views:
    """MNIST: images of handwritten digits, and their labels.

    The first call downloads 12 MB, by pooch (``pip install "manyview[datasets]"``). Every file is compared with its
    published checksum, wherever it came from.

    Parameters
    ----------
    data_home : path, optional
        The folder in which data sets are kept. This one lies in its folder ``mnist``, in `data_home` itself or in
        ``MNIST/raw``, where torchvision puts it: as ``train-images-idx3-ubyte`` and so on, with or without ``.gz``.
        Default: the environment variable ``MANYVIEW_DATA``, else pooch's folder for caches.
    split : {"train", "test"}, default "train"
        60,000 samples, or 10,000 of other writers.
    download_if_missing : bool, default True
        Whether to download what is not there.

    Returns
    -------
    Views
        ``image``, (n, 28, 28), grey values in [0, 1], 0 the paper; ``label``, (n, 10), one-hot.

    Raises
    ------
    FileNotFoundError
        If the data are not there and are not to be downloaded.
    ImportError
        If pooch is needed and is not installed.
    ValueError
        If the split is unknown, or a file is not as published.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
    of the IEEE 86(11), 2278-2324, 1998. https://doi.org/10.1109/5.726791

    Examples
    --------
    >>> from manyview.datasets import fetch_mnist
    >>> fetch_mnist(split="test")  # doctest: +SKIP
    Views(n=10000, image=(28, 28), label=(10,))
    """
    image, digit = read_mnist(data_home, split, download_if_missing)
    return Views(image=np.divide(image, 255, dtype=np.float32), label=np.eye(10, dtype=np.float32)[digit])


@overload
def binary_mnist(
    data_home: str | os.PathLike[str] | None = ...,
    *,
    split: Split = ...,
    binarisation: Literal["fixed"] = ...,
    random_state: Any = ...,
    download_if_missing: bool = ...,
) -> Views: ...
@overload
def binary_mnist(
    data_home: str | os.PathLike[str] | None = ...,
    *,
    split: Split = ...,
    binarisation: Literal["dynamic"],
    random_state: Any = ...,
    download_if_missing: bool = ...,
) -> BinarisedDataset: ...
def binary_mnist(
    data_home: str | os.PathLike[str] | None = None,
    *,
    split: Split = "train",
    binarisation: Literal["fixed", "dynamic"] = "fixed",
    random_state: Any = 0,
    download_if_missing: bool = True,
) -> Views | BinarisedDataset:
    r"""MNIST in black and white, and its labels.

    A pixel is 1 with the probability of its grey value, :math:`x \sim \operatorname{Bernoulli}(\text{grey})`: for
    "fixed" binarisation all are drawn once, for "dynamic" anew whenever an image is read, that is in each epoch.
    Log-likelihoods of grey values and of black and white ones, and of two ways to binarise, do not compare.

    Parameters
    ----------
    data_home, split, download_if_missing
        See :func:`fetch_mnist`.
    binarisation : {"fixed", "dynamic"}, default "fixed"
        Draw once, or in each epoch.
    random_state : int, RandomState or None, default 0
        Seeds the draws.

    Returns
    -------
    Views or BinarisedDataset
        ``image``, (n, 28, 28), zeros and ones; ``label``, (n, 10), one-hot. Views if that is "fixed", else a data set
        that draws as it is read: every estimator takes either.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As :func:`fetch_mnist`; ValueError also if the binarisation is unknown.

    References
    ----------
    R. Salakhutdinov, I. Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    https://doi.org/10.1145/1390156.1390266

    Examples
    --------
    >>> from manyview.datasets import binary_mnist
    >>> binary_mnist(split="test")  # doctest: +SKIP
    Views(n=10000, image=(28, 28), label=(10,))
    >>> binary_mnist(binarisation="dynamic")  # doctest: +SKIP
    BinarisedDataset(n=60000, image=(28, 28), label=(10,))
    """
    if binarisation not in ("fixed", "dynamic"):
        raise ValueError(f"binarisation={binarisation!r} is unknown{closest(binarisation, ('fixed', 'dynamic'))}")
    grey = fetch_mnist(data_home, split=split, download_if_missing=download_if_missing)
    binary = BinarisedDataset(grey, random_state=random_state)
    return binary if binarisation == "dynamic" else binary[:]


@final
class BinarisedDataset(Dataset):
    r"""Views whose grey values become zeros and ones anew whenever they are read.

    .. math:: x \sim \operatorname{Bernoulli}(\text{grey})

    What is drawn depends on `random_state` and on what was read before, not on how fast or by which thread: the same
    training in another process sees the same draws. One that is resumed from a checkpoint sees others.

    Parameters
    ----------
    views : Views
        The data. Views of zeros and ones, such as one-hot labels, stay as they are; NaN stays NaN.
    random_state : int, RandomState or None, default 0
        Seeds the draws.

    Raises
    ------
    ValueError
        If a value is not in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from manyview import Views
    >>> from manyview.datasets import BinarisedDataset
    >>> data = BinarisedDataset(Views(image=np.full((2, 4000), 0.3), label=np.eye(2)), random_state=0)
    >>> first, second = data[0]["image"], data[0]["image"]
    >>> round(float(first.mean()), 1), round(float((first == second).mean()), 1)  # 0.3 * 0.3 + 0.7 * 0.7 are the same
    (0.3, 0.6)
    """

    def __init__(self, views: Views, *, random_state: Any = 0) -> None:
        for name in views.names:
            x = views.array(name)
            if (x < 0).any() or (x > 1).any():
                raise ValueError(
                    f"view {name!r} has values from {np.nanmin(x):.4g} to {np.nanmax(x):.4g}; grey values are to be "
                    "in [0, 1]"
                )
        self.views, self.shapes, self.index = views, views.shapes, views.index
        self.feature_names = {
            name: views.feature_names[name].tolist() for name in views.names if views.has_feature_names(name)
        }
        self._seed = as_seed(random_state)
        self._times_read = np.zeros(len(views), dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.views)

    def read(self, rows: Int[Array, " b"]) -> Mapping[str, Array]:
        """Zeros and ones, drawn anew."""
        grey = {name: self.views.array(name)[rows] for name in self.names}
        if not len(rows):
            return grey
        # Processes of a DataLoader have copies of the counts, but in each epoch seeds of their own.
        worker = torch.utils.data.get_worker_info()
        key = np.array([self._seed + (0 if worker is None else worker.seed), rows[0]], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(self._times_read[rows[0]])]))
        self._times_read[rows] += np.uint64(1)
        return {name: _binarised(x, rng) for name, x in grey.items()}


def _binarised(grey: Array, rng: np.random.Generator) -> Array:
    uniform = rng.random(grey.shape, dtype=np.float32)  # in [0, 1): zeros stay 0 and ones 1
    return np.where(np.isnan(grey), grey, uniform < grey).astype(np.float32)


def mnist_halves(
    data_home: str | os.PathLike[str] | None = None, *, split: Split = "train", download_if_missing: bool = True
) -> tuple[Views, Int[Array, " n"]]:
    """The left and right halves of MNIST's images.

    Parameters
    ----------
    data_home, split, download_if_missing
        See :func:`fetch_mnist`.

    Returns
    -------
    views : Views
        ``left`` and ``right``, (n, 28, 14) each, grey values in [0, 1].
    labels : ndarray of int
        The digits 0 to 9, (n,).

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As :func:`fetch_mnist`.

    References
    ----------
    G. Andrew, R. Arora, J. Bilmes, K. Livescu, "Deep canonical correlation analysis", ICML 2013.
    https://proceedings.mlr.press/v28/andrew13.html

    Examples
    --------
    >>> from manyview.datasets import mnist_halves
    >>> views, digit = mnist_halves(split="test")  # doctest: +SKIP
    >>> views  # doctest: +SKIP
    Views(n=10000, left=(28, 14), right=(28, 14))
    """
    image, digit = read_mnist(data_home, split, download_if_missing)
    grey = np.divide(image, 255, dtype=np.float32)
    return Views(left=grey[:, :, :14], right=grey[:, :, 14:]), digit


# ---- files ----------------------------------------------------------------------------------------------------------


def read_mnist(
    data_home: str | os.PathLike[str] | None, split: Split, download_if_missing: bool
) -> tuple[UInt8[Array, "n 28 28"], Int[Array, " n"]]:
    """The images, 0 to 255, and the digits."""
    if split not in get_args(Split):
        raise ValueError(f"split={split!r} is unknown{closest(split, get_args(Split))}")
    place, stem, n = home(data_home), "train" if split == "train" else "t10k", MNIST_SIZES[split]
    image = _read_idx(place, f"{stem}-images-idx3-ubyte", (n, 28, 28), download_if_missing)
    digit = _read_idx(place, f"{stem}-labels-idx1-ubyte", (n,), download_if_missing)
    return image, digit.astype(np.int64)


def _read_idx(place: Path, name: str, shape: tuple[int, ...], download_if_missing: bool) -> UInt8[Array, "..."]:
    """An array from its file in IDX format, if that is as published."""
    md5, sha256 = MNIST_CHECKSUMS[name]
    folders = (place / "mnist", place, place / "MNIST" / "raw")
    found = [path for folder in folders for path in (folder / f"{name}.gz", folder / name) if path.exists()]
    if not found:
        if not download_if_missing:
            raise FileNotFoundError(
                f"neither {place} nor its folders mnist and MNIST/raw have {name}.gz or {name}; name another folder, "
                "or let download_if_missing=True"
            )
        url = f"{MNIST_URL}{name}.gz"
        found = [download(url, place / "mnist" / f"{name}.gz", f"md5:{md5}")]
    path = found[0]
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}; delete it, and it will be downloaded again") from error
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{path} is not the published file: the SHA-256 of its content is {digest}, not {sha256}; "
            "delete it, and it will be downloaded again"
        )
    # A header of the type, the number of axes and their lengths, 4 bytes each; the checksum vouches for it.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
