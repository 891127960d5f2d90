"""Files: what comes back is what was saved, what is no such file is refused, and nothing in one is run."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import manyview as mv
from manyview import io
from manyview.datasets import make_multiview
from manyview.likelihoods import Laplace, Likelihood, MultivariateNormal, Normal
from manyview.models import MODELS

TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 2,
    "batch_size": 32,
    "random_state": 0,
    "verbose": False,
}


class NoArguments(nn.Module):
    """An encoder that a file can make again."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        return self.layer(x)


class FromShapes(nn.Module):
    """An encoder made from the two shapes."""

    def __init__(self, in_shape, out_dim, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(*in_shape, width), nn.Tanh(), nn.Linear(width, out_dim))

    def forward(self, x):
        return self.layers(x)


def from_shapes(in_shape, out_dim):
    return FromShapes(in_shape, out_dim)


class Cauchy(Normal):
    """A likelihood of one's own, as far as a file is concerned."""


class MyModel(mv.MVAE):
    """A model of one's own: all that it states is inherited, but a hyperparameter."""

    colour: str = "red"


@pytest.fixture(scope="module")
def data():
    return make_multiview(50, (5, 4), missing=0.1, random_state=0)


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """A fitted model, and the path of its file."""
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    model = mv.MVAE(**TINY).fit(data)
    model.save(path)
    return model, path


def new(**parameters):
    return mv.MVAE(**{**TINY, **parameters})


def assert_same(one, other, views):
    a, b = one.network_.state_dict(), other.network_.state_dict()
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)
    assert type(one) is type(other)
    assert (one.best_epoch_, one.interrupted_) == (other.best_epoch_, other.interrupted_)
    assert one.held_out_.tolist() == other.held_out_.tolist()
    pd.testing.assert_frame_equal(one.history_, other.history_)
    np.testing.assert_array_equal(np.asarray(one.transform(views)), np.asarray(other.transform(views)))
    predictions = one.predict(views), other.predict(views)
    for name, x in predictions[0].items():
        np.testing.assert_array_equal(np.asarray(x), np.asarray(predictions[1][name]))
    np.testing.assert_array_equal(one.score_samples(views, n_samples=3), other.score_samples(views, n_samples=3))
    assert not other.network_.training


def header_of(path):
    blob = path.read_bytes()
    size = struct.unpack("<Q", blob[:8])[0]
    return json.loads(blob[8 : 8 + size]), blob[8 + size :]


def rewrite(path, to, change):
    """The same file with another header: a change to what manyview keeps there."""
    header, tensors = header_of(path)
    entry = json.loads(header["__metadata__"]["manyview"])
    change(entry)
    header["__metadata__"]["manyview"] = json.dumps(entry)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    to.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
    return to


# ---- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_every_model_comes_back_bit_for_bit(cls, data, tmp_path):
    model = cls(**TINY).fit(data)
    model.save(tmp_path / "m.safetensors")
    for other in (mv.load(tmp_path / "m.safetensors"), cls.load(str(tmp_path / "m.safetensors"))):
        assert_same(model, other, data)
        assert other.get_params() == model.get_params()
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_sparse_model_comes_back(data, tmp_path):
    model = mv.MCVAE(**TINY, sparse=True, threshold=0.4).fit(data)
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.dropout_rate_, model.dropout_rate_)
    np.testing.assert_array_equal(other.transform(data), model.transform(data))


@pytest.mark.parametrize(
    "likelihood",
    [
        "laplace",
        Laplace(scale=0.5),
        {"name": "normal", "scale": 0.7, "learn_scale": False},
        MultivariateNormal(rank=2),
        {"_target_": "manyview.likelihoods.MultivariateNormal", "rank": 1},
        {"view_0": Normal(min_scale=0.2), "view_1": "mse"},
        Cauchy(scale=2.0),
    ],
    ids=str,
)
def test_every_likelihood_comes_back(likelihood, data, tmp_path):
    model = new(likelihood=likelihood).fit(data)
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    assert_same(model, other, data)
    for m in range(2):
        assert type(other.network_.likelihood(m)) is type(model.network_.likelihood(m))
        assert other.network_.likelihood(m).settings() == model.network_.likelihood(m).settings()


def test_discrete_views_and_images_come_back(tmp_path):
    rng = np.random.RandomState(0)
    views = {
        "image": rng.uniform(size=(30, 2, 5, 6)),
        "label": np.eye(3)[rng.randint(3, size=30)],
        "binary": rng.randint(2, size=(30, 4)),
    }
    model = new(encoder="auto", decoder="auto", likelihood={"image": "bernoulli"}).fit(views)
    model.save(tmp_path / "m.safetensors")
    assert_same(model, mv.load(tmp_path / "m.safetensors"), views)


