"""Lightning's data modules for data sets: what is trained on, what is held out, and in which batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from manyview.data.covariates import as_labels
from manyview.data.stored import Dataset, IndexMVDataset, MVDataset
from manyview.seeding import as_seed

__all__ = ["DataModule", "IndexDataModule", "MultiviewDataModule"]


class DataModule(pl.LightningDataModule, ABC):
    """A data set, divided into samples to train on and samples to watch the objective on.

    Parameters
    ----------
    labels : array, optional
        One categorical covariate, (n,).
    covariates : DataFrame, dict or array, optional
        What the model is to be conditioned on, one row a sample.
    batch_size : int, optional
        Samples in an optimiser step; by default as the model says, and 128 in the dataloaders of this module.
    is_validate : bool, default True
        Whether samples are held out.
    train_size : float, default 0.9
        Share of the samples that is trained on, if others are held out.
    random_state : int, RandomState or None, default 0
        Seeds the choice of those that are held out.

    Attributes
    ----------
    dataset, train_dataset : Dataset
        All samples, and those to train on; after ``setup``.
    val_dataset : Dataset or None
        Those that are held out.
    trained, held_out : ndarray of int
        The numbers of both, increasing.
    """

    def __init__(
        self,
        *,
        labels: Any = None,
        covariates: Any = None,
        batch_size: int | None = None,
        is_validate: bool = True,
        train_size: float = 0.9,
        random_state: Any = 0,
    ) -> None:
        super().__init__()
        if labels is not None and covariates is not None:
            raise ValueError("labels are one categorical covariate: give them among the covariates, or alone")
        if not 0 < train_size <= 1:
            raise ValueError(
                f"train_size={train_size!r}: give the share to train on, above 0 and at most 1, such as 0.9"
            )
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size={batch_size!r}: give a positive integer, or None to leave it to the model")
        self.covariates = as_labels(labels) if labels is not None else covariates
        self.batch_size, self.is_validate, self.train_size = batch_size, is_validate, train_size
        self.random_state = random_state
        self.dataset: Dataset | None = None

    @abstractmethod
    def open(self) -> Dataset:
        """The data set; called once, by ``setup``."""

    @final
    def setup(self, stage: str | None = None) -> None:
        """Open the data set and divide it, if that is not done yet."""
        if self.dataset is not None:
            return
        self.dataset = self.open()
        n = len(self.dataset)
        n_held_out = n - round(n * self.train_size) if self.is_validate else 0
        order = np.random.RandomState(as_seed(self.random_state)).permutation(n)
        self.held_out, self.trained = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
        if not len(self.trained):
            raise ValueError(f"train_size={self.train_size} of {n} samples leaves none to train on")
        self.train_dataset: Dataset = self.dataset.take(self.trained)
        self.val_dataset: Dataset | None = self.dataset.take(self.held_out) if n_held_out else None

    @final
    def train_dataloader(self) -> Any:
        """Shuffled batches to train on: dicts from view name to tensor, NaN where missing."""
        return self._loader(self.train_dataset, shuffle=True)

    @final
    def val_dataloader(self) -> Any:
        """Batches of the samples that are held out, if there are such."""
        return [] if self.val_dataset is None else self._loader(self.val_dataset, shuffle=False)

    @final
    def predict_dataloader(self) -> Any:
        """Batches of all samples, in their order."""
        assert self.dataset is not None
        return self._loader(self.dataset, shuffle=False)

    def _loader(self, dataset: Dataset, shuffle: bool) -> Any:
        return DataLoader(dataset, batch_size=self.batch_size or 128, shuffle=shuffle)  # type: ignore[arg-type]


@final
class MultiviewDataModule(DataModule):
    r"""Views in arrays or files, in memory or larger than that.

    Parameters
    ----------
    data : Dataset, or what :class:`~manyview.data.stored.MVDataset` takes
        The views: arrays, or paths of files, by name or in a list.
    **settings
        ``labels``, ``covariates``, ``batch_size``, ``is_validate``, ``train_size``, ``random_state``: see
        :class:`DataModule`.

    Examples
    --------
    >>> import numpy as np
    >>> genes = np.random.default_rng(0).normal(size=(50, 4))
    >>> datamodule = MultiviewDataModule({"genes": genes, "lipids": 2 * genes}, batch_size=10, train_size=0.8)
    >>> datamodule.setup()
    >>> len(datamodule.train_dataset), len(datamodule.val_dataset)
    (40, 10)
    """

    def __init__(self, data: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.data = data

    def open(self) -> Dataset:
        """The data as a data set."""
        return self.data if isinstance(self.data, Dataset) else MVDataset(self.data)


@final
class IndexDataModule(DataModule):
    """A list of sample names, and a folder that has a file for each sample and view.

    Parameters
    ----------
    ids, data_dir, filename, views, reader
        See :class:`~manyview.data.stored.IndexMVDataset`.
    **settings
        ``labels``, ``covariates``, ``batch_size``, ``is_validate``, ``train_size``, ``random_state``: see
        :class:`DataModule`.
    """

    def __init__(
        self,
        ids: Iterable[Any],
        data_dir: str | Path,
        filename: str = "{view}/{id}.npy",
        *,
        views: int | Sequence[str],
        reader: Callable[[Path], Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.arguments = (list(ids), data_dir, filename)
        self.views, self.reader = views, reader

    def open(self) -> Dataset:
        """The files as a data set."""
        return IndexMVDataset(*self.arguments, views=self.views, reader=self.reader)
