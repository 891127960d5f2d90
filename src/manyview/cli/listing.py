"""Commands that tell what there is: models, and their configurations."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from manyview.cli.console import Outcome
from manyview.cli.runs import Run

__all__ = ["config", "models"]


def models(args: argparse.Namespace) -> Outcome:
    """Every model, with the names that ``model=`` takes."""
    from manyview.config.loading import model_names
    from manyview.models import MODELS

    names: dict[str, list[str]] = {cls.__name__: [] for cls in MODELS}
    for name, cls in model_names().items():
        names[cls.__name__].append(name)
    rows = []
    for cls in MODELS:
        short, *others = sorted(names[cls.__name__], key=lambda name: (len(name), name))
        summary = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
        rows.append({"name": short, "aliases": others, "class": cls.__name__, "summary": summary})
    width = max(len(str(row["name"])) for row in rows)
    text = "\n".join(f"{row['name']:<{width}}  {row['summary']}" for row in rows)
    return Outcome({"models": rows}, f"{text}\n\nThe hyperparameters of one: manyview config {rows[0]['name']}")


def config(args: argparse.Namespace) -> Outcome:
    """The complete configuration of a model, or of a run."""
    from manyview.config import default_config, to_config
    from manyview.config.loading import find_model

    path = Path(args.model).expanduser()
    if (path / Run.CONFIG).is_file():
        run = Run(path)
        return Outcome({"config": run.config}, (run / Run.CONFIG).read_text(encoding="utf-8").rstrip())
    cls = find_model(args.model)
    return Outcome({"config": to_config(cls())}, default_config(cls).rstrip())