def test_names_and_units_come_back(tmp_path):
    rng = np.random.RandomState(0)
    left = pd.DataFrame(50 + 9 * rng.standard_normal((40, 2)), columns=["Größe", "weight [kg]"])
    right = pd.DataFrame(rng.standard_normal((40, 3)), columns=["x", "y", "z"])
    model = new().fit({"körper": left, "right": right})
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    assert other.view_names_ == ["körper", "right"]
    assert_same(model, other, {"right": right, "körper": left})
    assert other.predict({"right": right})["körper"].columns.tolist() == ["Größe", "weight [kg]"]
    with pytest.raises(ValueError, match="features differ from those expected"):
        other.transform({"right": right.rename(columns={"x": "X"})})
    for one, two in zip(model.views_, other.views_, strict=True):
        np.testing.assert_array_equal(one.loc, two.loc)
        np.testing.assert_array_equal(one.scale, two.scale)
        assert one.loc.dtype == two.loc.dtype == np.float64


def test_hyperparameters_come_back(data, tmp_path):
    given = {
        "encoder": {"view_0": {"hidden": [4, 3], "activation": "silu"}, "view_1": "mlp"},
        "scale": {"view_0": None, "view_1": "standard"},
        "learning_rate": 0.01,
        "optimizer": "AdamW",
        "optimizer_args": {"weight_decay": 0.1},
        "scheduler": "StepLR",
        "scheduler_args": {"step_size": 1},
        "gradient_clip": 1.0,
        "patience": None,
        "input_dim": [5, 4],
        "beta": 0.5,
        "beta_warmup": 2,
        "max_epochs": "auto",
    }
    model = new(**given).fit(data, max_epochs=1)
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    assert other.get_params() == model.get_params()
    assert_same(model, other, data)
    other.fit(data, max_epochs=1)  # and it can be trained anew
    assert_same(model, other, data)


def test_numpy_hyperparameters_become_plain_ones(data, tmp_path):
    new(learning_rate=np.float64(0.01), random_state=np.int64(3), patience=np.int64(9)).fit(data).save(
        tmp_path / "m.safetensors"
    )
    other = mv.load(tmp_path / "m.safetensors")
    assert (other.learning_rate, other.random_state, other.patience) == (0.01, 3, 9)


def test_saving_and_loading_leave_everything_else_alone(saved, data):
    model, path = saved
    z, state = model.transform(data), torch.random.get_rng_state()
    loaded = mv.load(path)
    model.save(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(model.transform(data), z)
    np.testing.assert_array_equal(loaded.transform(data), z)


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    model, path = saved
    model.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    mv.load(path).save(tmp_path / "loaded.safetensors")
    assert (tmp_path / "loaded.safetensors").read_bytes() == path.read_bytes()


def test_another_process_reads_the_file(saved, data, tmp_path):
    model, path = saved
    np.savez(tmp_path / "data.npz", **{name: data.array(name) for name in data})
    code = (
        "import sys, numpy as np, manyview as mv\n"
        "z = mv.MVAE.load(sys.argv[1]).transform(dict(np.load(sys.argv[2])))\n"
        "assert 'pytorch_lightning' not in sys.modules\n"
        "np.save(sys.argv[3], z)"
    )
    arguments = [path, tmp_path / "data.npz", tmp_path / "z.npy"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), model.transform(data), rtol=1e-6, atol=1e-7)


# ---- what is in the file --------------------------------------------------------------------------------------------


def test_the_file_is_safetensors_and_json_and_holds_no_pickle(saved, monkeypatch):
    _, path = saved
    blob = path.read_bytes()
    assert b"pickle" not in blob
    assert not blob.startswith((b"PK", b"\x80"))
    header, _ = header_of(path)
    entry = json.loads(header["__metadata__"]["manyview"])
    assert entry["format"] == io.FORMAT
    assert entry["version"] == mv.__version__
    assert entry["model"].endswith(":MVAE")
    assert [view["name"] for view in entry["views"]] == ["view_0", "view_1"]
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch, "save", None)
    mv.load(path)


