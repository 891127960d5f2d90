"""The command line: every command does what the library does, says what is wrong, and ends as it documents."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra

import manyview as mv
from manyview.cli import fitting, main
from manyview.cli.console import EXIT_CODES
from manyview.cli.program import COMMANDS, _parser
from manyview.cli.settings import FIT, parse, use

N = 30
SMALL = ["model.z_dim=2", "model.encoder={hidden:[8]}", "model.decoder={hidden:[8]}", "trainer.max_epochs=3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Tables of two views, the second without six of the samples, and covariates."""
    folder = tmp_path_factory.mktemp("files")
    data = mv.datasets.make_multiview(N, (5, 4), random_state=0)
    ids = pd.Index([f"s{i:02}" for i in range(N)], name="id")
    genes, lipids = (pd.DataFrame(data.array(name), index=ids) for name in data.names)
    genes.columns, lipids.columns = [f"g{i}" for i in range(5)], [f"l{i}" for i in range(4)]
    genes.to_csv(folder / "genes.csv")
    lipids.iloc[[i for i in range(N) if i % 5]].to_csv(folder / "lipids.csv")
    pd.DataFrame({"sex": ["f", "m"] * (N // 2), "age": np.arange(N)}, index=ids).to_csv(folder / "about.csv")
    genes.iloc[:4].set_axis(["new1", "new2", "new3", "new4"]).rename_axis("id").to_csv(folder / "more.csv")
    return folder


def views_of(files: Path) -> list[str]:
    return [f"data.views.genes={files / 'genes.csv'}", f"data.views.lipids={files / 'lipids.csv'}", "data.id=id"]


@pytest.fixture(scope="module")
def run(files) -> Path:
    folder = files / "run"
    assert main(["fit", "model=mvae", *views_of(files), *SMALL, f"out={folder}", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def conditional(files) -> Path:
    folder = files / "conditional"
    command = ["fit", "model=mvae", *views_of(files), f"data.covariates={files / 'about.csv'}", *SMALL]
    assert main([*command, f"out={folder}", "--quiet"]) == 0
    return folder


def as_python(files: Path) -> dict[str, pd.DataFrame]:
    """The same data without this package's readers."""
    return {name: pd.read_csv(files / f"{name}.csv", index_col="id") for name in ("genes", "lipids")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return mv.load(folder / "model.safetensors").network_.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def said(capsys) -> dict:
    """What --json printed: one object on one line, and nothing else."""
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert err == ""
    return json.loads(out)


# ---- fit ------------------------------------------------------------------------------------------------------------


def test_fit_is_the_library_on_the_same_data(files, run):
    model = mv.MVAE(
        z_dim=2, encoder={"hidden": [8]}, decoder={"hidden": [8]}, max_epochs=3, random_state=0, verbose=False
    ).fit(as_python(files))
    assert same(weights(run), model.network_.state_dict())
    history = pd.read_csv(run / "history.csv", index_col="epoch")
    np.testing.assert_allclose(history["loss"], model.history_["loss"])
    samples = pd.read_csv(run / "samples.csv", index_col="id")["set"]
    assert list(samples.index) == [f"s{i:02}" for i in range(N)]
    np.testing.assert_array_equal(np.flatnonzero(samples == "validation"), model.held_out_)
    assert set(samples) == {"training", "validation"}


def test_run_folder_holds_what_the_help_says(run):
    files = {path.name for path in run.iterdir() if path.name != "report.html"}
    assert files == {
        "config.yaml", "model.safetensors", "history.csv", "samples.csv", "result.json", "train.log", "versions.json",
    }  # fmt: skip
    assert all(name in COMMANDS["fit"].help for name in files)
    versions = json.loads((run / "versions.json").read_text())
    assert versions["manyview"] == mv.__version__
    assert versions["torch"] == torch.__version__
    assert versions["command"][:3] == ["manyview", "fit", "model=mvae"]
    assert "likelihood 'normal'" in (run / "train.log").read_text()


def test_its_configuration_repeats_a_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths in it are absolute
    assert main(["fit", "--config", str(run / "config.yaml"), "out=again", "-q"]) == 0
    assert same(weights(run), weights(tmp_path / "again"))
    assert (run / "config.yaml").read_text() == (tmp_path / "again" / "config.yaml").read_text()
    assert main(["fit", "--config", str(run / "config.yaml"), "out=other", "seed=1", "-q"]) == 0
    assert not same(weights(run), weights(tmp_path / "other"))


def test_another_model_goes_on_without_what_the_files_model_alone_has(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (run / "config.yaml").read_text().replace("manyview.MVAE", "manyview.MoPoEVAE")
    text = text.replace("  z_dim: 2\n", "  z_dim: 2\n  subsets: all\n")
    (tmp_path / "mopoe.yaml").write_text(text)
    assert main(["fit", "--config", "mopoe.yaml", "model=mvae", "out=again"]) == 0
    assert "the file is for MoPoEVAE; MVAE has no subsets: left out" in capsys.readouterr().err
    assert mv.load(tmp_path / "again" / "model.safetensors").z_dim == 2
    assert main(["fit", "--config", "mopoe.yaml", "model=mvae", "model.subsets=drawn", "out=other"]) != 0


def test_its_configuration_is_one_of_the_library(run):
    model = mv.MVAE.from_config(run / "config.yaml")
    assert (model.z_dim, model.max_epochs, model.random_state) == (2, 3, 0)


def test_a_file_holds_what_differs_and_the_command_line_is_before_it(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    text = "model: {z_dim: 3}\ntrainer: {max_epochs: 2}\nseed: 4\ndata: {views: {genes: genes.csv}, id: id}\n"
    (tmp_path / "small.yaml").write_text(text)
    command = ["fit", "--config", str(tmp_path / "small.yaml"), "model=mopoe", "trainer.max_epochs=1", "-q"]
    assert main([*command, "data.views.lipids=lipids.csv", f"out={tmp_path / 'run'}"]) == 0
    model = mv.load(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, mv.MoPoEVAE)
    assert (model.z_dim, model.max_epochs, model.random_state) == (3, 1, 4)
    assert model.view_names_ == ["genes", "lipids"]


def test_a_file_may_start_from_a_model(files, tmp_path):
    (tmp_path / "own.yaml").write_text("defaults: [model: mvtcae, _self_]\nmodel: {z_dim: 3}\n")
    command = ["fit", "--config", str(tmp_path / "own.yaml"), *views_of(files), "trainer.max_epochs=1", "-q"]
    assert main([*command, f"out={tmp_path / 'a'}"]) == 0
    assert isinstance(mv.load(tmp_path / "a" / "model.safetensors"), mv.MVTCAE)
    assert main([*command, f"out={tmp_path / 'b'}", "model=mvae"]) == 0
    assert isinstance(mv.load(tmp_path / "b" / "model.safetensors"), mv.MVAE)


def test_files_with_groups_of_ones_own(files, tmp_path, capsys):
    (tmp_path / "size").mkdir()
    (tmp_path / "size" / "small.yaml").write_text("# @package model\nz_dim: 2\n")
    (tmp_path / "size" / "large.yaml").write_text("# @package model\nz_dim: 4\n")
    (tmp_path / "own.yaml").write_text("defaults: [size: small, _self_]\nmodel: {_target_: manyview.MVAE}\n")
    command = ["fit", "--config", str(tmp_path / "own.yaml"), *views_of(files), "trainer.max_epochs=1", "-q"]
    assert main([*command, f"out={tmp_path / 'run'}", "size=large"]) == 0
    assert mv.load(tmp_path / "run" / "model.safetensors").z_dim == 4
    (tmp_path / "out").mkdir()
    assert main([*command, f"out={tmp_path / 'other'}"]) == 1
    assert "move the file to a folder of its own" in " ".join(capsys.readouterr().err.split())


def test_files_of_the_multi_view_ae_library(files, tmp_path):
    text = """
    model: {z_dim: 3, s_dim: 1, learning_rate: 0.002, seed: 5}
    encoder: {default: {hidden_layer_dim: [7]}, enc0: {hidden_layer_dim: [9]}}
    decoder: {default: {hidden_layer_dim: [8], dec_dist: {_target_: multiviewae.base.distributions.Normal}}}
    prior: {_target_: multiviewae.base.distributions.Normal}
    trainer: {max_epochs: 50}
    """
    (tmp_path / "theirs.yaml").write_text(text)
    command = ["fit", "--config", str(tmp_path / "theirs.yaml"), "model=dmvae", *views_of(files)]
    assert main([*command, "trainer.max_epochs=1", f"out={tmp_path / 'run'}", "-q"]) == 0
    model = mv.load(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, mv.DMVAE)
    assert (model.max_epochs, model.learning_rate, model.random_state) == (1, 0.002, 5)
    first = [next(x for x in encoder.parameters() if x.ndim == 2) for encoder in model.network_.encoders]
    assert [len(x) for x in first] == [9, 7]


def test_sections_of_ones_own_classes(files, tmp_path):
    command = ["fit", "model=manyview.models.AE", *views_of(files), *SMALL, "-q", f"out={tmp_path / 'run'}"]
    assert main([*command, "optimizer._target_=torch.optim.SGD", "optimizer.momentum=0.5"]) == 0
    model = mv.load(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, mv.AE)
    assert (model.optimizer, model.optimizer_args) == ("SGD", {"momentum": 0.5})


def test_one_file_with_all_views_and_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    image, table = rng.random((12, 1, 6, 6)), rng.normal(size=(12, 3))
    image[:3] = np.nan
    np.savez(tmp_path / "all.npz", image=image, table=table, name=[f"p{i}" for i in range(12)])
    command = ["fit", "model=mvae", f"data.views={tmp_path / 'all.npz'}", "data.id=name", "model.z_dim=2"]
    assert main([*command, "trainer.max_epochs=1", f"out={tmp_path / 'run'}", "-q"]) == 0
    assert main(["impute", str(tmp_path / "run"), f"out={tmp_path / 'full'}", "--json"]) == 0
    capsys.readouterr()
    full = np.load(tmp_path / "full" / "image.npz")
    assert list(full["name"]) == [f"p{i}" for i in range(12)]
    assert full["image"].shape == (12, 1, 6, 6)
    assert not np.isnan(full["image"]).any()
    np.testing.assert_allclose(full["image"][3:], image[3:])
    new = [
        f"data.views.{name}={tmp_path / 'full' / file}"
        for name, file in (("image", "image.npz"), ("table", "table.csv"))
    ]
    assert (
        main(["transform", str(tmp_path / "run"), *new, f"out={tmp_path / 'z.csv'}"]) == 0
    )  # what was written is read


def test_a_run_is_not_replaced_unless_asked_to(files, run, tmp_path, capsys):
    before = (run / "model.safetensors").read_bytes()
    command = ["fit", "model=mvae", *views_of(files), *SMALL, "seed=3"]
    assert main([*command, f"out={run}"]) == 1
    assert "overwrite=true" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == before
    assert main([*command, f"out={tmp_path / 'run'}"]) == 0
    first = weights(tmp_path / "run")
    assert main([*command, f"out={tmp_path / 'run'}", "overwrite=true", "seed=4"]) == 0
    assert not same(first, weights(tmp_path / "run"))


def test_a_folder_with_other_files_is_left_alone(files, capsys):
    before = sorted(path.name for path in files.iterdir())
    assert main(["fit", "model=mvae", *views_of(files), *SMALL, f"out={files}", "overwrite=true"]) == 1
    assert "holds other files" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in files.iterdir()) == before


# ---- using a run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_transform(files, run, tmp_path, suffix):
    path = tmp_path / f"latents.{suffix}"
    assert main(["transform", str(run), f"out={path}", "-q"]) == 0
    z = mv.load(run / "model.safetensors").transform(as_python(files))
    read = (
        pd.read_parquet(path) if suffix == "parquet" else pd.read_csv(path, sep=",\t"[suffix == "tsv"], index_col="id")
    )
    pd.testing.assert_frame_equal(read.astype("float32"), z.astype("float32"), check_names=False)


@pytest.mark.parametrize("given", ["given=genes", "given=[genes]"])
def test_transform_other_samples(files, run, tmp_path, given):
    path = tmp_path / "latents.csv"
    command = ["transform", str(run), f"out={path}", f"data.views.genes={files / 'more.csv'}", given, "--quiet"]
    assert main(command) == 0
    read = pd.read_csv(path, index_col="id")
    assert list(read.index) == ["new1", "new2", "new3", "new4"]
    whole = mv.load(run / "model.safetensors").transform(as_python(files), given="genes")
    np.testing.assert_allclose(read, whole.iloc[:4], rtol=1e-5)


def test_private_latents(files, tmp_path):
    command = ["fit", "model=dmvae", "model.h_dim=1", *views_of(files), *SMALL, "-q"]
    assert main([*command, f"out={tmp_path / 'run'}"]) == 0
    assert main(["transform", str(tmp_path / "run"), f"out={tmp_path / 'z.csv'}", "private=true", "-q"]) == 0
    read = pd.read_csv(tmp_path / "z.csv", index_col="id")
    assert list(read) == ["z0", "z1", "genes_h0", "lipids_h0"]
    private = mv.load(tmp_path / "run" / "model.safetensors").transform_private(as_python(files))
    np.testing.assert_allclose(read["lipids_h0"], private["lipids"].iloc[:, 0], rtol=1e-5)


def test_impute(files, run, tmp_path, capsys):
    assert main(["impute", str(run), f"out={tmp_path}", "--json"]) == 0
    assert said(capsys)["filled_in"] == {"genes": 0, "lipids": 6 * 4}
    data = as_python(files)
    filled = {name: pd.read_csv(tmp_path / f"{name}.csv", index_col="id") for name in data}
    pd.testing.assert_frame_equal(filled["genes"], data["genes"], check_dtype=False, rtol=1e-6)
    here = data["lipids"].index
    pd.testing.assert_frame_equal(filled["lipids"].loc[here], data["lipids"], check_dtype=False, rtol=1e-6)
    others = filled["lipids"].index.difference(here)
    predicted = mv.load(run / "model.safetensors").predict(data, target="lipids")["lipids"]
    np.testing.assert_allclose(filled["lipids"].loc[others], predicted.loc[others], rtol=1e-5)


def test_impute_writes_views_that_were_left_out(files, run, tmp_path):
    command = ["impute", str(run), f"data.views.genes={files / 'more.csv'}", f"out={tmp_path}", "format=parquet", "-q"]
    assert main(command) == 0
    lipids = pd.read_parquet(tmp_path / "lipids.parquet")
    assert list(lipids) == [f"l{i}" for i in range(4)]
    assert len(lipids) == 4


def test_predict(files, run, tmp_path):
    command = ["predict", str(run), "given=genes", "target=lipids", "-q"]
    assert main([*command, f"out={tmp_path / 'folder'}"]) == 0
    assert main([*command, f"out={tmp_path / 'file.csv'}"]) == 0
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["lipids.csv"]
    assert (tmp_path / "file.csv").read_text() == (tmp_path / "folder" / "lipids.csv").read_text()
    expected = mv.load(run / "model.safetensors").predict(as_python(files), given="genes", target="lipids")["lipids"]
    read = pd.read_csv(tmp_path / "file.csv", index_col="id")
    pd.testing.assert_frame_equal(read, expected, check_dtype=False, rtol=1e-5)


def test_score(files, run, tmp_path, capsys):
    path = tmp_path / "scores.csv"
    assert main(["score", str(run), f"out={path}", "n_samples=20", "given=genes", "--json"]) == 0
    result, read = said(capsys), pd.read_csv(path, index_col="id")["score"]
    expected = mv.load(run / "model.safetensors").score_samples(as_python(files), given="genes", n_samples=20)
    np.testing.assert_allclose(read, expected, rtol=1e-4, atol=1e-4)
    assert result["mean"] == pytest.approx(expected.mean(), rel=1e-4)


def test_sample(run, tmp_path):
    assert main(["sample", str(run), "n=7", "seed=3", f"out={tmp_path}", "-q"]) == 0
    expected = mv.load(run / "model.safetensors").sample(7, random_state=3)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "lipids.csv", index_col="id"), expected["lipids"], rtol=1e-5)


def test_covariates(files, conditional, tmp_path, capsys):
    model, about = mv.load(conditional / "model.safetensors"), pd.read_csv(files / "about.csv", index_col="id")
    assert main(["transform", str(conditional), f"out={tmp_path / 'z.csv'}", "-q"]) == 0
    z = model.transform(as_python(files), covariates=about)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "z.csv", index_col="id"), z, rtol=1e-4, atol=1e-6)
    about.assign(sex="f").to_csv(tmp_path / "f.csv")
    command = ["predict", str(conditional), f"target_covariates={tmp_path / 'f.csv'}", "target=genes", "-q"]
    assert main([*command, f"out={tmp_path / 'genes.csv'}"]) == 0
    expected = model.predict(
        as_python(files), target="genes", covariates=about, target_covariates=about.assign(sex="f")
    )
    np.testing.assert_allclose(pd.read_csv(tmp_path / "genes.csv", index_col="id"), expected["genes"], rtol=1e-4)
    more = [f"data.views.genes={files / 'genes.csv'}", f"out={tmp_path / 'more.csv'}"]
    assert main(["transform", str(conditional), *more]) == 1  # the former covariates are of other samples
    assert "fitted with covariates" in " ".join(capsys.readouterr().err.split())
    command = ["sample", str(conditional), f"data.covariates={files / 'about.csv'}", "data.id=id", "-q"]
    assert main([*command, f"out={tmp_path / 'new'}"]) == 0
    assert list(pd.read_csv(tmp_path / "new" / "genes.csv", index_col="id").index) == list(about.index)


def test_files_that_are_read_are_not_written_over(files, run, capsys):
    before = (files / "genes.csv").read_bytes()
    for command in (["impute", str(run), f"out={files}"], ["score", str(run), f"out={files / 'genes.csv'}"]):
        assert main(command) == 1
        assert "is a file of the data" in " ".join(capsys.readouterr().err.split())
    assert (files / "genes.csv").read_bytes() == before


def test_report(files, run, tmp_path, capsys):
    assert main(["report", str(run), f"colour={files / 'about.csv'}", "title=Mice", "--json"]) == 0
    assert said(capsys)["out"] == str(run / "report.html")
    assert "Mice" in (run / "report.html").read_text()
    command = ["report", str(run), f"data.views.genes={files / 'more.csv'}", f"out={tmp_path / 'other.html'}", "-q"]
    assert main(command) == 0
    assert (tmp_path / "other.html").stat().st_size > 0


# ---- data that are read as they are needed --------------------------------------------------------------------------


OWN = """
import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader


class Batches(pl.LightningDataModule):
    def __init__(self, path):
        super().__init__()
        x = np.load(path)
        self.batches = [{"a": x[i : i + 6], "b": x[i : i + 6, :2]} for i in range(0, 30, 6)]

    def train_dataloader(self):
        return DataLoader(self.batches[:4], batch_size=None)

    def val_dataloader(self):
        return DataLoader(self.batches[4:], batch_size=None)


class Samples(Batches):
    def predict_dataloader(self):
        return DataLoader(self.batches, batch_size=None)
"""


@pytest.fixture(scope="module")
def arrays(files) -> Path:
    """The views as arrays without labels; and as a file for each sample, of which one is not there."""
    folder = files / "arrays"
    folder.mkdir()
    for name, frame in as_python(files).items():
        np.save(folder / f"{name}.npy", frame.reindex([f"s{i:02}" for i in range(N)]).to_numpy())
        (folder / name).mkdir()
        for label, x in frame.iterrows():
            np.save(folder / name / f"{label}.npy", x.to_numpy())
    return folder


def module_of(arrays: Path) -> list[str]:
    views = [f"datamodule.data.{name}={arrays / name}.npy" for name in ("genes", "lipids")]
    return ["datamodule._target_=manyview.MultiviewDataModule", *views, "datamodule.train_size=0.8"]


@pytest.fixture(scope="module")
def streamed(arrays) -> Path:
    folder = arrays.parent / "streamed"
    assert main(["fit", "model=mvae", *module_of(arrays), *SMALL, f"out={folder}", "-q"]) == 0
    return folder


def test_fit_on_a_data_module_is_the_librarys(arrays, streamed):
    paths = {name: str(arrays / f"{name}.npy") for name in ("genes", "lipids")}
    datamodule = mv.MultiviewDataModule(paths, train_size=0.8, random_state=0)
    settings = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}}
    model = mv.MVAE(z_dim=2, max_epochs=3, random_state=0, verbose=False, **settings).fit(datamodule=datamodule)
    assert same(weights(streamed), model.network_.state_dict())
    use = pd.read_csv(streamed / "samples.csv")["set"]
    np.testing.assert_array_equal(np.flatnonzero(use == "validation"), datamodule.held_out)
    result = json.loads((streamed / "result.json").read_text())
    assert result["score"] == pytest.approx(model.score(datamodule.val_dataset), rel=1e-5)


def test_a_data_modules_run_is_repeated_from_any_folder(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(arrays.parent)
    assert main(["fit", "model=mvae", *module_of(Path("arrays")), *SMALL, f"out={tmp_path / 'run'}", "-q"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "run/config.yaml", "out=again", "-q"]) == 0
    assert same(weights(tmp_path / "run"), weights(tmp_path / "again"))
    assert (tmp_path / "run" / "config.yaml").read_text() == (tmp_path / "again" / "config.yaml").read_text()
    assert main(["fit", "--config", "run/config.yaml", "out=other", "seed=1", "-q"]) == 0
    divided = [pd.read_csv(tmp_path / name / "samples.csv")["set"].tolist() for name in ("run", "other")]
    assert divided[0] != divided[1]


def test_a_file_with_a_data_module_and_little_else_is_ours(arrays, tmp_path):
    section = {"_target_": "manyview.MultiviewDataModule", "data": {"genes": str(arrays / "genes.npy")}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"z_dim": 3}, "datamodule": section}))
    command = ["fit", "--config", str(tmp_path / "own.yaml"), "model=ae", "trainer.max_epochs=1", "-q"]
    assert main([*command, f"out={tmp_path / 'run'}"]) == 0
    assert mv.load(tmp_path / "run" / "model.safetensors").z_dim == 3


