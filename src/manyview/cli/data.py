"""Where a command's samples come from: files, read at once or as they are needed, or a data module."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from manyview.data.covariates import covariates_at
from manyview.data.stored import Dataset, MVDataset
from manyview.data.views import Views, as_views

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Data", "Samples", "check_not_read", "labels", "stretches"]

_THEIRS = "multiviewae."  # data modules of the multi-view-AE library: settings, but no data
_PATHS = re.compile(r"data|(.*_)?(path|file|dir|folder|root)")  # names of arguments that are paths
_OF_SAMPLES = ("labels", "covariates")  # arguments of our data modules that belong to the samples
_ROWS = 1024


class Samples(NamedTuple):
    """What a command works on."""

    views: Views | Dataset | None  # None: all there is are the dataloaders of a data module
    covariates: Any = None
    module: Any = None

    @property
    def for_fit(self) -> dict[str, Any]:
        """Arguments of a model's ``fit``."""
        if self.module is not None:
            return {"datamodule": self.module}
        return {"X": self.views, "covariates": self.covariates}

    def held_out(self, rows: np.ndarray) -> tuple[Views | Dataset | None, Any]:
        """The samples that a model which held out these rows was not trained on, and their covariates."""
        if self.views is None:
            watched = _several(self.module.val_dataloader())
            return (_collect(watched) if watched else None), None
        if not len(rows):
            return None, None
        views = self.views[rows] if isinstance(self.views, Views) else self.views.take(rows)
        return views, at_rows(self.covariates, rows, self.views)


@final
@dataclass(frozen=True)
class Data:
    """Where samples are read from.

    Parameters
    ----------
    views : dict or str
        A file or folder for each view, or one file that holds all of them.
    id : str, optional
        The column that labels the samples.
    covariates : str, optional
        A table with a row for each sample.
    in_memory : bool, default True
        Whether the views are read at once; else as they are needed.
    datamodule : dict, optional
        In place of views: the class of a data module, as ``_target_``, and its arguments.
    """

    views: Mapping[str, str] | str
    id: str | None = None
    covariates: str | None = None
    in_memory: bool = True
    datamodule: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Data:
        """From the sections ``data`` and ``datamodule`` of settings, paths made absolute."""
        section, module = settings["data"], settings.get("datamodule") or {}
        views, id, covariates = section["views"], section.get("id"), section.get("covariates")
        in_memory = section.get("in_memory")
        if not isinstance(in_memory, bool | None):
            raise ValueError(f"data.in_memory={in_memory!r}: give true or false")
        if not str(module.get("_target_", _THEIRS)).startswith(_THEIRS):
            if views:
                raise ValueError("data are given twice: leave out data.views, or datamodule")
            return cls({}, _text(id), _absolute(covariates), datamodule=_absolute_paths(module))
        return cls(
            {str(name): str(_absolute(path)) for name, path in views.items()}
            if isinstance(views, Mapping)
            else str(_absolute(views)),
            _text(id),
            _absolute(covariates),
            in_memory is not False,
        )

    def sections(self) -> dict[str, Any]:
        """As a configuration has it."""
        views = self.views if isinstance(self.views, str) else dict(self.views)
        content = {"views": views, "id": self.id, "covariates": self.covariates}
        if self.datamodule is not None:
            return {"data": content, "datamodule": dict(self.datamodule)}
        return {"data": {**content, "in_memory": self.in_memory}}

    def changed_to(self, settings: Mapping[str, Any]) -> Data:
        """Other data for the same model: new samples come without the covariates of the former ones."""
        given = {key: value for key, value in settings["data"].items() if value not in (None, {})}
        former, module = self.sections(), settings.get("datamodule")
        if module:
            kept = {key: x for key, x in (self.datamodule or {}).items() if key not in _OF_SAMPLES}
            return Data.of({"data": {"views": {}, "id": self.id, **given}, "datamodule": {**kept, **module}})
        if "views" in given:
            return Data.of({"data": {"id": self.id, **given}})
        return Data.of({**former, "data": {**former["data"], **given}})

    @property
    def paths(self) -> list[Path]:
        """All the files and folders."""
        views = [self.views] if isinstance(self.views, str) else list(self.views.values())
        found = [*views, self.covariates, *_strings(self.datamodule or {})]
        return [Path(path.partition("::")[0]) for path in found if path is not None]

    def make_module(self, seed: int) -> Any:
        """The data module, if there is one; ours divides the samples by this seed, where it is not told another."""
        if self.datamodule is None:
            return None
        from manyview.config import build_section
        from manyview.data.modules import DataModule
        from manyview.imports import import_object

        target, arguments = self.datamodule["_target_"], dict(self.datamodule)
        try:
            cls = import_object(target)
        except ValueError as error:
            raise ValueError(f"datamodule: {error}") from None
        if isinstance(cls, type) and issubclass(cls, DataModule) and arguments.get("random_state") is None:
            arguments["random_state"] = seed
        made = build_section({"datamodule": arguments}, "datamodule")
        if self.covariates is not None:
            if not isinstance(made, DataModule) or made.covariates is not None:
                raise ValueError(
                    f"data.covariates={self.covariates!r}: {target} has covariates of its own, or takes none; leave "
                    "them out, or give the data to manyview.MultiviewDataModule"
                )
            made.covariates = self.read_table(self.covariates)
        if not hasattr(made, "train_dataloader"):
            raise ValueError(
                f"datamodule: {target} is no LightningDataModule; a data set goes to one, as the argument data of "
                "manyview.MultiviewDataModule"
            )
        return made

    def read(self, module: Any = None) -> Samples:
        """The samples, for training; those of the data module, if it is given one."""
        if module is not None:
            module.prepare_data()
            module.setup("fit")
            ours = isinstance(getattr(module, "dataset", None), Dataset)
            return Samples(module.dataset, module.covariates, module) if ours else Samples(None, None, module)
        from manyview.data.files import read_views

        if not self.views:
            raise ValueError("no data: name a file for each view, as in data.views.genes=genes.csv data.id=id")
        covariates = None if self.covariates is None else self.read_table(self.covariates)
        if self.in_memory:
            return Samples(read_views(self.views, id=self.id), covariates)
        if isinstance(self.views, str):
            raise ValueError(
                "data.in_memory=false needs a file for each view, as in data.views.genes=genes.npy; for one of several "
                "arrays in a file data.views.genes=all.h5::genes"
            )
        return Samples(MVDataset(self.views), covariates)

    def read_all(self) -> tuple[Views | Dataset, Any]:
        """The samples in their order, and their covariates."""
        module = self.make_module(0)  # what is held out does not matter
        samples = self.read(module)
        if samples.views is not None:
            return samples.views, samples.covariates
        import pytorch_lightning as pl

        if getattr(type(module), "predict_dataloader", None) in (None, pl.LightningDataModule.predict_dataloader):
            raise ValueError(
                f"{type(module).__name__} has no predict_dataloader, which would say what samples there are and in "
                "which order: give it one, or name other data, as in data.views.genes=genes.csv"
            )
        module.setup("predict")
        return _collect(_several(module.predict_dataloader())), None

    def read_table(self, path: str) -> pd.DataFrame:
        """A table about the samples, such as covariates."""
        from manyview.data.files import read_table

        return read_table(path, id=self.id)