def test_other_readers_of_safetensors_can_open_it(saved):
    from safetensors import safe_open

    model, path = saved
    with safe_open(path, framework="np") as file:
        names = set(file.keys())
        assert names >= {f"network.{name}" for name in model.network_.state_dict()}
        np.testing.assert_array_equal(file.get_tensor("views.0.loc"), model.views_[0].loc)


# ---- what is no such file -------------------------------------------------------------------------------------------


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no file '{tmp_path / 'gone.safetensors'}'")):
        mv.load(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match="no file"):
        mv.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"hello, this is no model " * 20, b"PK\x03\x04" + b"\0" * 64, b"\xff" * 64, b"\0" * 4096],
    ids=["empty", "one byte", "text", "zip", "ones", "zeros"],
)
def test_garbage(content, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"'{path}' is not a manyview file, or is damaged or cut short: ")):
        mv.load(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(share, saved, tmp_path):
    blob, path = saved[1].read_bytes(), tmp_path / "m.safetensors"
    path.write_bytes(blob[: int(share * len(blob))])
    with pytest.raises(ValueError, match="is not a manyview file, or is damaged or cut short"):
        mv.load(path)
    path.write_bytes(blob[:-1])
    with pytest.raises(ValueError, match="is not a manyview file, or is damaged or cut short"):
        mv.load(path)


def test_a_safetensors_file_of_somebody_else(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=re.escape(f"'{path}' is a safetensors file, but no model of manyview")):
        mv.load(path)


def test_a_file_of_a_newer_version(saved, tmp_path):
    def newer(entry):
        entry.update(format=io.FORMAT + 1, version="9.1")

    path = rewrite(saved[1], tmp_path / "m.safetensors", newer)
    message = (
        f"'{path}' was written by manyview 9.1 in format {io.FORMAT + 1}, but this version reads formats up to "
        f"{io.FORMAT}; upgrade manyview"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        mv.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.pop("format"),
        lambda entry: entry.pop("views"),
        lambda entry: entry.pop("history"),
        lambda entry: entry["views"].pop(),
        lambda entry: entry["hyperparameters"].update(z_dim=3),
    ],
    ids=["format", "views", "history", "a view", "another shape"],
)
def test_a_damaged_header(change, saved, tmp_path):
    with pytest.raises(ValueError, match="damaged"):
        mv.load(rewrite(saved[1], tmp_path / "m.safetensors", change))


def test_a_hyperparameter_of_another_version(saved, tmp_path):
    def other(entry):
        entry["version"] = "0.9"
        entry["hyperparameters"]["colour"] = "blue"

    message = r"written by manyview 0\.9, and this is .*MVAE has no hyperparameter 'colour'.*the version that wrote it"
    with pytest.raises(ValueError, match=message):
        mv.load(rewrite(saved[1], tmp_path / "m.safetensors", other))


def test_another_class(saved):
    _, path = saved
    with pytest.raises(TypeError, match=r"model\.safetensors holds a MVAE, not a MMVAE; use manyview\.load"):
        mv.MMVAE.load(path)
    assert type(mv.Estimator.load(path)) is mv.MVAE


def test_a_model_that_is_not_fitted_writes_nothing(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        new().save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


# ---- what users bring along -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoder",
    [
        FromShapes,
        from_shapes,
        {"view_0": NoArguments()},
        {"_target_": f"{__name__}.FromShapes", "width": 5},
        {"view_0": {"_target_": f"{__name__}.FromShapes", "width": 2}, "view_1": from_shapes},
    ],
    ids=["class", "function", "object", "target", "per view"],
)
def test_networks_that_can_be_imported_come_back(encoder, data, tmp_path):
    model = new(encoder=encoder).fit(data)
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    assert_same(model, other, data)
    assert [type(net) for net in other.network_.encoders] == [type(net) for net in model.network_.encoders]


def local_class():
    class Local(nn.Linear):
        def __init__(self, in_shape, out_dim):
            super().__init__(in_shape[0], out_dim)

    return Local


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            lambda i, o: FromShapes(i, o),
            r"it cannot be imported from a module\. Define it at the top level of a module",
        ),
        (local_class(), r"it cannot be imported from a module\. Define it at the top level of a module"),
        ({"view_0": FromShapes((5,), 4)}, r"is a FromShapes object, and a file cannot say how it was made\. Give a "),
        ({"view_0": nn.Linear(5, 4)}, r"is a Linear object, and a file cannot say how it was made\. Give a function"),
    ],
    ids=["lambda", "local class", "object with arguments", "torch's own"],
)
def test_networks_that_cannot_be_imported_are_refused(encoder, message, data, tmp_path):
    model = new(encoder=encoder).fit(data)
    with pytest.raises(ValueError, match=f"^encoder.*{message}"):
        model.save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_of_ones_own_comes_back(data, tmp_path):
    model = MyModel(**TINY, colour="blue").fit(data)
    model.save(tmp_path / "m.safetensors")
    other = mv.load(tmp_path / "m.safetensors")
    assert_same(model, other, data)
    assert other.colour == "blue"