def test_commands_answer_for_a_data_modules_samples(arrays, streamed, tmp_path, capsys):
    model = mv.load(streamed / "model.safetensors")
    dataset = mv.MVDataset({name: arrays / f"{name}.npy" for name in ("genes", "lipids")})
    assert main(["transform", str(streamed), f"out={tmp_path / 'z.csv'}", "-q"]) == 0
    read = pd.read_csv(tmp_path / "z.csv", index_col="id")
    assert list(read.index) == list(range(N))
    np.testing.assert_allclose(read, model.transform(dataset), rtol=1e-5, atol=1e-7)
    assert main(["score", str(streamed), f"out={tmp_path / 's.csv'}", "n_samples=5", "-q"]) == 0
    expected = model.score_samples(dataset, n_samples=5)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "s.csv")["score"], expected, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert main(["impute", str(streamed), f"out={tmp_path}", "--json"]) == 0
    assert said(capsys)["filled_in"] == {"genes": 0, "lipids": 6 * 4}
    np.testing.assert_allclose(pd.read_csv(tmp_path / "lipids.csv", index_col="id"), model.impute(dataset)["lipids"])
    np.save(tmp_path / "few.npy", np.load(arrays / "genes.npy")[5:8])
    command = ["transform", str(streamed), f"datamodule.data.genes={tmp_path / 'few.npy'}", "given=genes", "-q"]
    assert main([*command, f"out={tmp_path / 'few.csv'}"]) == 0
    expected = model.transform(dataset[5:8], given="genes")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "few.csv", index_col="id"), expected, rtol=1e-5)
    assert main(["report", str(streamed), "-q"]) == 0
    assert (streamed / "report.html").is_file()


