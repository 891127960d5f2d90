"""The benchmark of published tables: its rows are models, its runs go on where they stopped, its tables add up."""

import json
import math
import statistics
import time

import numpy as np
import pytest

import manyview as mv
from benchmarks.layout import as_markdown
from benchmarks.peers import compare as peers
from benchmarks.peers.run import run_peer
from benchmarks.table2 import draws, tasks
from benchmarks.table2.rows import read_rows
from benchmarks.table2.run import Run, perform
from benchmarks.table2.table import PCA, comparison_table, published_table


@pytest.mark.parametrize("quick", [False, True])
def test_every_row_is_a_model_that_can_be_made(quick):
    rows = read_rows(["binary_mnist", "polymnist", "all"], quick)
    assert {"binary_mnist/jmvae", "polymnist/mopoe"} <= set(rows)
    if not quick:
        for data in ("mfeat", "binary_mnist", "polymnist"):
            assert sum(name.startswith(f"all/{data}:") for name in rows) == len(mv.models.MODELS)
    for name, spec in rows.items():
        path = spec["config"]["model"]["_target_"]
        model = getattr(mv, path.removeprefix("manyview."))(cfg=spec["config"])
        assert model.max_epochs == spec.get("evaluate_at", [model.max_epochs])[-1], name


def test_a_row_that_is_not_there():
    with pytest.raises(SystemExit, match=r"there is no row 'binary_mnist/jmvea'; there are .*binary_mnist/jmvae"):
        read_rows(["binary_mnist/jmvea"], False)