def labels(views: Views | Dataset) -> Any:
    """The label of each sample: its number, where there are no others."""
    return views.ids if isinstance(views, Views) else views.labels(np.arange(len(views)))


def stretches(views: Views | Dataset) -> Iterator[Views]:
    """The samples, as many at once as memory surely holds."""
    return (views[start : start + _ROWS] for start in range(0, len(views), _ROWS))


def at_rows(covariates: Any, rows: np.ndarray, views: Views | Dataset) -> pd.DataFrame | None:
    """The covariates of some of the samples, as a table that is labelled as they are."""
    if covariates is None:
        return None
    import pandas as pd

    return pd.DataFrame(covariates_at(rows, covariates, len(views), views.index), index=labels(views)[rows])


def check_not_read(paths: Iterable[Path], data: Data) -> None:
    """Refuse to write over a file that is being read."""
    read = {path.resolve() for path in data.paths}
    for path in paths:
        if path.resolve() in read:
            raise ValueError(f"{str(path)!r} is a file of the data: give another folder or name as out=")


def _several(loaders: Any) -> list[Any]:
    """Dataloaders, of which a data module gives one, a list, or none."""
    return [loader for loader in (loaders if isinstance(loaders, list | tuple) else [loaders]) if loader is not None]


def _collect(loaders: Iterable[Any]) -> Views:
    """All that dataloaders give, in their order."""
    parts = [as_views(batch) for loader in loaders for batch in loader]
    if not parts:
        raise ValueError("the dataloaders give no batches")
    shapes = {name: shape for part in parts for name, shape in part.shapes.items()}

    def array(part: Views, name: str) -> np.ndarray:
        return part.array(name) if name in part else np.full((len(part), *shapes[name]), np.nan)

    return Views({name: np.concatenate([array(part, name) for part in parts]) for name in shapes})


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _absolute(path: object) -> str | None:
    return None if path is None else str(Path(str(path)).expanduser().absolute())


def _absolute_paths(value: Any, argument: str = "") -> Any:
    """Arguments in which what names a file or folder is absolute, so that they hold in any folder."""
    if isinstance(value, Mapping):
        return {key: _absolute_paths(x, key if "_target_" in value else argument) for key, x in value.items()}
    if isinstance(value, list):
        return [_absolute_paths(x, argument) for x in value]
    if not isinstance(value, str) or not _PATHS.fullmatch(argument):
        return value
    return _absolute(value) if Path(value.partition("::")[0]).expanduser().exists() else value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value
