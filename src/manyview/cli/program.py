"""The program ``manyview``: its commands, their help, and what its exit status says."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

from manyview.cli.console import (
    BUG,
    EXIT_CODES,
    INTERRUPTED,
    MISTAKE,
    USAGE,
    USER_ERRORS,
    Outcome,
    UsageError,
    explain,
    listening,
)

__all__ = ["main"]


@final
@dataclass(frozen=True)
class Command:
    """A command, and its help; `function` is what runs it, as "module:function" of this package."""

    summary: str
    help: str
    function: str
    argument: str | None = "run"
    example: str = ""  # of out=, where that is needed

    def run(self, args: argparse.Namespace) -> Outcome:
        """Run it; what it needs is imported now, so that help is quick."""
        module, _, function = self.function.partition(":")
        outcome: Outcome = getattr(importlib.import_module(f"manyview.cli.{module}"), function)(args)
        return outcome


_DATA = """\
Data: by default those that the run was fitted on. For others:
  data.views.NAME=FILE  a file or folder for each view; views may be left out
  data.id=COLUMN        the column of sample ids (as in the run, by default)
  data.covariates=FILE  if the model was fitted with covariates
  datamodule.KEY=VALUE  for a run on a data module: another argument of it, such as datamodule.data.genes=new.npy
"""

COMMANDS = {
    "fit": Command(
        "fit a model to files",
        """\
Fit a model, and write a run folder: config.yaml (all that it takes to repeat the run), model.safetensors,
history.csv, samples.csv (which samples were held out), result.json, train.log and versions.json.

Settings are written key=value, in the grammar of Hydra:
  model=NAME            which model ('manyview models' lists them); model=package.module.Class for one of your own
  model.KEY=VALUE       a hyperparameter ('manyview config NAME' explains them)
  trainer.KEY=VALUE     max_epochs, accelerator, or another argument of Lightning's Trainer
  data.views.NAME=FILE  a file (.csv .tsv .parquet .npy .npz .h5 .h5ad) or folder of images for each view;
                        data.views=FILE for one file with all of them (.h5mu, .npz, .h5)
  data.id=COLUMN        the column of sample ids, on which files are joined; rows are matched by position without it
  data.in_memory=false  read views as they are needed, from .npy, .zarr, .h5 or .h5ad files that may be larger than
                        memory; their rows are matched by position, those of .h5ad by obs_names
  data.covariates=FILE  a table that the model is conditioned on
  datamodule._target_=CLASS  a data module in place of data.views: manyview.MultiviewDataModule,
                        manyview.IndexDataModule, or a LightningDataModule of your own (PYTHONPATH=. lets it lie in the
                        current folder); datamodule.KEY=VALUE gives its arguments, and those that are paths are
                        written to config.yaml in full; data.id and data.covariates hold for ours
  seed=0                of everything random: the same seed gives the same model
  out=run               the run folder
  overwrite=true        replace the run that is there
  checkpoint=true       write checkpoints, so that a run that is killed can go on
  resume=true           go on with the run in out=, where its last checkpoint ends

Sweeps: with -m, values separated by commas make one run each, in folders 0, 1, ... of out=, and a table results.csv.
  hydra/launcher=joblib hydra.launcher.n_jobs=4    several at once (pip install hydra-joblib-launcher)
  hydra/launcher=submitit_slurm                    on a cluster (pip install hydra-submitit-launcher)
  hydra/sweeper=optuna hydra.sweeper.n_trials=30   search, as in 'model.learning_rate=tag(log,interval(1e-4,1e-2))'
                        (pip install hydra-optuna-sweeper); it makes small objective=val_loss, or, with
                        hydra.sweeper.direction=maximize, large objective=score
Losses of different models, or with different beta, cannot be compared; scores of variational models can (held-out
log-likelihoods, in nats).

