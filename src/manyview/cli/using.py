"""Commands that use a fitted model: from a run folder, and perhaps new data, to tables and reports."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from manyview.cli.console import Outcome, UsageError
from manyview.cli.data import Data, check_not_read, labels, stretches
from manyview.cli.runs import Run, write_views
from manyview.cli.settings import compose, use
from manyview.data.stored import Dataset
from manyview.data.views import Views

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["impute", "predict", "report", "sample", "score", "transform"]


@final
@dataclass(frozen=True)
class Task:
    """A run, what is to be done with it, and the data: the run's, or others."""

    run: Run
    settings: dict[str, Any]

    @classmethod
    def of(cls, args: argparse.Namespace, **defaults: Any) -> Task:
        """What the command line asks for; a default of ``...`` must be given."""
        known = use(**{key: None if value is ... else value for key, value in defaults.items()})
        task = cls(Run.open(args.run), compose(args.overrides, known))
        lacking = [key for key, value in defaults.items() if value is ... and task.settings[key] is None]
        if lacking:
            raise UsageError(f"{args.name} needs {lacking[0]}=, such as {lacking[0]}={args.example}")
        return task

    @property
    def is_new(self) -> bool:
        """Whether the samples are others than the run's."""
        return bool(self.settings["data"]["views"] or self.settings["datamodule"])

    @cached_property
    def data(self) -> Data:
        """Where the samples are read from."""
        return self.run.data.changed_to(self.settings)

    @cached_property
    def read(self) -> tuple[Views | Dataset, Any]:
        """The samples, and their covariates."""
        return self.data.read_all()

    @property
    def out(self) -> Path:
        """Where to write."""
        return Path(str(self.settings["out"])).expanduser()

    def table(self, path: object) -> pd.DataFrame | None:
        """A table about the samples, if one was given."""
        return None if path is None else self.data.read_table(str(path))

    def write(self, frame: pd.DataFrame) -> Outcome:
        """Write a table, and say so."""
        from manyview.data.files import write_table

        check_not_read([self.out], self.data)
        write_table(frame, self.out)
        columns = [str(name) for name in frame.columns]
        result = {"out": str(self.out), "n_samples": len(frame), "columns": columns}
        return Outcome(result, f"{self.out}: {len(frame)} samples, with {', '.join(columns)}")

    def write_views(self, views: Views) -> Outcome:
        """Write a file for each view, or the one that was named; and say so."""
        paths = write_views(views, self.out, self.settings["format"], self.data.id, self.data)
        result = {"out": str(self.out), "n_samples": len(views), "files": [str(path) for path in paths]}
        return Outcome(result, "\n".join(f"{path}: {len(views)} samples" for path in paths))

    def frame(self, values: Any, columns: Any) -> pd.DataFrame:
        """Numbers about the samples, with their ids."""
        import pandas as pd

        return pd.DataFrame(values, index=pd.Index(labels(self.read[0]), name=self.data.id), columns=list(columns))

    def views(self, arrays: Any, ids: Any) -> Views:
        """What the model says of views, with its names of features."""
        names = {view.name: view.feature_names for view in self.run.model.views_ if view.name in arrays}
        return Views({name: np.asarray(x) for name, x in arrays.items()}, ids=ids, feature_names=names)


def transform(args: argparse.Namespace) -> Outcome:
    """Latents of samples."""
    task = Task.of(args, out=..., given=None, private=False)
    model, (views, covariates) = task.run.model, task.read
    z = np.asarray(model.transform(views, given=task.settings["given"], covariates=covariates))
    columns = list(model.get_feature_names_out())
    if task.settings["private"]:
        private = model.transform_private(views, covariates=covariates)
        for name, h in private.items():
            columns += [f"{name}_h{i}" for i in range(np.shape(h)[1])]
            z = np.concatenate([z, np.asarray(h)], axis=1)
    return task.write(task.frame(z, columns))


def predict(args: argparse.Namespace) -> Outcome:
    """Views predicted from views."""
    task = Task.of(args, out=..., given=None, target=None, target_covariates=None, format="csv")
    views, covariates = task.read
    predicted = task.run.model.predict(
        views,
        given=task.settings["given"],
        target=task.settings["target"],
        covariates=covariates,
        target_covariates=task.table(task.settings["target_covariates"]),
    )
    return task.write_views(task.views(predicted, labels(views)))


def impute(args: argparse.Namespace) -> Outcome:
    """The same data with what is missing filled in."""
    task = Task.of(args, out=..., format="csv")
    views, covariates = task.read
    filled = {name: np.asarray(x) for name, x in task.run.model.impute(views, covariates=covariates).items()}
    observed = {
        name: sum(int((~np.isnan(part.array(name))).sum()) for part in stretches(views)) if name in views else 0
        for name in filled
    }
    counts = {name: int(x.size) - observed[name] for name, x in filled.items()}
    outcome = task.write_views(task.views(filled, labels(views)))
    lines = [f"{line}, {n} values filled in" for line, n in zip(outcome.text.split("\n"), counts.values(), strict=True)]
    return Outcome({**outcome.result, "filled_in": counts}, "\n".join(lines))


def score(args: argparse.Namespace) -> Outcome:
    """How well the model explains each sample."""
    task = Task.of(args, out=..., given=None, n_samples=100)
    model, (views, covariates) = task.run.model, task.read
    scores = model.score_samples(
        views, given=task.settings["given"], covariates=covariates, n_samples=task.settings["n_samples"]
    )
    outcome = task.write(task.frame(np.asarray(scores)[:, None], ["score"]))
    mean = float(np.mean(scores))
    what = "log-likelihood in nats" if model.has_likelihood else "minus the loss"
    return Outcome({**outcome.result, "mean": mean, "meaning": what}, f"{outcome.text}\nmean {mean:.5g} ({what})")


def sample(args: argparse.Namespace) -> Outcome:
    """New samples."""
    task = Task.of(args, out=..., n=None, seed=None, expected=False, format="csv")
    n, given = task.settings["n"], task.settings["data"]
    if task.is_new:
        raise UsageError("sample makes new samples: it takes data.covariates= at most, and no views")
    covariates = task.table(given["covariates"])
    if n is None and covariates is None:
        raise UsageError("sample needs n=, such as n=100")
    drawn = task.run.model.sample(
        n, covariates=covariates, expected=task.settings["expected"], random_state=task.settings["seed"]
    )
    return task.write_views(Views(drawn, ids=None if covariates is None else covariates.index.to_numpy()))


def report(args: argparse.Namespace) -> Outcome:
    """A page about the run."""
    from manyview.report import write_report

    task = Task.of(args, out=None, colour=None, title=None)
    (views, covariates), held_out = task.read, task.run.model.held_out_
    path = task.run / Run.REPORT if task.settings["out"] is None else task.out
    check_not_read([path], task.data)
    if task.is_new:  # these were not trained on, whatever was held out of the run's
        held_out = np.arange(len(views))
    written = write_report(
        task.run.model,
        views,
        path,
        covariates=_about(covariates, views),
        held_out=held_out,
        colour=_about(task.table(task.settings["colour"]), views),
        title=task.settings["title"],
    )
    return Outcome({"out": str(written), "n_samples": len(views)}, f"{written}: open it in a browser")


def _about(table: Any, views: Views | Dataset) -> Any:
    """A table about the samples, its labels left out where the samples have none that it could be matched by."""
    numbered = np.array_equal(labels(views), np.arange(len(views)))
    return table.reset_index(drop=True) if numbered and hasattr(table, "iloc") else table
