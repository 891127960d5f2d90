"""A run folder: what was fitted, on which data, and all that it takes to do it again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from manyview.data.views import Views
from manyview.messages import closest

if TYPE_CHECKING:
    import pandas as pd

    from manyview.estimator import Estimator

__all__ = ["Data", "Run", "check_not_read", "write_views"]

FORMATS = ("csv", "tsv", "parquet")
"""What tables are written as."""


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
    """

    views: Mapping[str, str] | str
    id: str | None = None
    covariates: str | None = None

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Data:
        """From the section ``data`` of settings, its paths made absolute."""
        views, id, covariates = section["views"], section.get("id"), section.get("covariates")
        return cls(
            {str(name): _absolute(path) for name, path in views.items()}
            if isinstance(views, Mapping)
            else _absolute(views),
            None if id is None else str(id),
            None if covariates is None else _absolute(covariates),
        )

    def section(self) -> dict[str, Any]:
        """As a configuration has it."""
        views = self.views if isinstance(self.views, str) else dict(self.views)
        return {"views": views, "id": self.id, "covariates": self.covariates}

    def changed_to(self, section: Mapping[str, Any]) -> Data:
        """Other data for the same model: new views come without the covariates of the former ones."""
        given = {key: value for key, value in section.items() if value not in (None, {})}
        former = self.section()
        if "views" in given:
            former["covariates"] = None
        return Data.of({**former, **given})

    @property
    def paths(self) -> list[Path]:
        """All the files and folders."""
        views = [self.views] if isinstance(self.views, str) else list(self.views.values())
        return [Path(path) for path in (*views, self.covariates) if path is not None]

    def read(self) -> tuple[Views, pd.DataFrame | None]:
        """The views, and the covariates of the same samples."""
        from manyview.data.files import read_views

        if not self.views:
            raise ValueError("no data: name a file for each view, as in data.views.genes=genes.csv data.id=id")
        covariates = None if self.covariates is None else self.read_table(self.covariates)
        return read_views(self.views, id=self.id), covariates

    def read_table(self, path: str) -> pd.DataFrame:
        """A table about the samples, such as covariates."""
        from manyview.data.files import read_table

        return read_table(path, id=self.id)


def _absolute(path: object) -> str:
    return str(Path(str(path)).expanduser().absolute())