Examples:
  manyview fit model=mvae data.views.genes=genes.csv data.views.lipids=lipids.csv data.id=id out=run
  manyview fit model=mopoe model.z_dim=8 trainer.max_epochs=200 data.views=cells.h5mu out=cells
  manyview fit --config run/config.yaml seed=1 out=again
  manyview fit model=mvae datamodule._target_=manyview.MultiviewDataModule datamodule.data.genes=genes.npy out=run
  manyview fit -m model=mvae,mopoe model.z_dim=4,8,16 seed=0,1,2 data.views.genes=genes.csv data.id=id out=sweep
""",
        "fitting:fit",
        argument=None,
    ),
    "transform": Command(
        "latents of samples, as a table",
        f"""\
Write the latent representation of samples: a row for each, with its id, and a column for each latent dimension.

  out=FILE              where to: .csv, .tsv or .parquet
  given=NAME            infer from this view; given=[a,b] from these (all by default)
  private=true          add the views' private latents, where the model has such

{_DATA}
Examples:
  manyview transform run out=latents.csv
  manyview transform run given=genes out=latents.parquet data.views.genes=new.csv
""",
        "using:transform",
        example="latents.csv",
    ),
    "predict": Command(
        "views predicted from views",
        f"""\
Write the expected values of views, given others: one file a view, named after it, in the units of the data.

  out=FOLDER            where to
  given=NAME            predict from this view; given=[a,b] from these (all by default)
  target=NAME           predict this view; target=[a,b] these (all by default)
  target_covariates=FILE  covariates to predict for, in place of the samples' own
  format=csv            or tsv, parquet; views that are images are written as .npz

{_DATA}
Example:
  manyview predict run given=genes target=lipids out=predicted
""",
        "using:predict",
        example="predicted",
    ),
    "impute": Command(
        "the data, with what is missing filled in",
        f"""\
Write the data with all that is missing filled in by its expected value given the rest: one file a view, named after
it. What was observed stays as it was.

  out=FOLDER            where to
  format=csv            or tsv, parquet; views that are images are written as .npz

{_DATA}
Example:
  manyview impute run out=imputed
""",
        "using:impute",
        example="imputed",
    ),
    "score": Command(
        "how well the model explains each sample",
        f"""\
Write the log-likelihood of each sample, in nats (an importance-weighted estimate; for models without a likelihood,
minus the loss). Samples with low scores are unlike those that the model has seen.

  out=FILE              where to: .csv, .tsv or .parquet
  given=NAME            the log-likelihood of the other views given this one
  n_samples=100         draws for the estimate: more are closer to the truth, which it does not exceed

{_DATA}
Example:
  manyview score run out=scores.csv
""",
        "using:score",
        example="scores.csv",
    ),
    "sample": Command(
        "new samples",
        """\
Draw new samples from the model: one file a view, named after it.

  n=NUMBER              how many
  out=FOLDER            where to
  seed=0                of the draws; by default that of the run
  expected=true         the expected value given each draw of the latents, which is smoother than a draw
  format=csv            or tsv, parquet; views that are images are written as .npz
  data.covariates=FILE  covariates of the new samples, if the model was fitted with such; data.id=COLUMN names their ids

Example:
  manyview sample run n=100 out=new
""",
        "using:sample",
        example="new",
    ),
    "report": Command(
        "a page about a run, for the browser",
        f"""\
Write one HTML file about a run that needs no network: how training went, the latent space, which view explains what,
how well views are predicted, what is missing.

  out=FILE              where to (report.html in the run folder, by default)
  colour=FILE           a table about the samples, by whose columns the latent space can be coloured
  title=TEXT            a heading

Of very many samples the page is about some thousands, chosen at random.

{_DATA}
Examples:
  manyview report run
  manyview report run colour=diet.csv
""",
        "using:report",
    ),
    "config": Command(
        "the configuration of a model, explained",
        """\
Print the complete configuration of a model with its defaults and what they mean, as YAML that 'manyview fit --config'
reads; or that of a run.

