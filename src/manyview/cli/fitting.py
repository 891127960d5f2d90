"""``manyview fit``: one run, or a sweep of many."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.cli.console import (
    BROKEN,
    DONE,
    INTERRUPTED,
    MISTAKE,
    Outcome,
    UsageError,
    explain,
    logging_to,
)
from manyview.cli.data import Data, Samples
from manyview.cli.runs import Run
from manyview.cli.settings import FIT, compose, composing, parse, read_file
from manyview.messages import closest, warn

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from manyview.estimator import Estimator

__all__ = ["fit"]

OBJECTIVES = ("val_loss", "score")
"""What a sweeper can be told of a run."""

_OURS = ("data", "seed", "out", "checkpoint", "resume", "overwrite", "objective")

logger = logging.getLogger("manyview")


def fit(args: argparse.Namespace) -> Outcome:
    """Fit a model, or one for each point of a sweep."""
    if args.multirun:
        return _sweep(args)
    settings = _compose(args.overrides, args.config)
    return _fit(settings, Run(Path(settings["out"]).expanduser()), args)


def _compose(overrides: list[str], file: str | None) -> dict[str, Any]:
    """The settings; a run that is resumed starts from its own, where the command line does not say another file."""
    given = {line.key_or_group: line.value() for line in parse(overrides, FIT, file)}
    former = Path(str(given.get("out", FIT["out"]))).expanduser() / Run.CONFIG
    if given.get("resume") and file is None and former.is_file():
        file = str(former)
    return compose(overrides, FIT, file)


def _fit(settings: dict[str, Any], run: Run, args: argparse.Namespace) -> Outcome:
    data = Data.of(settings)
    model, seed = _make_model(settings, args.config, with_module=data.datamodule is not None)
    _check_strategy(model)
    module = data.make_module(seed)
    run.claim(resume=settings["resume"], overwrite=settings["overwrite"])
    run.write_config(model, data, seed)
    run.write_versions(args.command)
    started = time.monotonic()
    with logging_to(run / Run.LOG):
        samples = data.read(module)
        logger.info("%s on %s", model, samples.views or type(module).__name__)
        broken, interrupted = _train(model, samples, run, settings, show=args.show)
        run.write_model(model, samples, data.id)
        result = {
            "out": str(run.folder),
            "model": type(model).__name__,
            **_results(model, samples),
            "seconds": round(time.monotonic() - started, 1),
        }
        if broken is not None:
            result["error"] = explain(broken)
            logger.error("%s", result["error"])
        if interrupted:
            result["interrupted"] = True
        run.write_json(Run.RESULT, result)
    code = BROKEN if broken is not None else INTERRUPTED if interrupted else DONE
    return Outcome(result, _describe(result, run, has_likelihood=model.has_likelihood), code)


def _check_strategy(model: Estimator) -> None:
    """Refuse strategies that run the whole command again in each process, for all of them would write the run."""
    strategy = (model.trainer or {}).get("strategy")
    if isinstance(strategy, str) and strategy.startswith("ddp") and not strategy.startswith(("ddp_fork", "ddp_spawn")):
        raise ValueError(
            f"trainer.strategy={strategy!r} runs this command again in each process; choose 'ddp_fork', or call fit in "
            "a script of your own"
        )


def _make_model(settings: Mapping[str, Any], file: str | None, *, with_module: bool) -> tuple[Estimator, int]:
    """The model that the settings ask for, and the seed of everything random; a data module is no matter of it."""
    from manyview.config import read_config
    from manyview.config.loading import find_model, model_names
    from manyview.config.multiviewae import is_theirs

    content = {key: value for key, value in settings.items() if key not in _OURS and value not in (None, {})}
    target = content.get("model", {}).get("_target_")
    if target is None:
        raise UsageError(f"which model? Say it, as in model=mvae{closest('', model_names())}")
    cls = find_model(str(target))
    alone = {} if file is None else read_file(file)
    if with_module:
        content.pop("datamodule")
        alone.pop("datamodule", None)
    if is_theirs(alone, cls):
        del content["model"]["_target_"]  # their files have no such key, and are told from ours by that
    elif "datamodule" in content:
        raise UsageError("which data module? Say its class, as in datamodule._target_=manyview.MultiviewDataModule")
    former = _names(alone)
    if former is not None and former is not cls:
        _leave_out_what_is_of(former, cls, content["model"], alone["model"])
    overrides = {} if settings["seed"] is None else {"random_state": settings["seed"]}
    try:
        model = cls.from_config(content, **overrides)
    except ValueError:
        if file is not None and former in (None, cls):
            read_config(file, cls)  # where the file alone is wrong, this says the line
        raise
    if model.random_state is None:
        model.random_state = 0  # so that every run can be done again
    return model, int(model.random_state)  # type: ignore[arg-type]  # YAML holds no RandomState


def _leave_out_what_is_of(
    former: type[Estimator], cls: type[Estimator], asked: dict[str, Any], of_file: Mapping[str, Any]
) -> None:
    """Hyperparameters that a file gives to its own model, and that the one asked for in its place does not have."""
    theirs = set(former._get_param_names()) - set(cls._get_param_names())
    left_out = [key for key in of_file if key in theirs and asked.get(key) == of_file[key]]
    for key in left_out:
        del asked[key]
    if left_out:
        warn(f"the file is for {former.__name__}; {cls.__name__} has no {', '.join(left_out)}: left out")


def _names(content: Mapping[str, Any]) -> type[Estimator] | None:
    """The model that a file says."""
    from manyview.config.loading import find_model

    section = content.get("model")
    target = section.get("_target_") if isinstance(section, Mapping) else None
    return None if target is None else find_model(str(target))


def _train(
    model: Estimator, samples: Samples, run: Run, settings: Mapping[str, Any], *, show: bool
) -> tuple[Exception | None, bool]:
    """Fit the model; return what broke training once there were weights, and whether Ctrl-C ended it."""
    options: dict[str, Any] = {}
    if settings["checkpoint"] or settings["resume"]:
        options = {"checkpoint": run / Run.CHECKPOINT, "resume": settings["resume"]}
    verbose = model.verbose
    model.verbose = bool(verbose) and show and sys.stderr.isatty()
    try:
        model.fit(**samples.for_fit, **options)
    except Exception as error:
        if not model.__sklearn_is_fitted__():
            raise
        return error, False
    finally:
        model.verbose = verbose
    return None, model.interrupted_


def _results(model: Estimator, samples: Samples) -> dict[str, Any]:
    """What came out of training, in numbers; None where there is none."""
    history = model.history_
    best = history.loc[model.best_epoch_] if model.best_epoch_ in history.index else None
    held_out, covariates = samples.held_out(model.held_out_)
    return {
        "n_samples": None if samples.views is None else len(samples.views),
        "n_held_out": 0 if held_out is None else len(held_out),
        "epochs": len(history),
        "best_epoch": model.best_epoch_,
        "loss": None if best is None else _number(best["loss"]),
        "val_loss": _number(best["val_loss"]) if best is not None and "val_loss" in best else None,
        "score": None if held_out is None else _number(model.score(held_out, covariates=covariates)),
    }


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None  # JSON has no NaN


def _describe(result: Mapping[str, Any], run: Run, *, has_likelihood: bool) -> str:
    """What people read after a run."""
    n = result["n_samples"]
    on = "" if n is None else f" on {n - result['n_held_out']} samples"
    lines = [f"{result['model']}: {result['epochs']} epochs{on}, weights of epoch {result['best_epoch']}"]
    found = [] if result["val_loss"] is None else [f"loss {result['val_loss']:.5g}"]
    if result["score"] is not None:
        name, unit = ("log-likelihood", " nats a sample") if has_likelihood else ("score", "")
        found.append(f"{name} {result['score']:.5g}{unit} (the larger, the better)")
    if found:
        lines.append(f"on {result['n_held_out']} samples held out: {', '.join(found)}")
    if result.get("interrupted"):
        lines.append("interrupted: the model is the best so far")
    lines.append(f"{run.folder}: {', '.join(sorted(path.name for path in run.folder.iterdir()))}")
    lines.append(
        f"training broke down: {result['error']}" if "error" in result else f"Next: manyview report {run.folder}"
    )
    return "\n".join(lines)


# ---- sweeps ---------------------------------------------------------------------------------------------------------


def _sweep(args: argparse.Namespace) -> Outcome:
    """A run for each point of a sweep, by Hydra's sweepers and launchers, and one table of their results."""
    from hydra.core.global_hydra import GlobalHydra

    parsed = parse(args.overrides, FIT, args.config)
    fixed = [str(line.input_line) for line in parsed if not line.is_sweep_override()]
    settings = compose(fixed, FIT, args.config)  # what all runs have in common is wrong now, or in none of them
    if settings["objective"] not in OBJECTIVES:
        raise ValueError(f"objective={settings['objective']!r}{closest(settings['objective'], OBJECTIVES)}")
    sweep = Run(Path(settings["out"]).expanduser())
    sweep.claim(resume=False, overwrite=settings["overwrite"])
    for former in sweep.folder.glob(f"*/{Run.RESULT}"):
        former.unlink()
    sweep.write_versions(args.command)
    ours = [
        "hydra.sweep.dir=${out}", "hydra.sweep.subdir=${hydra.job.num}", "hydra.output_subdir=null",
        "hydra/job_logging=none", "hydra/hydra_logging=none",
    ]  # fmt: skip
    args.varied = [line.get_key_element() for line in parsed if line.is_sweep_override()]
    job = functools.partial(_job, args=args)
    interrupted = False
    with composing(parsed, FIT, args.config) as name:
        hydra: Any = GlobalHydra.instance().hydra
        try:
            hydra.multirun(name, job, [*ours, *args.overrides], with_log_configuration=False)
        except KeyboardInterrupt:
            interrupted = True
    return _gather(sweep, interrupted)