def test_a_model_that_cannot_be_imported_is_refused(data, tmp_path):
    class Local(mv.MVAE):
        pass

    with pytest.raises(ValueError, match=r"the model=.*it cannot be imported from a module"):
        Local(**TINY).fit(data).save(tmp_path / "m.safetensors")


# ---- hostile files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.run", "builtins.eval", "subprocess.Popen", "nowhere.x", "x"]
)
@pytest.mark.parametrize("where", ["encoder", "per view", "likelihood", "likelihood of a view", "nested"])
def test_a_target_that_is_no_module_is_refused(where, target, saved, tmp_path):
    spec = {"_target_": target, "args": "touch pwned"}

    def poison(entry):
        parameters = entry["hyperparameters"]
        if where == "encoder":
            parameters["encoder"] = spec
        elif where == "per view":
            parameters["decoder"] = {"view_0": spec}
        elif where == "likelihood":
            parameters["likelihood"] = spec
        elif where == "likelihood of a view":
            entry["views"][0]["likelihood"] = spec
        else:
            parameters["optimizer_args"] = {"a": [{"b": spec}]}

    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module class|cannot be imported"):
        mv.load(rewrite(saved[1], tmp_path / "m.safetensors", poison))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("_module_", "os:system", "which is no Module"),
        ("_module_", "subprocess:Popen", "which is no Module"),
        ("_likelihood_", "os:system", "which is no Likelihood"),
        ("_likelihood_", "torch.nn:Linear", "which is no Likelihood"),
        ("_callable_", "no.such.module:f", "which cannot be imported"),
    ],
)
def test_objects_of_the_wrong_kind_are_refused(key, value, message, saved, tmp_path):
    def poison(entry):
        entry["hyperparameters"]["encoder"] = {key: value}

    with pytest.raises(ValueError, match=message):
        mv.load(rewrite(saved[1], tmp_path / "m.safetensors", poison))


@pytest.mark.parametrize("name", ["os:system", "torch.nn:Linear", "sklearn.decomposition:PCA"])
def test_a_model_that_is_none_is_refused(name, saved, tmp_path):
    path = rewrite(saved[1], tmp_path / "m.safetensors", lambda entry: entry.update(model=name))
    with pytest.raises(ValueError, match=re.escape(f"the file names {name!r}, which is no Estimator")):
        mv.load(path)


def test_a_function_from_the_file_cannot_run_a_command(saved, tmp_path):
    def poison(entry):
        entry["hyperparameters"]["encoder"] = {"_callable_": "subprocess:run"}
        entry["views"][0]["shape"] = ["touch", str(tmp_path / "pwned")]

    with pytest.raises(ValueError, match=r"shape \['touch'"):
        mv.load(rewrite(saved[1], tmp_path / "m.safetensors", poison))
    assert not (tmp_path / "pwned").exists()


# ---- disks ----------------------------------------------------------------------------------------------------------


def test_a_missing_folder(saved, tmp_path):
    with pytest.raises(FileNotFoundError):
        saved[0].save(tmp_path / "no" / "such" / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_that_name(saved, tmp_path):
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(OSError, match=r"m\.safetensors"):
        saved[0].save(tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_file_where_a_folder_should_be(saved, tmp_path):
    (tmp_path / "models").write_bytes(b"old")
    with pytest.raises(OSError, match="models"):
        saved[0].save(tmp_path / "models" / "m.safetensors")
    assert (tmp_path / "models").read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(saved, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            saved[0].save(tmp_path / "m.safetensors")
        assert (tmp_path / "m.safetensors").read_bytes() == b"old"
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_as_it_was(where, saved, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match="No space left on device"):
        saved[0].save(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_an_older_file_is_replaced_whole(saved, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old" * 10**6)
    saved[0].save(path)
    assert path.read_bytes() == saved[1].read_bytes()


def test_paths_as_text_and_as_paths(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved[0].save("here.safetensors")
    assert type(mv.load(Path("here.safetensors"))) is mv.MVAE
    assert issubclass(Cauchy, Likelihood)
