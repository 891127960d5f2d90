"""A run folder: what was fitted, on which data, and all that it takes to do it again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from manyview.cli.data import Data, Samples, check_not_read, labels, stretches
from manyview.data.views import Views
from manyview.messages import closest
from manyview.versions import versions

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["Run", "write_views"]

FORMATS = ("csv", "tsv", "parquet")
"""What tables are written as."""


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
        content = {**_escaped(data.sections()), "seed": seed, **config}
        text = "# To do this run again: manyview fit --config THIS_FILE out=ANOTHER_FOLDER\n"
        _write(self / self.CONFIG, text + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def write_versions(self, command: list[str]) -> None:
        """What the run was made with."""
        self.write_json(self.VERSIONS, {"command": command, **versions()})

    # ---- after training -----------------------------------------------------------------------------------------

    def write_model(self, model: Estimator, samples: Samples, id: str | None) -> None:
        """The model, its history, and, if there is an order of the samples, which of them it was trained on."""
        import pandas as pd

        from manyview.data.files import write_table

        model.save(self / self.MODEL)
        write_table(model.history_, self / self.HISTORY)
        if (views := samples.views) is None:
            return
        some = np.concatenate([part.present.any(axis=1) for part in stretches(views)])
        use = np.where(some, "training", "left out").astype(object)
        use[model.held_out_] = "validation"
        write_table(pd.DataFrame({"set": use}, index=pd.Index(labels(views), name=id)), self / self.SAMPLES)

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
        return Data.of(self.config)

    @cached_property
    def model(self) -> Estimator:
        """The fitted model."""
        from manyview.io import load

        model: Estimator = load(self / self.MODEL)
        return model


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

    from manyview.atomic import replacing
    from manyview.data.files import write_table

    x = views.array(name)
    if x.ndim == 2:
        index = pd.Index(views.ids, name=id)
        write_table(pd.DataFrame(x, index=index, columns=list(views.feature_names[name])), path)
        return
    arrays: dict[str, Any] = {name: x, id: views.ids.astype(str)}
    with replacing(path) as beside:
        np.savez_compressed(beside, **arrays)


def _escaped(value: Any) -> Any:
    """The value with no interpolations, where none were meant."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value.replace("${", "\\${") if isinstance(value, str) else value


def _write(path: Path, text: str) -> None:
    from manyview.atomic import write_atomically

    write_atomically(path, text.encode("utf-8"))
