"""Choosing hyperparameters by cross-validation, many models trained as one computation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, ParameterGrid, check_cv

from manyview.data.covariates import covariates_at
from manyview.data.views import Views, as_views
from manyview.estimator import Estimator
from manyview.messages import warn
from manyview.preparation import Preparation, Prepared
from manyview.seeding import as_seed, as_seeds
from manyview.training import NonFiniteObjectiveError
from manyview.validation import check_count, check_hyperparameters, check_known

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tuning", "tune"]

Model = TypeVar("Model", bound=Estimator)
Scoring = Callable[..., float]

# Hyperparameters whose settings may be named one by one, as in "encoder__dropout".
_NESTED = ("encoder", "decoder", "joint_encoder", "optimizer_args", "scheduler_args")


@final
@dataclass(frozen=True)
class Tuning(Generic[Model]):
    """What :func:`tune` has found.

    Parameters
    ----------
    results : DataFrame
        One row a combination, in the order of the grid: a column for each hyperparameter; ``mean_score`` and
        ``sd_score`` over the folds, ``se_score`` = sd / √F; ``score_0``, ``score_1``, ... of each fold; ``epochs``, the
        mean of the best epochs; ``rank``, 1 for the best.
    best_params : dict
        The combination with the largest mean score.
    best_score : float
        That mean.
    best_model : Estimator or None
        A model with these hyperparameters, fitted to all samples; None with ``refit=False``.
    """

    results: pd.DataFrame
    best_params: dict[str, Any]
    best_score: float
    best_model: Model | None

    def __repr__(self) -> str:
        return f"Tuning(best_params={self.best_params}, best_score={self.best_score:.5g}, of {len(self.results)})"


def tune(
    model: Model,
    views: Any,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
    cv: Any = 5,
    *,
    groups: Any = None,
    covariates: Any = None,
    scoring: Scoring | None = None,
    n_samples: int | None = None,
    refit: bool = True,
) -> Tuning[Model]:
    r"""Choose hyperparameters by cross-validation.

    Every combination of the grid is fitted once a fold to the samples outside of the fold, early stopping on its own
    held-out share of these, and scored on those inside:

    .. math:: \text{score} = \frac1F \sum_{f=1}^F \frac{1}{|f|} \sum_{i \in f} \log p_{\setminus f}(X_i)

    For models with a likelihood this is the importance-weighted log-likelihood of unseen samples, in nats per sample,
    which can be compared between values of β, numbers of latent dimensions and models; for others minus their loss.

    Networks of the same shape are trained as one computation: their weights stacked, their products batched, each with
    its own samples, random numbers, optimiser and early stopping, so that each comes out as if trained alone, up to
    rounding. Combinations may differ there in ``learning_rate``, ``beta``, ``beta_warmup``, dropout,
    ``gradient_clip``, ``patience``, ``max_epochs``, the optimiser's and the scheduler's arguments and ``random_state``;
    others, such as ``z_dim``, are computations of their own, one for the folds of each value. Models with an adversary
    or with canonical correlations, and those with ``trainer=`` arguments, are trained one after another.

    Parameters
    ----------
    model : Estimator
        The model; its own hyperparameters hold where the grid says nothing. It stays as it is.
    views : views
        The samples, in any form that ``fit`` takes as one argument, in memory.
    grid : dict, or list of dicts
        Values to try by hyperparameter, as in scikit-learn's ``ParameterGrid``. Single settings of networks and
        optimisers are named with two underscores: ``{"encoder__dropout": [0.1, 0.3]}``.
    cv : int, splitter or iterable of (train, test) positions, default 5
        The folds. An integer makes so many, of shuffled samples, or with ``groups`` of shuffled groups.
    groups : array-like of shape (n,), optional
        What must not be parted, such as the person or the family of each sample: a fold has all samples of a group or
        none, so that scores are those of new groups. A Series is matched by its index where the views have one. Early
        stopping holds out samples, not groups.
    covariates : DataFrame, dict or array, optional
        The covariates of the samples.
    scoring : callable, optional
        ``scoring(fitted model, views of the fold)``, larger is better, in place of the mean log-likelihood; where there
        are covariates, also ``covariates=`` of the fold.
    n_samples : int, optional
        Number of draws K for each log-likelihood; 100 unless given.
    refit : bool, default True
        Whether to fit the best combination to all samples.

    Returns
    -------
    Tuning

    Raises
    ------
    TypeError, ValueError
        If the grid names what the model has not, or a value is not allowed; if ``groups`` are not one a sample, or
        fewer than folds; for ``n_samples`` beside ``scoring``. All of it before anything is trained.
    KeyboardInterrupt
        On Ctrl-C; nothing is kept.

    Warns
    -----
    UserWarning
        For each combination whose objective became NaN or infinite in some fold; it has the rank after all others.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=90, n_features=(10, 8), n_shared=2, random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=20, random_state=0, verbose=False)
    >>> found = mv.tune(model, views, {"beta": [0.5, 1.0], "learning_rate": [1e-3, 1e-2]}, cv=3)
    >>> len(found.results), found.best_params["learning_rate"]
    (4, 0.01)
    """
    data = as_views(views)
    if n_samples is not None:
        check_count("n_samples", n_samples)
        if scoring is not None:
            raise ValueError(f"n_samples={n_samples} is of the log-likelihood, which `scoring` takes the place of")
    combinations = [dict(point) for point in ParameterGrid(cast(Any, grid))]
    candidates = [with_settings(model, settings, data.names) for settings in combinations]
    for candidate in candidates:
        check_hyperparameters(candidate)
    jobs = _Jobs()
    folds = list(_splits(cv, data, groups, as_seed(model.random_state)))

    def covariates_of(rows: np.ndarray) -> dict[str, Any]:
        """The argument of those that take covariates, if there are such."""
        return {} if covariates is None else {"covariates": covariates_at(rows, covariates, len(data), data.index)}

    for train, _ in folds:
        samples = data[train]
        c = covariates_of(train).get("covariates")
        for candidate in candidates:
            jobs.add(with_settings(candidate, {}, data.names), samples, c)
    table = np.full((len(candidates), len(folds)), np.nan)
    epochs = np.full_like(table, np.nan)
    for i, (fitted, error) in enumerate(trained(jobs.models)):
        fold, row = divmod(i, len(candidates))
        test = folds[fold][1]
        if error is not None:
            warn(f"{combinations[row]}: {error}")
            continue
        epochs[row, fold] = fitted.best_epoch_
        if scoring is not None:
            table[row, fold] = scoring(fitted, data[test], **covariates_of(test))
        else:
            k = 100 if n_samples is None else n_samples
            table[row, fold] = fitted.score(data[test], n_samples=k, random_state=fold, **covariates_of(test))
    means = table.mean(1)
    if np.isnan(means).all():
        raise NonFiniteObjectiveError("the objective became NaN or infinite with every combination of the grid")
    best = int(np.nanargmax(means))
    final_model = None
    if refit:
        final_model = with_settings(model, combinations[best], data.names).fit(data, covariates=covariates)
    return Tuning(_results(combinations, table, epochs), combinations[best], float(means[best]), final_model)


def with_settings(model: Model, settings: Mapping[str, Any], view_names: Sequence[str]) -> Model:
    """A new model like another one, with other settings."""
    cls, changes = type(model), {}
    for name, value in settings.items():
        parent, _, setting = name.partition("__")
        check_known(cls, {parent: None})
        if not setting:
            changes[name] = value
        elif parent in _NESTED:
            spec = changes.get(parent, getattr(model, parent))
            changes[parent] = _refine(spec, setting, value, name, view_names)
        else:
            raise ValueError(f"grid: {name!r}: only {', '.join(_NESTED)} have settings of their own; name {parent!r}")
    return model._with(changes)


def _refine(spec: Any, setting: str, value: Any, name: str, view_names: Sequence[str]) -> Any:
    """A specification with one setting changed; of every view, where it is one by view."""
    if spec is None:
        return {setting: value}
    if isinstance(spec, str):
        return {"name": spec, setting: value}
    if not isinstance(spec, Mapping):
        raise ValueError(f"grid: {name!r}: {spec!r} is a network already; give it as a dict of settings")
    if set(spec) & {*view_names, *range(len(view_names))}:
        return {view: _refine(own, setting, value, name, view_names) for view, own in spec.items()}
    return {**spec, setting: value}


def _splits(cv: Any, data: Views, groups: Any, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The positions that are trained on, and those that are scored, of each fold."""
    n = len(data)
    if groups is not None:
        groups = covariates_at(np.arange(n), {"group": groups}, n, data.index, argument="groups")["group"]
        lacking = np.flatnonzero([group is None or group != group for group in groups.tolist()])
        if len(lacking):
            raise ValueError(
                f"groups: {len(lacking)} of {n} samples have none, first sample {lacking[0]}; give each a group, "
                "one of its own if it belongs with no other"
            )
    if isinstance(cv, int | np.integer):
        what, most = ("samples", n) if groups is None else ("groups", len(np.unique(groups)))
        if not 2 <= cv <= most:
            raise ValueError(f"cv={cv}: give a number of folds from 2 to the number of {what}, {most}")
        kind = KFold if groups is None else GroupKFold
        cv = kind(int(cv), shuffle=True, random_state=seed)
    for fold, (train, test) in enumerate(check_cv(cv).split(np.zeros((n, 1)), groups=groups)):
        if groups is not None and len(parted := np.intersect1d(groups[train], groups[test])):
            raise ValueError(
                f"cv: fold {fold} has samples of group {parted.tolist()[0]!r} to train on and to score; give a number "
                "of folds, or a splitter that keeps groups together, such as GroupKFold"
            )
        yield train, test


