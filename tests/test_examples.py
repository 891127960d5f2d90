"""The examples run, and say what their models say."""

import gzip
import importlib.util
import re
import runpy
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier

import manyview as mv

EXAMPLES = Path(__file__).parents[1] / "examples"
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def demo():
    """The demo with models that train for a moment."""
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for model in module.MODELS:
        model.set_params(max_epochs=3, batch_size=256, beta_warmup=0, verbose=False)
    return module


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def fitted(demo):
    return demo.MODELS[0].fit(mv.datasets.load_digits()[:600])


def test_demo_prints_a_table_and_draws_a_picture(demo, in_empty_folder, monkeypatch, capsys):
    few = mv.datasets.load_digits()[:400]
    monkeypatch.setattr(mv.datasets, "load_digits", lambda: few)
    demo.main()
    out = capsys.readouterr().out
    table = dict(re.findall(r"^(.{32}) +(\S+ +\S+)$", out, flags=re.MULTILINE))
    assert table.pop("on held-out digits".ljust(32)).split() == ["MVAE", "MMVAE"]
    rows = {name.strip(): [float(value) for value in values.split()] for name, values in table.items()}
    assert list(rows) == [
        "label from image, accuracy",
        "image from label, recognised",
        "joint log-likelihood, nats",
        "training, seconds",
    ]
    assert all(0 <= value <= 1 for name in list(rows)[:2] for value in rows[name])
    assert "320 digits to learn from, 80 held out" in out
    assert (in_empty_folder / "demo" / "digits.png").read_bytes().startswith(PNG)


def test_demo_draws_expected_images(demo, fitted):
    """Against the decoder's output, through a sigmoid that is written here."""
    labels = np.eye(10)[[3, 7]]
    z = fitted.transform({"label": labels}, given="label", n_samples=4)
    eta = fitted.network_.decoders[0](torch.from_numpy(z.reshape(8, -1))).detach().numpy()
    np.testing.assert_allclose(
        demo.images_of(fitted, labels, n_samples=4), 1 / (1 + np.exp(-eta.reshape(4, 2, 64))), rtol=1e-4
    )


def test_demo_measures_what_it_says(demo, fitted):
    views = mv.datasets.load_digits()
    train, test = views[:600], views[1750:]
    digit = test["label"].argmax(1)
    perfect = type("Perfect", (), {"predict": lambda self, images: np.arange(len(images)) % 10})()
    row = demo.measure(fitted, test, perfect)
    probabilities = fitted.predict({"image": test["image"]}, given="image", target="label")["label"]
    assert float(row["label from image, accuracy"]) == round(accuracy_score(digit, probabilities.argmax(1)), 3)
    assert float(row["image from label, recognised"]) == 1
    assert abs(float(row["joint log-likelihood, nats"]) - fitted.score(test, n_samples=1000)) < 0.01
    judge = KNeighborsClassifier(3).fit(train["image"], train["label"].argmax(1))
    assert float(demo.measure(fitted, test, judge)["image from label, recognised"]) < 1


def write_idx(path, array, magic):
    header = struct.pack(f">{array.ndim + 1}I", magic, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_tutorial_reads_mnist_and_draws_a_reconstruction(in_empty_folder, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, size=(50, 28, 28)), np.arange(50) % 10
    write_idx(in_empty_folder / "train-images-idx3-ubyte.gz", images, 0x803)
    write_idx(in_empty_folder / "train-labels-idx1-ubyte.gz", labels, 0x801)
    shutil.copytree(EXAMPLES / "config", in_empty_folder / "config")
    monkeypatch.setattr(sys, "argv", ["tutorial.py", str(in_empty_folder)])
    monkeypatch.setattr("matplotlib.pyplot.subplots", _subplots)
    out = runpy.run_path(str(EXAMPLES / "tutorial.py"))
    assert out["input_dims"] == [784, 10]
    np.testing.assert_allclose(out["data_img"], images.reshape(50, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(out["data_txt"].argmax(1), labels)
    assert [[np.shape(x) for x in row] for row in out["pred"]] == [[(50, 784), (50, 10)]] * 2
    model = out["mmvae"]
    assert (model.z_dim, model.n_importance_samples, model.posterior) == (20, 3, "laplace")
    assert len(model.history_) == 50
    np.testing.assert_array_equal(out["axarr"][1].images[0].get_array().ravel(), np.ravel(out["pred_sample"]))
    assert (in_empty_folder / "demo" / "tutorial.png").read_bytes().startswith(PNG)


def _subplots(rows, columns):
    """Without pyplot's window and global list."""
    from matplotlib.figure import Figure

    figure = Figure()
    return figure, figure.subplots(rows, columns)