def test_files_that_a_data_module_reads_are_not_written_over(arrays, streamed, capsys):
    assert main(["transform", str(streamed), f"out={arrays / 'genes.npy'}"]) == 1
    assert "is a file of the data" in " ".join(capsys.readouterr().err.split())


def test_a_file_for_each_sample(files, arrays, tmp_path):
    command = ["fit", "model=mvae", "datamodule._target_=manyview.IndexDataModule", f"datamodule.data_dir={arrays}"]
    command += ["datamodule.views=[genes,lipids]", f"datamodule.ids=[{','.join(f's{i:02}' for i in range(N))}]"]
    assert main([*command, *SMALL, f"out={tmp_path / 'run'}", "-q"]) == 0
    assert main(["impute", str(tmp_path / "run"), f"out={tmp_path}", "-q"]) == 0
    expected = mv.load(tmp_path / "run" / "model.safetensors").impute(as_python(files))["lipids"]
    read = pd.read_csv(tmp_path / "lipids.csv", index_col="id")
    pd.testing.assert_frame_equal(read, expected.set_axis(read.columns, axis=1), check_dtype=False, rtol=1e-5)


@pytest.mark.parametrize("source", [["data.in_memory=false"], None])
def test_covariates_of_data_that_are_read_as_they_are_needed(source, files, arrays, tmp_path):
    views = [f"data.views.{name}={arrays / name}.npy" for name in ("genes", "lipids")]
    where = module_of(arrays) if source is None else [*source, *views]
    command = ["fit", "model=mvae", *where, *SMALL, f"data.covariates={files / 'about.csv'}", "data.id=id", "-q"]
    assert main([*command, f"out={tmp_path / 'run'}"]) == 0
    assert "on MVDataset(n=30" in (tmp_path / "run" / "train.log").read_text()
    model, rows = mv.load(tmp_path / "run" / "model.safetensors"), pd.read_csv(tmp_path / "run" / "samples.csv")["set"]
    arrays_ = {name: np.load(arrays / f"{name}.npy") for name in ("genes", "lipids")}
    about = pd.read_csv(files / "about.csv")[["sex", "age"]]
    held_out = np.flatnonzero(rows == "validation")
    assert len(held_out) == (6 if source is None else 3)
    expected = model.score(mv.Views(arrays_)[held_out], covariates=about.iloc[held_out].reset_index(drop=True))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["score"] == pytest.approx(expected, rel=1e-4)
    assert main(["transform", str(tmp_path / "run"), f"out={tmp_path / 'z.csv'}", "-q"]) == 0
    z = model.transform(arrays_, covariates=about)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "z.csv", index_col="id"), z, rtol=1e-4, atol=1e-6)
    assert main(["report", str(tmp_path / "run"), f"colour={files / 'about.csv'}", "-q"]) == 0