@final
@dataclass(frozen=True)
class Run:
    """A folder with a fitted model, or where one is to be."""

    folder: Path

    CONFIG = "config.yaml"
    MODEL = "model.safetensors"
    HISTORY = "history.csv"
    SAMPLES = "samples.csv"
    LOG = "train.log"
    VERSIONS = "versions.json"
    RESULT = "result.json"
    REPORT = "report.html"
    CHECKPOINT = "checkpoint"
    TABLE = "results.csv"  # of a sweep

    @classmethod
    def open(cls, path: str) -> Run:
        """A run that is there."""
        run = cls(Path(path).expanduser())
        if not run.folder.is_dir():
            near = [other.parent.name for other in run.folder.parent.glob(f"*/{cls.MODEL}")]
            raise FileNotFoundError(f"no run folder {path!r}{closest(run.folder.name, near) if near else ''}")
        if not (run / cls.MODEL).is_file():
            raise ValueError(f"{path!r} is no run folder, or its run was not finished: it has no {cls.MODEL}")
        return run

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    # ---- before training ----------------------------------------------------------------------------------------

    def claim(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder, unless it has another run, or files that are none of a run."""
        if self.folder.exists() and any(self.folder.iterdir()) and not (self / self.VERSIONS).exists():
            raise ValueError(f"out={str(self.folder)!r} holds other files: choose a new folder")
        if resume and (self / self.MODEL).exists() and not (self / self.CHECKPOINT).exists():
            raise ValueError(f"out={str(self.folder)!r} was fitted without checkpoint=true: there is nothing to resume")
        if not resume:
            there = [name for name in (self.MODEL, self.CHECKPOINT, self.TABLE) if (self / name).exists()]
            if there and not overwrite:
                raise ValueError(
                    f"out={str(self.folder)!r} holds a run already ({there[0]}): choose another folder, "
                    "go on with resume=true, or replace it with overwrite=true"
                )
            for name in (self.MODEL, self.HISTORY, self.SAMPLES, self.RESULT, self.REPORT, self.LOG, self.TABLE):
                (self / name).unlink(missing_ok=True)
            shutil.rmtree(self / self.CHECKPOINT, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write_config(self, model: Estimator, data: Data, seed: int) -> None:
        """All that it takes to do the run again."""
        import yaml  # type: ignore[import-untyped]

        from manyview.config import to_config

        config = to_config(model)
        config["model"].pop("random_state")
        content = {"data": _escaped(data.section()), "seed": seed, **config}
        text = "# To do this run again: manyview fit --config THIS_FILE out=ANOTHER_FOLDER\n"
        _write(self / self.CONFIG, text + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def write_versions(self, command: list[str]) -> None:
        """What the run was made with."""
        self.write_json(self.VERSIONS, {"command": command, **versions()})

    # ---- after training -----------------------------------------------------------------------------------------

    def write_model(self, model: Estimator, views: Views, id: str | None) -> None:
        """The model, its history, and which samples it was trained on."""
        import pandas as pd

        from manyview.data.files import write_table

        model.save(self / self.MODEL)
        write_table(model.history_, self / self.HISTORY)
        use = np.where(views.present.any(axis=1), "training", "left out").astype(object)
        use[model.held_out_] = "validation"
        write_table(pd.DataFrame({"set": use}, index=pd.Index(views.ids, name=id)), self / self.SAMPLES)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """One of the run's files for machines."""
        _write(self / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    # ---- using it -----------------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the run was configured with."""
        from manyview.config.loading import load_config

        return load_config(self / self.CONFIG)[1]

    @property
    def data(self) -> Data:
        """The data of the run."""
        return Data.of(self.config["data"])

    @cached_property
    def model(self) -> Estimator:
        """The fitted model."""
        from manyview.io import load

        model: Estimator = load(self / self.MODEL)
        return model


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter to the numbers."""
    import platform
    from importlib.metadata import version

    import manyview

    packages = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn", "hydra-core")
    return {
        "manyview": manyview.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
    }


def write_views(views: Views, out: Path, format: str, id: str | None, data: Data) -> list[Path]:
    r"""Write each view to a file named after it: tables, or .npz for views of other shapes than (n, features).

    Parameters
    ----------
    views : Views
        The views.
    out : path
        The folder, which is made if it is not there; of a single view, it may be the file.
    format : {"csv", "tsv", "parquet"}
        Format of the tables in a folder.
    id : str, optional
        Name of the column of sample ids.
    data : Data
        What was read, which is never written over.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r}{closest(format, FORMATS)}")
    suffixes = {name: format if len(shape) == 1 else "npz" for name, shape in views.shapes.items()}
    paths = {name: out / f"{name}.{suffix}" for name, suffix in suffixes.items()}
    if out.suffix.removeprefix(".") in (*FORMATS, "npz"):
        if len(paths) > 1:
            raise ValueError(f"out={str(out)!r} is one file, for {len(paths)} views; give a folder")
        paths = dict.fromkeys(paths, out)
    check_not_read(paths.values(), data)
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_view(views, name, path, id or "id")
    return list(paths.values())


def _write_view(views: Views, name: str, path: Path, id: str) -> None:
    import pandas as pd

    from manyview.data.files import write_table

    x = views.array(name)
    if x.ndim == 2:
        index = pd.Index(views.ids, name=id)
        write_table(pd.DataFrame(x, index=index, columns=list(views.feature_names[name])), path)
        return
    arrays: dict[str, Any] = {name: x, id: views.ids.astype(str)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def check_not_read(paths: Iterable[Path], data: Data) -> None:
    """Refuse to write over a file that is being read."""
    read = {path.resolve() for path in data.paths}
    for path in paths:
        if path.resolve() in read:
            raise ValueError(f"{str(path)!r} is a file of the data: give another folder or name as out=")


def _escaped(value: Any) -> Any:
    """The value with no interpolations, where none were meant."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value.replace("${", "\\${") if isinstance(value, str) else value


def _write(path: Path, text: str) -> None:
    from manyview.atomic import write_atomically

    write_atomically(path, text.encode("utf-8"))