Examples:
  manyview config mvtcae
  manyview config mvtcae > mvtcae.yaml
  manyview config run
""",
        "listing:config",
        argument="model",
    ),
    "models": Command(
        "the models that there are",
        "List the models, by the names that model= takes.\n\nExample:\n  manyview models\n",
        "listing:models",
        argument=None,
    ),
}

_DESCRIPTION = """\
Multi-view autoencoders, from files to files. Three commands go from tables to latents, imputed tables and a report:

  manyview fit model=mvae data.views.genes=genes.csv data.views.lipids=lipids.csv data.id=id out=run
  manyview impute run out=imputed
  manyview report run
"""


class _Parser(argparse.ArgumentParser):
    """A parser that shows help as it is written, and whose errors are ours to show."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = _Parser(
        prog="manyview",
        description=_DESCRIPTION,
        epilog=f"'manyview COMMAND --help' explains a command, with examples.\n\nExit status:\n{codes}",
    )
    parser.add_argument("--version", action="version", version=f"manyview {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        part = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.help}",
        )
        part.set_defaults(name=name, overrides=[], example=command.example)
        if command.argument is not None:
            part.add_argument(command.argument, metavar=command.argument.upper())
        if name == "fit":
            part.add_argument("--config", metavar="FILE", help="a YAML file to start from, such as a run's config.yaml")
            part.add_argument("-m", "--multirun", action="store_true", help="a run for each combination of values")
        if name not in ("config", "models"):
            part.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, explained above")
        part.add_argument("--json", action="store_true", help="print one JSON object, of errors too, and nothing else")
        part.add_argument("-q", "--quiet", action="store_true", help="no progress bar, and no warnings")
        part.add_argument("--debug", action="store_true", help="show where in the code an error came from")
    return parser


def _version() -> str:
    import manyview

    return manyview.__version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments; those of the process by default.

    Returns
    -------
    int
        The exit status; ``manyview --help`` says what each means.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Looked up here, because what cannot be parsed is to be reported in the form asked for as well.
    as_json, debug = "--json" in arguments, "--debug" in arguments
    silent = as_json or bool({"-q", "--quiet"} & {*arguments})
    with listening(show=not silent) as warnings:
        try:
            outcome = _run(arguments, silent)
            code, result, text = outcome.code, dict(outcome.result), outcome.text
        except SystemExit as stop:  # --help and --version, or SIGTERM
            return stop.code if isinstance(stop.code, int) else MISTAKE
        except BaseException as error:
            code = _code(error)
            if debug or code == BUG:
                traceback.print_exc()
            message = explain(error) if code != INTERRUPTED else "interrupted"
            result, text = {"error": {"type": type(error).__name__, "message": message}}, ""
    if as_json:
        _say(json.dumps({**result, "exit_code": code, "warnings": warnings}, ensure_ascii=False))
    elif text:
        _say(text)
    else:
        print(textwrap.fill(f"manyview: error: {result['error']['message']}", 100), file=sys.stderr)
    return code


def _say(text: str) -> None:
    """Print, to whoever still listens: ``manyview config mvae | head`` has heard enough after ten lines."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at exit goes there


def _run(arguments: list[str], silent: bool) -> Outcome:
    # Options may stand between settings; argparse then leaves the later ones over.
    args, rest = _parser().parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or "overrides" not in vars(args)]
    if unknown or (rest and args.name in ("config", "models")):
        raise UsageError(f"{args.name} has no option {(unknown or rest)[0]!r}; see manyview {args.name} --help")
    args.overrides = [*args.overrides, *rest]
    args.command, args.show = ["manyview", *arguments], not silent
    return COMMANDS[args.name].run(args)


def _code(error: BaseException) -> int:
    """The exit status that an error ends the program with."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return USAGE
    return MISTAKE if isinstance(error, USER_ERRORS) else BUG