class _Jobs:
    """Models to be trained, together where they can be."""

    def __init__(self) -> None:
        self.prepared: list[tuple[Preparation, Views, Prepared]] = []
        self.models: list[tuple[Any, Prepared, list[Any]]] = []

    def add(self, model: Estimator, data: Views, covariates: Any) -> None:
        """Prepare a model's data, and make its networks."""
        seeds = as_seeds(model.random_state, model.n_init)
        prepared = self._prepare(model.preparation(seeds[0]), data, covariates)
        self.models.append((model, prepared, [model.run(prepared, seed) for seed in seeds]))

    def _prepare(self, prepare: Preparation, data: Views, covariates: Any) -> Prepared:
        """Prepared data, once for all models that take them alike."""
        for known, samples, prepared in self.prepared:
            if samples is data and known == prepare:
                return prepared
        self.prepared.append((prepare, data, prepare(data, covariates, (None, None), None)))
        return self.prepared[-1][-1]


def trained(jobs: Sequence[tuple[Any, Prepared, list[Any]]]) -> Iterable[tuple[Any, NonFiniteObjectiveError | None]]:
    """Models with their data and their runs, trained together where they can be, in order; and what stopped them."""
    from manyview.training.many import train_all

    found = train_all([run for _, _, runs in jobs for run in runs])
    if any(outcome.interrupted for outcome in found):
        raise KeyboardInterrupt
    outcomes = iter(found)
    for model, prepared, runs in jobs:
        try:
            model.adopt(prepared, runs, [next(outcomes) for _ in runs])
        except NonFiniteObjectiveError as error:
            yield model, error
        else:
            yield model, None


def _results(combinations: Sequence[Mapping[str, Any]], table: np.ndarray, epochs: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for settings in combinations for name in settings):
        columns[name] = pd.Series([settings.get(name) for settings in combinations], dtype=object).infer_objects()
    n_folds = table.shape[1]
    sd = table.std(1, ddof=1) if n_folds > 1 else np.full(len(table), np.nan)
    columns |= {"mean_score": table.mean(1), "sd_score": sd, "se_score": sd / n_folds**0.5}
    columns |= {f"score_{fold}": scores for fold, scores in enumerate(table.T)}
    results = pd.DataFrame(columns | {"epochs": np.nanmean(epochs, axis=1)})
    results["rank"] = results["mean_score"].rank(ascending=False, na_option="bottom", method="min").astype(int)
    return results