@pytest.fixture
def task(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    sign = np.where(labels == 1, 1.0, -1.0)[:, None]
    data = {"a": np.hstack([sign, sign, sign]), "b": np.hstack([sign, -sign])}
    views = mv.Views({name: x + 0.1 * rng.normal(size=x.shape) for name, x in data.items()})
    classifiers = {"a": lambda x: (x[:, 0] > 0).astype(int), "b": lambda x: (x[:, 0] > 0).astype(int)}
    made = tasks.Task(views[:60], views[:60], labels[:60], views[60:], labels[60:], classifiers, {}, seen=("b",))
    monkeypatch.setitem(tasks.TASKS, "signs", lambda folder: made)
    return made


def make_run(out, **changes):
    config = {"model": {"_target_": "manyview.MVAE", "z_dim": 1, "batch_size": 20}, "trainer": {"max_epochs": 40}}
    given = {
        "row": "test/mvae", "data": {"name": "signs"}, "model": "MVAE", "config": config, "protocol": "quick",
        "seed": 0, "evaluate_at": (3, 40), "n_draws": 50, "device": "cpu", "precision": "32-true",
        "out": str(out), "until": None,
    }  # fmt: skip
    return Run(**{**given, **changes})


def test_a_run_goes_on_from_one_evaluation_to_the_next(task, tmp_path):
    run = make_run(tmp_path)
    lines = []
    while (line := perform(run, lines[-1]["epochs"] if lines else 0)) is not None:
        lines.append(line)
    assert [line["epochs"] for line in lines] == [3, 40]
    assert lines[1]["seconds"] > lines[0]["seconds"]  # of all the training so far
    assert set(lines[0]["measures"]) == {key for key in lines[1]["measures"] if key.startswith("log_likelihood")}
    together = mv.MVAE(cfg=run.config, random_state=0, verbose=False).fit(task.train)
    expected = mv.metrics.log_likelihood(together, task.test, n_samples=50, random_state=0).value
    assert lines[1]["measures"]["log_likelihood"] == pytest.approx(expected, rel=1e-6)
    coherence = mv.metrics.conditional_coherence(
        together, task.test, task.test_labels, task.classifiers, random_state=0
    )
    assert lines[1]["measures"]["coherence"] == coherence.by_size.to_dict()
    accuracy = mv.metrics.latent_classification(
        together, task.known, task.known_labels, task.test, task.test_labels, subsets=["b"], random_state=0
    )
    assert lines[1]["measures"]["knn_accuracy"] == accuracy["accuracy"].iloc[0] > 0.9
    history = (tmp_path / "histories" / f"{run.name}.csv").read_text().splitlines()
    assert len(history) == 41


def test_a_finished_run_is_measured_with_more_draws(task, tmp_path, monkeypatch):
    run = make_run(tmp_path, evaluate_at=(3,))
    perform(run, 0)
    monkeypatch.setattr(draws, "runs", lambda args: [run])
    monkeypatch.setattr(draws, "DRAWS", (10, 20))
    found = json.loads(json.dumps(draws.measure("binary_mnist/jmvae", 0, "32-true", tmp_path)))
    model = mv.MVAE(cfg=run.config, random_state=0, verbose=False).fit(task.train, max_epochs=3)
    for k in (10, 20):
        expected = mv.metrics.log_likelihood(model, task.test, n_samples=k, random_state=0)
        assert found["draws"][str(k)]["value"] == pytest.approx(expected.value, rel=1e-6)
    head, rows = draws.table([found])
    assert head == ["model", "K = 10", "K = 20"]
    assert rows[0][0] == "JMVAE"
    assert rows[0][2] == f"{expected.value:.2f} ({expected.effective_samples:.0f})"


def test_another_configuration_is_another_run(tmp_path):
    run = make_run(tmp_path)
    assert run.name == make_run(tmp_path / "elsewhere", device="cuda").name
    for changes in ({"seed": 1}, {"protocol": "full"}, {"precision": "bf16-mixed"}, {"data": {"name": "others"}}):
        assert run.name != make_run(tmp_path, **changes).name
    config = {**run.config, "trainer": {"max_epochs": 41}}
    assert run.name != make_run(tmp_path, config=config).name


def test_a_run_out_of_time_is_kept_to_be_gone_on_with(task, tmp_path):
    assert perform(make_run(tmp_path, until=0.0), 0) is None
    assert not (tmp_path / "checkpoints").exists()
    run = make_run(tmp_path, evaluate_at=(10**6,), until=time.time() + 2)
    assert perform(run, 0) is None
    assert any((tmp_path / "checkpoints" / run.name).iterdir())
    assert not (tmp_path / "histories").exists()


def line(row, seed, epochs, **measures):
    return {
        "row": row, "protocol": "full", "model": "MVAE", "seed": seed, "device": "cpu", "precision": "32-true",
        "epochs": epochs, "of_epochs": 500, "trained_epochs": epochs, "seconds": 660.0, "cpu_seconds": 60.0 * epochs,
        "machine": {"device": "a chip"}, "measures": measures,
    }  # fmt: skip


def test_the_table_has_means_and_deviations_over_seeds():
    values = [-87.0, -86.0, -86.5]
    lines = [line("binary_mnist/jmvae", seed, 500, log_likelihood=value) for seed, value in enumerate(values)]
    lines.insert(0, line("binary_mnist/jmvae", 0, 100, log_likelihood=-99.0))  # an earlier evaluation
    head, rows = published_table(lines, "full")
    found = dict(zip(head, rows[0], strict=True))
    sd = math.sqrt(sum((value + 86.5) ** 2 for value in values) / 2)
    assert found["manyview"] == f"-86.50 ± {sd:.2f}"
    assert sd == statistics.stdev(values)
    assert (found["model"], found["paper"], found["seeds"], found["epochs"]) == ("JMVAE", "-86.86", "3", "500")
    assert (found["time (CPU)"], found["machine"]) == ("11.0 min (500.0)", "a chip")
    assert "log p" in found["measure"]


def test_unfinished_runs_say_so_and_coherence_is_in_percent():
    lines = [line("polymnist/mopoe", seed, 30, coherence={"1": 0.1 + seed, "2": 0.3}) for seed in (0, 1)]
    head, rows = published_table(lines, "full")
    found = dict(zip(head, rows[0], strict=True))
    assert (found["manyview"], found["epochs"]) == ("60/30", "30 of 500")


def test_models_are_ordered_by_accuracy_and_what_they_lack_is_a_dash():
    lines = [
        line("all/mfeat:AE", 0, 5, knn_accuracy=0.5, coherence_mean=0.2),
        line("all/mfeat:MVAE", 0, 5, knn_accuracy=0.9, coherence_mean=0.2, log_likelihood=-3.0, **{PCA: 0.7}),
    ]
    head, rows = comparison_table(lines, "mfeat", "full")
    assert [row[head.index("k-NN accuracy")] for row in rows] == ["0.900", "0.700", "0.500"]
    assert [row[head.index("log-likelihood")] for row in rows] == ["-3.0", "–", "–"]
    assert rows[1][0] == "PCA"
    assert as_markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_peers_stand_beside_each_other():
    def answer(library, seed, accuracy, error=None):
        return {
            "data": "mfeat", "model": "MVAE", "library": library, "seed": seed, "error": error,
            "knn_accuracy": accuracy, "log_likelihood": None if library == "multivae" else {"value": -10.0 - seed},
            "epoch_cpu_seconds": [9.0, 1.0, 3.0, 2.0], "fit_cpu_seconds": 15.0,
        }  # fmt: skip

    lines = [answer("multivae", 0, 0.5), answer("manyview", 0, 0.8), answer("manyview", 1, 0.9)]
    lines.append(answer("multiviewae", 0, None, error="it does not train"))
    head, rows = peers.table(lines, "mfeat")
    found = {row[1]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(found) == ["manyview", "multiviewae", "multivae"]
    assert found["manyview"]["k-NN accuracy"] == "0.850"
    assert (found["manyview"]["log-likelihood"], found["multivae"]["log-likelihood"]) == ("-10.5", "–")
    assert found["manyview"]["CPU s an epoch"] == "2.000"  # the median but for the first
    assert found["multiviewae"]["k-NN accuracy"] == "fails"


def test_a_peer_that_cannot_run_says_why(tmp_path):
    answer = run_peer("another", {"model": "MVAE", "threads": 1}, tmp_path)
    assert "there is no peer 'another'" in answer["error"]
