"""The speed benchmark: the bare loops are the library's models, the floor counts right, the tables say what is so."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import manyview as mv
from benchmarks.peers.image_networks import image_decoder, image_encoder
from benchmarks.speed import goals
from benchmarks.speed.bare import OBJECTIVES, Networks, log_evidence, mlp, networks_of
from benchmarks.speed.floor import products_of
from benchmarks.speed.growth import CASES, growth_figure
from benchmarks.speed.rows import row
from benchmarks.speed.run import WORKLOADS, run
from benchmarks.speed.workloads import TRAINING, Workload, task_of, write_data
from manyview import inference
from manyview.data.batch import Batch

SMALL = Workload(
    name="small",
    views={"a": ((6,), "bernoulli"), "b": ((4,), "categorical"), "c": ((5,), "normal"), "d": ((3, 5, 6), "laplace")},
    z_dim=3,
    networks={**{f"{kind}_hidden": [7] for kind in ("encoder", "decoder")}, "channels": [4, 2]},
)
LAPLACE = {"name": "laplace", "scale": 0.75, "learn_scale": False}
SETTINGS = {"MMVAE": {"n_importance_samples": 1, "posterior": "normal"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = write_data(SMALL, 12, tmp_path_factory.mktemp("data"), n_test=2)
    with np.load(path) as arrays:
        return path, [arrays[f"train_{m}"] for m in range(4)]


def library_and_bare(name, data):
    """The same weights in a model of the library and in the bare networks."""
    path, views = data
    task = task_of(SMALL, name, 6, path)
    model = getattr(mv, name)(
        z_dim=3,
        encoder={"d": {"channels": [4, 2]}, "default": {"hidden": [7]}},
        decoder={"d": {"channels": [2, 4]}, "default": {"hidden": [7]}},
        likelihood={"a": "bernoulli", "b": "categorical", "c": "normal", "d": LAPLACE},
        scale=None, max_epochs=1, batch_size=6, validation_fraction=0, random_state=0, verbose=False,
        **SETTINGS.get(name, {}),
    ).fit(dict(zip(SMALL.views, views, strict=True)))  # fmt: skip
    bare = networks_of(task, [view.shape[1:] for view in views])
    for kind in ("encoders", "decoders"):
        pairs = zip(getattr(bare, kind).parameters(), getattr(model.network_, kind).parameters(), strict=True)
        for ours, theirs in pairs:
            ours.data.copy_(theirs.data)
    bare.rho[2].data.copy_(model.network_.likelihood(2).rho.data)
    return model, bare


@pytest.mark.parametrize("name", ["MVAE", "MEMVAE", "MMVAE", "MVTCAE"])
def test_a_bare_objective_is_the_librarys(name, data):
    model, bare = library_and_bare(name, data)
    x = tuple(map(torch.from_numpy, data[1]))
    torch.manual_seed(1)
    expected = model.objective(model.network_, Batch(x, (None,) * 4), 1.0).value
    torch.manual_seed(1)
    torch.testing.assert_close(OBJECTIVES[name](bare, x), expected, rtol=1e-4, atol=1e-3)


def test_mopoes_objective_is_the_librarys_on_average(data):
    # It draws the subset first and z then, the library the other way round: another order of random numbers.
    model, bare = library_and_bare("MoPoEVAE", data)
    x = tuple(torch.from_numpy(view[:1]).expand(20_000, *view.shape[1:]) for view in data[1])
    torch.manual_seed(1)
    with torch.no_grad():
        ours = OBJECTIVES["MoPoEVAE"](bare, x)
        theirs = model.objective(model.network_, Batch(x, (None,) * 4), 1.0).value
    error = ((ours.var() + theirs.var()) / len(ours)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert ours.std() == pytest.approx(theirs.std().item(), rel=0.05)


def test_the_bare_log_likelihood_is_the_librarys(data):
    model, bare = library_and_bare("MVAE", data)
    x = tuple(map(torch.from_numpy, data[1]))
    with torch.no_grad():
        torch.manual_seed(1)
        expected = inference.log_evidence(model.network_, Batch(x, (None,) * 4), 20)
        torch.manual_seed(1)
        torch.testing.assert_close(log_evidence(bare, x, 20), expected, rtol=1e-4, atol=1e-3)


def test_image_networks_are_the_librarys():
    shape, channels = (3, 28, 27), [8, 16, 32]
    for ours, theirs, into in (
        (image_encoder(shape, 10, channels), mv.nn.CNNEncoder(shape, 10, channels=channels), shape),
        (image_decoder(5, shape, channels[::-1]), mv.nn.CNNDecoder(5, shape, channels=channels[::-1]), (5,)),
    ):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.data.copy_(b.data)
        x = torch.randn(2, *into)
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_floor_has_every_product_of_a_step_and_no_other():
    n, z = 8, 2
    net = Networks([mlp(5, 7, 2 * z)], [mlp(z, 6, 5)], ["normal"], [5])
    x = torch.randn(n, 5)
    products = products_of(lambda: OBJECTIVES["MVAE"](net, [x]).mean().backward())
    # Two products for each layer, forward and for its weights, and one for its input but in the encoder's first.
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert len(products.calls) == 3 * len(layers) - 1
    each = [2 * n * layer.in_features * layer.out_features for layer in layers]
    assert products.flops == 3 * sum(each) - each[0]
    weights = net.encoders[0][0].weight.grad.clone()
    products.repeat()  # on the same tensors, to the same result
    torch.testing.assert_close(net.encoders[0][0].weight.grad, weights)


def result(contestant, cpu, **others):
    given = {"workload": "W1", "case": "MVAE, batch 128", "model": "MVAE", "batch_size": 128, "threads": 1}
    given |= others
    return row(contestant=contestant, n_samples=10, cpu_seconds=cpu, wall_seconds=cpu, **given)


def test_ratios_are_of_the_same_round_and_beside_their_goal():
    rows = [
        result("manyview", [1.0, 2.0, 4.0]),
        result("multiviewae", [2.5, 5.0, 8.0]),
        result("multivae", [1.0, 2.4, 4.0]),
        result("bare", [], error="ValueError: no\nmore"),
    ]
    head, lines = goals.training_table(json.loads(json.dumps(rows)))
    found = dict(zip(head, lines[0], strict=True))
    assert found["× multiviewae"] == "2.50 [2.00, 2.50] ✓ 2.20"
    assert found["× multivae"] == "1.00 [1.00, 1.20] ✗ 1.45"
    assert found["× bare"] == "fails: ValueError: no"
    assert found["× floor"] == ""
    assert found["CPU µs a sample"] == "200000.0 [100000.0, 400000.0]"


def test_goals_are_those_of_the_case():
    assert goals.goal("W1", "MVAE", 2048, "multivae") is None
    assert goals.goal("W3", "MVAE", 64, "multiviewae") == 3
    assert goals.goal("W1", "MEMVAE", 512, "multivae") == 2.5
    assert goals.goal("W2", "MMVAE", 256, "bare") == pytest.approx(1 / 1.1)


def test_growth_is_compared_with_proportion():
    points = [(2, 1.0), (4, 2.0), (8, 4.2)]
    rows = [result("manyview", [t], workload="W6", case="views, MVAE", x=x) for x, t in points]
    head, lines = goals.other_table(rows)
    found = dict(zip(head, lines[0], strict=True))
    assert (found["measured"], found["goal"], found[""]) == ("1.05", "≤ 1.1", "✓")
    assert [line[-1] for line in goals.growth_table(rows)[1]] == ["1.00", "2.00", "4.20"]
    assert len(growth_figure(rows).axes) == len(CASES)


def test_rows_are_written_as_they_come(tmp_path, monkeypatch):
    def breaks(context):
        yield result("manyview", [1.0])
        raise RuntimeError

    monkeypatch.setitem(WORKLOADS, "W1", breaks)
    context = type("Context", (), {"scale": "smoke"})
    with pytest.raises(RuntimeError):
        run(context, ["W1"], tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["scale"] == "smoke"


def test_data_suit_the_likelihoods(data):
    image, label, *_ = data[1]
    assert set(np.unique(image)) == {0.0, 1.0}
    assert (label.sum(1) == 1).all()
    assert set(TRAINING) <= set(WORKLOADS)