def test_data_modules_of_ones_own(arrays, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_data.py").write_text(OWN)
    monkeypatch.chdir(arrays)  # paths are known by the names of arguments
    x = np.load("genes.npy")
    samples = {"a": x, "b": x[:, :2]}
    for name in ("Samples", "Batches"):
        command = ["fit", "model=mvae", f"datamodule._target_=own_data.{name}", "datamodule.path=genes.npy", *SMALL]
        assert main([*command, f"out={tmp_path / name}", "-q"]) == 0
        assert not (tmp_path / name / "samples.csv").exists()
        model, result = (
            mv.load(tmp_path / name / "model.safetensors"),
            json.loads((tmp_path / name / "result.json").read_text()),
        )
        assert result["score"] == pytest.approx(model.score({key: y[24:] for key, y in samples.items()}), rel=1e-4)
        assert (result["n_samples"], result["n_held_out"]) == (None, 6)
    monkeypatch.chdir(tmp_path)
    assert main(["transform", "Samples", "out=z.csv", "-q"]) == 0
    z = mv.load(tmp_path / "Samples" / "model.safetensors").transform(samples)
    np.testing.assert_allclose(pd.read_csv("z.csv", index_col="id"), z, rtol=1e-4, atol=1e-6)
    assert main(["transform", "Batches", "out=z.csv"]) == 1
    assert "Batches has no predict_dataloader" in " ".join(capsys.readouterr().err.split())
    assert main(["transform", "Batches", f"data.views.a={arrays / 'genes.npy'}", "out=z.csv"]) == 0


# ---- sweeps ---------------------------------------------------------------------------------------------------------


def test_sweep(files, run, tmp_path, capsys):
    command = ["fit", "-m", "model=mvae,ae", "seed=0,1", *views_of(files), *SMALL, f"out={tmp_path / 'sweep'}"]
    assert main([*command, "--json"]) == 0
    result, table = said(capsys), pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert list(table["run"]) == [0, 1, 2, 3]
    assert list(zip(table["model"], table["seed"], strict=True)) == [("mvae", 0), ("mvae", 1), ("ae", 0), ("ae", 1)]
    assert same(weights(tmp_path / "sweep" / "0"), weights(run))
    single = json.loads((run / "result.json").read_text())
    assert table.loc[0, "val_loss"] == pytest.approx(single["val_loss"])
    assert [one["overrides"]["seed"] for one in result["runs"]] == ["0", "1", "0", "1"]
    assert main(command) == 1
    assert "holds a run already (results.csv)" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_fails_does_not_end_a_sweep(files, tmp_path, capsys):
    command = ["fit", "-m", "model=mvae", "model.z_dim=0,2", *views_of(files), *SMALL[1:], f"out={tmp_path / 'sweep'}"]
    assert main(command) == 1
    table = pd.read_csv(tmp_path / "sweep" / "results.csv", index_col="run")
    assert "greater than 0" in table.loc[0, "error"]
    assert np.isfinite(table.loc[1, "val_loss"])
    assert "run 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("model", mv.models.MODELS)
def test_every_model_by_its_name(model, files, tmp_path, capsys):
    command = ["fit", f"model={model.__name__.lower()}", *views_of(files), *SMALL, f"out={tmp_path / 'run'}", "--json"]
    assert main(command) == 0
    result = said(capsys)
    assert result["model"] == model.__name__
    fitted = mv.load(tmp_path / "run" / "model.safetensors")
    held_out = mv.Views(as_python(files))[fitted.held_out_]
    assert result["n_held_out"] == len(held_out)
    assert result["score"] == (pytest.approx(fitted.score(held_out), rel=1e-4) if len(held_out) else None)


def test_sweep_on_several_cores(files, run, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = ["fit", "-m", "model=mvae", "seed=0,1", *views_of(files), *SMALL, f"out={tmp_path / 'sweep'}", "-q"]
    assert main([*command, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.batch_size=2"]) == 0
    assert len(pd.read_csv(tmp_path / "sweep" / "results.csv")) == 2
    assert same(weights(tmp_path / "sweep" / "0"), weights(run))


def test_search(files, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = ["fit", "-m", "model=mvae", *views_of(files), *SMALL, f"out={tmp_path / 'sweep'}", "-q"]
    command += ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    assert main([*command, "model.learning_rate=tag(log,interval(1e-4,1e-2))", "model.beta=interval(0.5,1)"]) == 0
    table = pd.read_csv(tmp_path / "sweep" / "results.csv")
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(table["val_loss"].min())
    assert table["model.learning_rate"].between(1e-4, 1e-2).all()


def test_a_sweep_leaves_other_folders_alone(run, files, capsys):
    assert main(["fit", "-m", "model=mvae,ae", *views_of(files), f"out={run.parent}", "overwrite=true"]) == 1
    assert "holds other files" in " ".join(capsys.readouterr().err.split())
    assert (run / "result.json").is_file()


def test_a_launcher_that_is_not_installed(files, capsys):
    assert main(["fit", "-m", "model=mvae", "seed=0,1", *views_of(files), "hydra/launcher=nonesuch", "out=unused"]) == 1
    assert "hydra-nonesuch-launcher" in capsys.readouterr().err
    assert not Path("unused").exists()


# ---- going on -------------------------------------------------------------------------------------------------------


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(files, run, tmp_path):
    command = ["fit", "model=mvae", *views_of(files), *SMALL[:-1], "checkpoint=true", f"out={tmp_path / 'run'}", "-q"]
    assert main([*command, "trainer.max_epochs=2"]) == 0
    assert main(["fit", f"out={tmp_path / 'run'}", "resume=true", "trainer.max_epochs=3", "-q"]) == 0
    assert same(weights(run), weights(tmp_path / "run"))
    pd.testing.assert_frame_equal(
        pd.read_csv(run / "history.csv"), pd.read_csv(tmp_path / "run" / "history.csv"), check_exact=True
    )


def test_checkpoints_of_another_run_are_not_gone_on_with(files, tmp_path, capsys):
    command = ["fit", "model=mvae", *views_of(files), *SMALL, "checkpoint=true", f"out={tmp_path / 'run'}", "-q"]
    assert main(command) == 0
    before = weights(tmp_path / "run")
    assert main([*command, "resume=true", "model.z_dim=3"]) == 1
    assert "z_dim" in capsys.readouterr().err
    assert same(before, weights(tmp_path / "run"))


def test_a_run_without_checkpoints_is_not_lost_to_resume(run, capsys):
    before = (run / "model.safetensors").read_bytes()
    assert main(["fit", f"out={run}", "resume=true", "trainer.max_epochs=1"]) == 1
    assert "nothing to resume" in " ".join(capsys.readouterr().err.split())
    assert (run / "model.safetensors").read_bytes() == before


# ---- how it ends ----------------------------------------------------------------------------------------------------


MISTAKES = {
    "": (2, "arguments are required: COMMAND"),
    "frobnicate": (2, "invalid choice: 'frobnicate'"),
    "transform": (2, "arguments are required: RUN"),
    "fit --cofnig=a.yaml": (2, "fit has no option '--cofnig=a.yaml'"),
    "models model=mvae": (2, "models has no option 'model=mvae'"),
    "fit modle=mvae": (2, "unknown key 'modle'; did you mean 'model'?"),
    "fit model=mvae data.view.a=b.csv": (2, "unknown key 'data.view'; did you mean 'views'?"),
    "fit data.views.genes={genes}": (2, "which model? Say it, as in model=mvae"),
    "fit model=mvae,ae data.views.genes={genes}": (2, "add -m to fit a model with each"),
    "fit model=mvae genes": (2, "settings are written key=value"),
    "fit model=mvae data.views.genes=a[b.csv": (2, "put a value with special characters in quotes of its own"),
    "transform {run}": (2, "transform needs out=, such as out=latents.csv"),
    "transform {run} out=z.csv give=genes": (2, "unknown key 'give'; did you mean 'given'?"),
    "transform {run} out=z.csv hydra.verbose=true": (2, "unknown key 'hydra'"),
    "sample {run} out=new": (2, "sample needs n=, such as n=100"),
    "sample {run} out=new n=2 data.views.genes={genes}": (2, "takes data.covariates= at most, and no views"),
    "fit model=mvea": (1, "unknown model 'mvea'; did you mean 'mvae'?"),
    "config mvea": (1, "unknown model 'mvea'; did you mean 'mvae'?"),
    "fit model=mvae": (1, "no data: name a file for each view"),
    "fit model=mvae data.views.genes={folder}/gens.csv": (1, "did you mean 'genes.csv'?"),
    "fit model=mvae data.views.genes={genes} data.id=sample": (1, "has no column 'sample'"),
    "fit model=mvae data.views.genes={genes} data.id=id model.zdim=3": (1, "did you mean 'z_dim'?"),
    "fit model=mvae data.views.genes={genes} data.id=id trainer.max_epoch=3": (1, "did you mean 'max_epochs'?"),
    "fit model=mvae data.views.genes={genes} data.id=id model.z_dim=two": (1, "z_dim"),
    "fit --config {folder}/none.yaml": (1, "--config: no file"),
    "fit --config {genes}": (1, "must end in .yaml"),
    "fit --config {folder}/list.yaml": (1, "must hold a mapping at its top"),
    "fit --config {folder}/tabs.yaml": (1, "tabs.yaml', line 2"),
    "fit --config {folder}/broken.yaml data.views.genes={genes} data.id=id": (1, "broken.yaml', line 3"),
    "transform {folder}/rnu out=z.csv": (1, "no run folder"),
    "transform {folder} out=z.csv": (1, "is no run folder"),
    "transform {run} out=z": (1, "unknown format"),
    "transform {run} out=z.csv given=gens": (1, "did you mean 'genes'?"),
    "predict {run} out=both.csv": (1, "is one file, for 2 views"),
    "impute {run} out=imputed format=xlsx": (1, "format='xlsx'"),
    "fit model=mvae datamodule.data.genes={genes}": (2, "which data module?"),
    "fit model=mvae datamodule._target_=collections.Counter": (1, "is no LightningDataModule"),
    "fit model=mvae datamodule._target_=manyview.DataModul": (1, "datamodule: module 'manyview' has no 'DataModul'"),
    "fit model=mvae datamodule._target_=manyview.MultiviewDataModule data.views={genes}": (1, "data are given twice"),
    "fit model=mvae data.views.genes={genes} data.in_memory=flase": (1, "data.in_memory='flase': give true or false"),
    "fit model=mvae data.views.genes={genes} data.in_memory=false": (1, "files of type '.csv' cannot be read in parts"),
    "fit model=mvae data.views={genes} data.in_memory=false": (1, "needs a file for each view"),
    "fit model=mvae data.views.genes={genes} data.id=id trainer.strategy=ddp": (1, "choose 'ddp_fork'"),
    "fit -m model=mvae seed=0,1 objective=loss": (1, "objective='loss'; did you mean 'val_loss'?"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line, files, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (files / "broken.yaml").write_text("model:\n  _target_: manyview.MVAE\n  zdim: 3\n")
    (files / "tabs.yaml").write_text("model:\n\tz_dim: 3\n")
    (files / "list.yaml").write_text("[model]\n")
    code, message = MISTAKES[line]
    words = shlex.split(line.format(folder=files, genes=files / "genes.csv", run=run))
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("line", ["fit modle=mvae", "transform {run} out=z.csv given=gens", "fit --cofnig=a.yaml"])
def test_mistakes_for_machines(line, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, message = MISTAKES[line]
    assert main([*shlex.split(line.format(run=run)), "--json"]) == code
    result = said(capsys)
    assert result["exit_code"] == code
    assert message in result["error"]["message"]


def test_whoever_has_read_enough_may_close_the_pipe():
    """As in ``manyview config mvae | head -1``."""
    command = f"{shlex.quote(sys.executable)} -m manyview config mvae | head -1"
    found = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("# Multimodal variational autoencoder")


def test_a_failed_start_can_be_mended_in_the_same_folder(files, tmp_path):
    command = ["fit", "model=mvae", *views_of(files), *SMALL, f"out={tmp_path / 'run'}", "-q"]
    assert main([*command, "model.likelihood=bernoulli"]) == 1
    assert "ERROR" in (tmp_path / "run" / "train.log").read_text()
    assert main(command) == 0
    assert "ERROR" not in (tmp_path / "run" / "train.log").read_text()


def test_training_that_breaks_down_keeps_the_last_good_weights(files, tmp_path, capsys):
    command = ["fit", "model=mvae", *views_of(files), *SMALL, "model.learning_rate=1e8", f"out={tmp_path / 'run'}"]
    assert main([*command, "--json"]) == 3
    assert "non-finite" in said(capsys)["error"]
    assert all(torch.isfinite(x).all() for x in weights(tmp_path / "run").values())
    assert "non-finite" in (tmp_path / "run" / "train.log").read_text()


def test_ctrl_c_keeps_the_model(files, tmp_path, capsys):
    folder = tmp_path / "run"

    def interrupt() -> None:
        log = folder / "train.log"
        while not (log.exists() and "likelihood 'normal'" in log.read_text()):
            time.sleep(0.01)
        time.sleep(0.7)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    long = ["trainer.max_epochs=1000000", "model.patience=null"]
    assert main(["fit", "model=mvae", *views_of(files), *SMALL[:-1], *long, f"out={folder}", "--json"]) == 130
    result = said(capsys)
    assert result["interrupted"]
    assert result["epochs"] == len(mv.load(folder / "model.safetensors").history_) > 0


def test_ctrl_c_before_there_is_a_model(files, tmp_path, monkeypatch, capsys):
    def read(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("manyview.data.files.read_views", read)
    assert main(["fit", "model=mvae", *views_of(files), f"out={tmp_path / 'run'}"]) == 130
    assert capsys.readouterr().err == "manyview: error: interrupted\n"


def test_ctrl_c_ends_a_sweep_but_not_its_table(files, tmp_path, monkeypatch, capsys):
    fit_one = fitting._fit

    def fit(settings, *others):
        if settings["seed"] == 1:
            raise KeyboardInterrupt
        return fit_one(settings, *others)

    monkeypatch.setattr(fitting, "_fit", fit)
    command = ["fit", "-m", "model=mvae", "seed=0,1,2", *views_of(files), *SMALL, f"out={tmp_path / 'sweep'}", "--json"]
    assert main(command) == 130
    assert [one["overrides"]["seed"] for one in said(capsys)["runs"]] == ["0"]
    assert len(pd.read_csv(tmp_path / "sweep" / "results.csv")) == 1


def test_a_bug_is_not_taken_for_a_mistake(run, tmp_path, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(mv.MVAE, "transform", fail)
    assert main(["transform", str(run), f"out={tmp_path / 'z.csv'}"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_warnings_are_said_once_and_kept(files, run, tmp_path, capsys):
    pd.read_csv(files / "more.csv").assign(g0=None, g1=None, g2=None, g3=None, g4=None).iloc[:2].pipe(
        lambda frame: pd.concat([frame, pd.read_csv(files / "more.csv").iloc[2:]])
    ).to_csv(tmp_path / "gaps.csv", index=False)
    command = ["transform", str(run), f"data.views.genes={tmp_path / 'gaps.csv'}", f"out={tmp_path / 'z.csv'}"]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert err.count("2 of 4 samples have none of the given views") == 1
    assert ".py" not in err
    assert main([*command, "--json"]) == 0
    assert "2 of 4 samples" in said(capsys)["warnings"][0]
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_nothing_global_is_changed(files, tmp_path):
    import logging
    import warnings

    logger = logging.getLogger("manyview")
    before = (logger.level, list(logger.handlers), logger.propagate, warnings.showwarning, list(warnings.filters))
    roots = (logging.getLogger().level, list(logging.getLogger().handlers))
    state = np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002
    command = ["fit", "-m", "model=mvae,ae", *views_of(files), *SMALL, f"out={tmp_path / 'sweep'}", "-q"]
    assert main(command) == 0
    after = (logger.level, list(logger.handlers), logger.propagate, warnings.showwarning, list(warnings.filters))
    assert before == after
    assert roots == (logging.getLogger().level, list(logging.getLogger().handlers))
    assert state == (np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())  # noqa: NPY002
    assert not GlobalHydra.instance().is_initialized()


# ---- help -----------------------------------------------------------------------------------------------------------


def examples(command: str) -> list[list[str]]:
    lines = [line.strip() for line in COMMANDS[command].help.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("manyview ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_examples_that_work(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert examples(command)
    for words in examples(command):
        assert " ".join(words[:2]) in shown
        words = words[: words.index(">")] if ">" in words else words
        args, rest = _parser().parse_known_args(words[1:])
        assert args.name == command
        assert not [word for word in rest if word.startswith("-")]
        if command not in ("config", "models"):
            known = FIT if command == "fit" else use(**dict.fromkeys(("out", "given", "target", "n", "colour")))
            parse([*args.overrides, *rest], known)


def test_help_says_the_exit_codes_and_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {code} " in shown and meaning in shown for code, meaning in EXIT_CODES.items())
    assert all(command.summary in shown for command in COMMANDS.values())


def test_config_prints_what_fit_reads(files, tmp_path, capsys):
    assert main(["config", "mvtcae"]) == 0
    (tmp_path / "mvtcae.yaml").write_text(capsys.readouterr().out)
    command = ["fit", "--config", str(tmp_path / "mvtcae.yaml"), *views_of(files), "trainer.max_epochs=1", "-q"]
    assert main([*command, f"out={tmp_path / 'run'}"]) == 0
    assert isinstance(mv.load(tmp_path / "run" / "model.safetensors"), mv.MVTCAE)
    capsys.readouterr()
    assert main(["config", str(tmp_path / "run")]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] == 1


def test_as_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["manyview", "models", "--json"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("manyview", run_name="__main__")
    assert stop.value.code == 0
    assert {row["class"] for row in said(capsys)["models"]} == {cls.__name__ for cls in mv.models.MODELS}