def _job(settings: DictConfig, *, args: argparse.Namespace) -> float:
    """One run of a sweep, perhaps in a process of its own; what its sweeper is to make small or large."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    run = Run(Path(hydra.runtime.output_dir))
    varied = dict(line.split("=", 1) for line in hydra.overrides.task)
    about = {"run": int(hydra.job.num), "overrides": varied}
    content: Any = OmegaConf.to_container(settings, resolve=True)
    try:
        outcome = _fit(content, run, args)
    except Exception as error:  # a sweep goes on
        outcome = Outcome({"out": str(run.folder), "error": explain(error)}, "", MISTAKE)
    run.write_json(Run.RESULT, {**about, **outcome.result})
    if outcome.code == INTERRUPTED:
        raise KeyboardInterrupt
    value = outcome.result.get(content["objective"])
    if args.show:
        which = " ".join(f"{key}={varied[key]}" for key in args.varied if key in varied)
        said = f"{content['objective']} {value:.5g}" if value is not None else outcome.result.get("error", "done")
        sys.stderr.write(f"run {about['run']} ({which}): {said}\n")
    return math.nan if value is None else float(value)


def _gather(sweep: Run, interrupted: bool) -> Outcome:
    """The table of results, in the order of the runs."""
    import pandas as pd

    from manyview.data.files import write_table

    found = [json.loads(path.read_text(encoding="utf-8")) for path in sweep.folder.glob(f"*/{Run.RESULT}")]
    results = sorted(found, key=lambda result: int(result["run"]))
    if not results:
        return Outcome({"out": str(sweep.folder), "runs": []}, "interrupted before the first run was done", INTERRUPTED)
    rows = [{"run": result["run"], **result["overrides"], **_flat(result)} for result in results]
    table = pd.DataFrame(rows).set_index("run")
    varied = [key for key in dict.fromkeys(key for result in results for key in result["overrides"])]
    same = [key for key in varied if table[key].nunique(dropna=False) == 1 and len(table) > 1]
    table = table.drop(columns=same)
    write_table(table, sweep / Run.TABLE)
    failed = {result["run"]: result["error"] for result in results if "error" in result}
    shown = table.drop(columns="error", errors="ignore")
    lines = [shown.to_string(na_rep="", float_format="{:.5g}".format), f"{sweep / Run.TABLE}"]
    lines += [f"run {run} failed: {error}" for run, error in failed.items()]
    code = INTERRUPTED if interrupted else MISTAKE if failed else DONE
    return Outcome({"out": str(sweep.folder), "table": str(sweep / Run.TABLE), "runs": results}, "\n".join(lines), code)


def _flat(result: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the table that are not overrides."""
    left_out = ("run", "overrides", "out", "model")
    return {key: value for key, value in result.items() if key not in left_out}
