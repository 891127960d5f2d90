"""Encoders and decoders, and how they are chosen."""

import json
import sys
import types
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
import torch
from torch import nn

from manyview.nn import MLP, CNNDecoder, CNNEncoder, build_decoder, build_encoder, per_view
from manyview.nn.mlp import ACTIVATIONS

IMAGES = [(3, 28, 28), (1, 7, 5), (2, 33, 1), (1, 1, 1), (4, 2, 9), (28, 28), (5, 6)]
SHAPES = [1, 7, (7,), (4, 3), (2, 3, 4), (1, 2, 3, 2)]


def as_tuple(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def parts(module, kind):
    return [part for part in module.modules() if type(part) is kind]


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# ---------------------------------------------------------------- MLP


@pytest.mark.parametrize("in_shape", SHAPES)
@pytest.mark.parametrize("out_shape", SHAPES)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_mlp_maps_shape_to_shape(in_shape, out_shape, rows):
    out = MLP(in_shape, out_shape, hidden=(6,))(torch.randn(rows, *as_tuple(in_shape)))
    assert out.shape == (rows, *as_tuple(out_shape))


@pytest.mark.parametrize("hidden", [(), (8,), 8, [5, 6, 7]])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_mlp_parameter_count(hidden, bias, norm):
    widths = [12, *as_tuple(hidden), 6]
    linear = sum(a * b + b * bias for a, b in pairwise(widths))
    shift_and_scale = 2 * sum(widths[1:-1]) if norm else 0
    module = MLP((3, 4), (2, 3), hidden=hidden, bias=bias, norm=norm)
    assert n_parameters(module) == linear + shift_and_scale
    assert all((layer.bias is not None) == bias for layer in parts(module, nn.Linear))


@pytest.mark.parametrize("bias", [True, False])
def test_mlp_with_identity_is_the_product_of_its_matrices(bias):
    module = MLP(5, 3, hidden=(7, 4), activation="identity", bias=bias).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    expected = x
    for layer in parts(module, nn.Linear):
        expected = expected @ layer.weight.T + (layer.bias if bias else 0.0)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_applied_to_hidden_layers_only(name):
    formulas = {
        "relu": lambda x: x.clamp(min=0),
        "silu": lambda x: x / (1 + (-x).exp()),
        "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
        "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
        "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
        "sigmoid": lambda x: 1 / (1 + (-x).exp()),
        "softplus": lambda x: (1 + x.exp()).log(),
        "identity": lambda x: x,
    }
    module = MLP(4, 3, hidden=(9,), activation=name)
    first, last = parts(module, nn.Linear)
    x = torch.randn(8, 4)
    torch.testing.assert_close(module(x), last(formulas[name](first(x))), atol=1e-5, rtol=1e-5)


def test_flattened_and_shaped_features_give_the_same():
    shaped = MLP((2, 3, 4), (5, 2), hidden=(8,), norm="layer")
    flat = MLP(24, 10, hidden=(8,), norm="layer")
    flat.load_state_dict(shaped.state_dict())
    x = torch.randn(6, 2, 3, 4)
    torch.testing.assert_close(shaped(x).reshape(6, 10), flat(x.reshape(6, 24)), rtol=0, atol=0)


def test_mlp_norm_comes_between_linear_map_and_activation():
    x = 3 + 2 * torch.randn(50, 4)
    for norm, dim in [("batch", 0), ("layer", 1)]:
        module = MLP(4, 3, hidden=(9,), norm=norm)
        first, last = parts(module, nn.Linear)
        h = first(x)
        h = (h - h.mean(dim, keepdim=True)) / (h.var(dim, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(module(x), last(h.relu()), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- CNN


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("channels", [4, (4, 6), (3, 4, 5, 6, 7, 8)])
def test_cnn_gives_exact_sizes(shape, channels):
    x = torch.randn(2, *shape)
    z = CNNEncoder(shape, 5, channels=channels)(x)
    assert z.shape == (2, 5)
    assert CNNDecoder(5, shape, channels=channels)(z).shape == x.shape
    assert CNNDecoder(5, shape, channels=channels)(z[:0]).shape == (0, *shape)


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("hidden", [(), (10, 9)])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_cnn_parameter_count(shape, hidden, norm):
    c, h, w = shape if len(shape) == 3 else (1, *shape)
    flat = 6 * ceil(ceil(h / 2) / 2) * ceil(ceil(w / 2) / 2)

    def mlp(*widths):
        return sum(a * b + b for a, b in pairwise(widths))

    norms = 2 * (4 + 6 + sum(hidden)) if norm else 0
    encoder = (9 * c * 4 + 4) + (9 * 4 * 6 + 6) + mlp(flat, *hidden, 5) + norms
    decoder = mlp(5, *hidden, flat) + (9 * 6 * 4 + 4) + (9 * 4 * c + c) + norms
    settings = {"hidden": hidden, "norm": norm}
    assert n_parameters(CNNEncoder(shape, 5, channels=(4, 6), **settings)) == encoder
    assert n_parameters(CNNDecoder(5, shape, channels=(6, 4), **settings)) == decoder


def test_cnn_without_channel_axis_is_a_cnn_with_one_channel():
    x = torch.randn(3, 9, 6)
    flat, one = CNNEncoder((9, 6), 4), CNNEncoder((1, 9, 6), 4)
    z = flat(x)
    assert len(flat.state_dict()) == len(one.state_dict())
    for mine, other in zip(flat.parameters(), one.parameters(), strict=True):
        other.data.copy_(mine)
    torch.testing.assert_close(one(x[:, None]), z)
    flat, one = CNNDecoder(4, (9, 6)), CNNDecoder(4, (1, 9, 6))
    one.load_state_dict(flat.state_dict())
    torch.testing.assert_close(one(z), flat(z)[:, None])


def test_every_pixel_reaches_the_code_and_is_reached_by_it():
    shape = (2, 11, 8)
    x = torch.randn(1, *shape, requires_grad=True)
    CNNEncoder(shape, 3, activation="identity")(x).sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(2, 3)
    decoder = CNNDecoder(3, shape, activation="identity")
    assert (decoder(z).diff(dim=0) != 0).all()


def test_cnn_decoder_ends_linear():
    decoder = CNNDecoder(3, (1, 5, 5), activation="relu", norm="batch", dropout=0.5)
    assert type(list(decoder.layers)[-1]) is nn.ConvTranspose2d
    nn.init.constant_(decoder.layers[-1].bias, -1e3)
    assert (decoder(torch.randn(20, 3)) < -100).all()


# ---------------------------------------------------------------- all three

NETWORKS = [
    (
        lambda **settings: MLP((2, 4, 5), 3, hidden=(8, 6), **settings),
        (2, 4, 5),
        nn.BatchNorm1d,
        nn.LayerNorm,
    ),
    (lambda **settings: CNNEncoder((2, 4, 5), 3, **settings), (2, 4, 5), nn.BatchNorm2d, nn.GroupNorm),
    (lambda **settings: CNNDecoder(3, (2, 4, 5), **settings), (3,), nn.BatchNorm2d, nn.GroupNorm),
]


@pytest.mark.parametrize(("make", "shape", "batch", "layer"), NETWORKS)
def test_norm_takes_effect(make, shape, batch, layer):
    x = 5 + torch.randn(12, *shape)
    assert not parts(make(), batch) + parts(make(), layer)
    module = make(norm="batch")
    assert parts(module, batch)
    together = module(x)
    assert not torch.allclose(together[:6], module(x[:6]))  # in training, rows depend on their batch
    module.eval()
    torch.testing.assert_close(module(x)[:6], module(x[:6]))
    module = make(norm="layer")
    assert parts(module, layer)
    torch.testing.assert_close(module(x)[:6], module(x[:6]))


@pytest.mark.parametrize(("make", "shape", "batch", "layer"), NETWORKS)
def test_dropout_takes_effect_in_training_only(make, shape, batch, layer):
    x = torch.randn(6, *shape)
    module = make(dropout=0.5)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    module = make(dropout=0.0)
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize(("make", "shape", "batch", "layer"), NETWORKS)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_gradients_reach_every_parameter(make, shape, batch, layer, norm):
    module = make(norm=norm, activation="silu")
    module(torch.randn(16, *shape)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if norm is None:  # a norm takes the gradient of the bias before it away
            assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize(("make", "shape", "batch", "layer"), NETWORKS)
def test_weights_follow_from_the_random_state(make, shape, batch, layer):
    states = []
    for seed in [0, 0, 1]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            states.append(nn.utils.parameters_to_vector(make().parameters()))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("argument", ["hidden", "channels"])
@pytest.mark.parametrize(
    ("value", "error"),
    [((8, 0), ValueError), ((-1,), ValueError), (0, ValueError), ("8", TypeError), (None, TypeError)],
)
def test_bad_widths(argument, value, error):
    for make in [lambda **s: CNNEncoder((1, 4, 4), 2, **s), lambda **s: CNNDecoder(2, (1, 4, 4), **s)]:
        with pytest.raises(error, match=argument):
            make(**{argument: value})
    if argument == "hidden":
        with pytest.raises(error, match="hidden"):
            MLP(2, 2, hidden=value)


def test_a_cnn_needs_a_convolution():
    with pytest.raises(ValueError, match=r"channels must be a positive integer or a sequence .*; got \(\)"):
        CNNEncoder((1, 4, 4), 2, channels=())


@pytest.mark.parametrize(("make", "shape", "batch", "layer"), NETWORKS)
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"activation": "rellu"},
            ValueError,
            r"unknown activation 'rellu'; did you mean 'relu'\? Allowed: 'relu'",
        ),
        ({"activation": "SiLU"}, ValueError, r"unknown activation 'SiLU'; did you mean 'silu'\?"),
        ({"activation": "zzzz"}, ValueError, r"unknown activation 'zzzz'\. Allowed: 'relu'"),
        ({"activation": nn.ReLU}, TypeError, "activation"),
        (
            {"norm": "bacth"},
            ValueError,
            r"unknown norm 'bacth'; did you mean 'batch'\? Allowed: 'batch', 'layer' or None\.",
        ),
        ({"norm": True}, TypeError, "norm"),
        ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\).*got 1\.0"),
        ({"dropout": -0.1}, ValueError, r"dropout must lie in \[0, 1\).*got -0\.1"),
        ({"dropout": float("nan")}, ValueError, r"dropout must lie in \[0, 1\).*got nan"),
        ({"dropout": "0.5"}, TypeError, "dropout"),
    ],
)
def test_bad_settings(make, shape, batch, layer, settings, error, message):
    with pytest.raises(error, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda bad: MLP(bad, 2), "in_shape"),
        (lambda bad: MLP(2, bad), "out_shape"),
        (lambda bad: CNNEncoder((1, 4, 4), bad), "out_dim"),
        (lambda bad: CNNDecoder(bad, (1, 4, 4)), "in_dim"),
    ],
)
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError)])
def test_bad_sizes(make, argument, value, error):
    with pytest.raises(error, match=argument):
        make(value)


def test_empty_shape_and_bias_of_wrong_type():
    with pytest.raises(ValueError, match=r"in_shape must be .* got \(\)"):
        MLP((), 2)
    with pytest.raises(TypeError, match="bias"):
        MLP(2, 2, bias="no")


@pytest.mark.parametrize("shape", [(500,), (2, 3, 4, 5)])
def test_cnn_refuses_what_is_not_an_image(shape):
    for make in [lambda: CNNEncoder(shape, 2), lambda: CNNDecoder(2, shape)]:
        with pytest.raises(ValueError, match=r"a CNN needs images of shape \(channels, height, width\) or"):
            make()


# ---------------------------------------------------------------- specifications


class Net(nn.Module):
    """A user's network that fits both sides."""

    def __init__(self, first, second, gain=1.0):
        super().__init__()
        self.gain, self.first, self.second = gain, first, second
        self.net = MLP(first, second, hidden=(4,))

    def forward(self, x):
        return self.gain * self.net(x)


def make_net(first, second):
    return Net(first, second, gain=2.0)


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("out of cheese")


@pytest.fixture
def user_module(monkeypatch):
    module = types.ModuleType("user_networks")
    module.Net, module.make_net, module.NUMBER = Net, make_net, 3
    monkeypatch.setitem(sys.modules, "user_networks", module)


@pytest.mark.parametrize("shape", [(6,), (5, 4), (2, 5, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("auto", {3: CNNEncoder}),
        ({}, {3: CNNEncoder}),
        ({"name": "auto", "norm": "layer"}, {3: CNNEncoder}),
        ({"hidden": [7], "activation": "silu"}, {3: CNNEncoder}),
        ("mlp", {}),
        ({"name": "mlp", "hidden": []}, {}),
    ],
)
def test_names_and_settings(spec, kind, shape):
    encoder, decoder = build_encoder(spec, shape, 3, "a"), build_decoder(spec, 3, shape, "a")
    expected = kind.get(len(shape), MLP)
    assert type(encoder) is expected
    assert type(decoder) is {CNNEncoder: CNNDecoder, MLP: MLP}[expected]
    assert decoder(encoder(torch.randn(4, *shape))).shape == (4, *shape)


@pytest.mark.parametrize("spec", ["cnn", {"name": "cnn", "channels": [3, 4]}])
def test_cnn_by_name_for_images_without_channels(spec):
    assert type(build_encoder(spec, (5, 4), 3, "a")) is CNNEncoder
    assert type(build_decoder(spec, 3, (5, 4), "a")) is CNNDecoder


def test_settings_reach_the_network_and_are_left_as_they_were():
    spec = {
        "name": "mlp",
        "hidden": [7, 8],
        "activation": "silu",
        "norm": "batch",
        "bias": False,
        "dropout": 0.25,
    }
    before = json.dumps(spec)
    encoder = build_encoder(spec, (6,), 3, "a")
    assert json.dumps(spec) == before
    assert [layer.out_features for layer in parts(encoder, nn.Linear)] == [7, 8, 3]
    assert len(parts(encoder, nn.SiLU)) == len(parts(encoder, nn.BatchNorm1d)) == 2
    assert [layer.p for layer in parts(encoder, nn.Dropout)] == [0.25, 0.25]
    assert all(layer.bias is None for layer in parts(encoder, nn.Linear))
    spec = {"hidden": [7], "channels": [3, 4], "activation": "tanh"}
    decoder = build_decoder(spec, 3, (2, 6, 6), "a")
    assert [layer.in_channels for layer in parts(decoder, nn.ConvTranspose2d)] == [3, 4]
    assert [layer.out_features for layer in parts(decoder, nn.Linear)] == [7, 3 * 2 * 2]
    assert len(parts(decoder, nn.Tanh)) == 3


@pytest.mark.parametrize(
    ("spec", "gain"),
    [
        (Net, 1.0),
        (make_net, 2.0),
        (lambda first, second: Net(first, second, 3.0), 3.0),
        ({"_target_": "user_networks.Net"}, 1.0),
        ({"_target_": "user_networks.Net", "gain": 4.0}, 4.0),
        ({"_target_": "user_networks.make_net"}, 2.0),
    ],
)
def test_callables_get_both_shapes(user_module, spec, gain):
    encoder, decoder = build_encoder(spec, [2, 3], 5, "a"), build_decoder(spec, 5, [2, 3], "a")
    assert (encoder.first, encoder.second, encoder.gain) == ((2, 3), 5, gain)
    assert (decoder.first, decoder.second, decoder.gain) == (5, (2, 3), gain)


def test_target_may_be_a_network_of_the_library():
    decoder = build_decoder({"_target_": "manyview.nn.CNNDecoder", "channels": [4]}, 2, (3, 4), "a")
    assert [layer.in_channels for layer in parts(decoder, nn.ConvTranspose2d)] == [4]


def test_a_module_is_copied():
    mine = nn.Linear(4, 3)
    first, second = build_encoder(mine, (4,), 3, "a"), build_encoder(mine, (4,), 3, "b")
    assert len({id(module) for module in (mine, first, second)}) == 3
    assert len({module.weight.data_ptr() for module in (mine, first, second)}) == 3
    assert torch.equal(first.weight, mine.weight)
    assert torch.equal(second.weight, mine.weight)


def test_lazy_layers_are_initialised():
    mine = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    encoder = build_encoder(mine, (2, 4), 3, "a")
    assert encoder[1].weight.shape == (3, 8)
    assert isinstance(mine[1].weight, nn.UninitializedParameter)


def test_the_check_leaves_no_trace():
    mine = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    mine[1].eval()

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.seen = mine, []

        def forward(self, x):
            self.seen.append((self.training, self.net.training, torch.is_grad_enabled(), tuple(x.shape)))
            return self.net(x + torch.randn_like(x))

    spec = Noisy()
    state = torch.get_rng_state()
    module = build_encoder(spec, (4,), 3, "a")
    assert torch.equal(torch.get_rng_state(), state)
    assert module.seen == [(False, False, False, (2, 4))]
    assert [part.training for part in module.modules()] == [part.training for part in spec.modules()]
    assert [part.training for part in module.net] == [True, False, True, True]
    for given, copied in zip(spec.state_dict().values(), module.state_dict().values(), strict=True):
        assert torch.equal(given, copied)
    assert torch.is_grad_enabled()
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_training_mode_survives_a_failing_check():
    built = []

    def make(first, second):
        built.append(nn.Sequential(nn.Dropout(), Broken()))
        return built[0]

    with pytest.raises(ValueError, match="out of cheese"):
        build_encoder(make, (4,), 3, "a")
    assert all(part.training for part in built[0].modules())


def test_same_random_state_same_network():
    vectors = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            networks = [build_encoder("auto", (2, 5, 5), 3, "a"), build_decoder("auto", 3, (2, 5, 5), "a")]
            vectors.append(torch.cat([nn.utils.parameters_to_vector(n.parameters()) for n in networks]))
    assert torch.equal(*vectors)


TYPO = r"unknown setting 'hiden' of MLP; did you mean 'hidden'\? Allowed: 'name', 'hidden', 'activation'"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("mpl", ValueError, r"unknown network 'mpl'; did you mean 'mlp'\? Allowed: 'auto', 'mlp', 'cnn'"),
        ("CNN", ValueError, r"unknown network 'CNN'; did you mean 'cnn'\?"),
        ({"name": "resnet"}, ValueError, r"unknown network 'resnet'\. Allowed"),
        ({"name": 3}, TypeError, r"unknown network 3\. Allowed: 'auto', 'mlp', 'cnn'"),
        ({"hiden": [3]}, ValueError, TYPO),
        ({"channels": [3]}, ValueError, r"unknown setting 'channels' of MLP\. Allowed: 'name', 'hidden'"),
        ({"in_shape": [3]}, ValueError, r"unknown setting 'in_shape' of MLP"),
        ({"activation": "silo"}, ValueError, r"unknown activation 'silo'; did you mean 'silu'\?"),
        ({"hidden": [0]}, ValueError, r"hidden must be a positive integer .* got \[0\]"),
        (
            "cnn",
            ValueError,
            r"a CNN needs images of shape \(channels, height, width\) or \(height, width\), "
            r"but the view has shape \(500,\); use 'mlp'",
        ),
        (None, TypeError, r"needs 'auto', 'mlp', 'cnn', a mapping of settings, .*; got None"),
        (["mlp"], TypeError, r"needs 'auto', .*; got \['mlp'\]"),
        (
            lambda first, second: "a network",
            TypeError,
            r"must return a torch.nn.Module; it returned 'a net",
        ),
        (lambda first: nn.Identity(), ValueError, r"<lambda>\(.*\) failed: TypeError\(.*takes 1 positional"),
        (nn.Identity(), ValueError, r"the module returned shape "),
        (
            lambda first, second: Broken(),
            ValueError,
            r"the module fails on .*RuntimeError\('out of cheese",
        ),
        ({"_target_": 3}, ValueError, r"_target_ must be a path such as 'package.module.Class'; got 3"),
        ({"_target_": "Net"}, ValueError, r"_target_ must be a path such as .* got 'Net'"),
        (
            {"_target_": "nowhere_.Net"},
            ValueError,
            r"the module 'nowhere_', which cannot be imported: Module",
        ),
        (
            {"_target_": "user_networks.Nett"},
            ValueError,
            r"module 'user_networks' has no 'Nett'; did you mean 'user_networks.Net'\?",
        ),
        ({"_target_": "user_networks.zzzz"}, ValueError, r"module 'user_networks' has no 'zzzz'\.$"),
        ({"_target_": "user_networks.NUMBER"}, ValueError, r"must be a class or function; it is 3"),
        (
            {"_target_": "user_networks.Net", "gian": 2},
            ValueError,
            r"Net\(.*, gian=2\) failed: TypeError\(.*unexpected keyword argument 'gian'",
        ),
    ],
)
def test_errors_name_the_view(user_module, spec, error, message):
    with pytest.raises(error, match=r"^encoder of view 'genes': .*" + message):
        build_encoder(spec, (500,), 32, "genes")
    with pytest.raises(error, match=r"^decoder of view 'genes': .*" + message):
        build_decoder(spec, 32, (500,), "genes")


def test_errors_have_their_cause():
    with pytest.raises(ValueError, match="out of cheese") as caught:
        build_encoder(Broken(), (4,), 2, "image")
    assert isinstance(caught.value.__cause__, RuntimeError)


class Twice(nn.Module):
    def forward(self, x):
        return x, x


def test_wrong_outputs():
    with pytest.raises(ValueError, match="returned shape") as caught:
        build_encoder(nn.Linear(4, 7), (4,), 32, "image")
    assert str(caught.value) == (
        "encoder of view 'image': the module returned shape (2, 7), but (2, 32) is needed: "
        "2 rows of shape (4,) went in, and each must come out with shape (32,)."
    )
    with pytest.raises(ValueError, match=r"^decoder of view 'image': .*\(2, 12\), but \(2, 3, 4\) is needed"):
        build_decoder(nn.Linear(5, 12), 5, (3, 4), "image")
    with pytest.raises(ValueError, match=r"the module returned a tuple, but \(2, 4\) is needed"):
        build_encoder(Twice(), (4,), 4, "image")
    with pytest.raises(ValueError, match=r"the module fails on shape \(2, 4\): RuntimeError"):
        build_encoder(nn.Linear(5, 3), (4,), 3, "image")


# ---------------------------------------------------------------- per view

NAMES = ("image", "label")


@pytest.mark.parametrize(
    "spec",
    [
        "cnn",
        None,
        make_net,
        Net,
        nn.Linear(2, 2),
        {"hidden": [3]},
        {"name": "mlp"},
        {"_target_": "user_networks.Net"},
        {"_target_": "user_networks.Net", "image_size": 3},
        {"whatever": 1},
        ["a", "b"],
    ],
)
def test_one_specification_serves_all_views(spec):
    result = per_view(spec, NAMES, "encoder")
    assert list(result) == list(NAMES)
    assert all(value is spec for value in result.values())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"image": "cnn", "label": {"hidden": [3]}}, ["cnn", {"hidden": [3]}]),
        ({"label": "mlp"}, ["auto", "mlp"]),
        ({"label": "mlp", "default": "cnn"}, ["cnn", "mlp"]),
        ({"default": {"hidden": [3]}}, [{"hidden": [3]}, {"hidden": [3]}]),
        ({"image": None}, [None, "auto"]),
        ({}, ["auto", "auto"]),
        ({0: "cnn", 1: "mlp"}, ["cnn", "mlp"]),
        ({1: {"hidden": [3]}, "default": "cnn"}, ["cnn", {"hidden": [3]}]),
        ({np.int64(1): "mlp", "image": "cnn"}, ["cnn", "mlp"]),
    ],
)
def test_a_mapping_of_views_is_taken_view_by_view(spec, expected):
    assert per_view(spec, NAMES, "encoder") == dict(zip(NAMES, expected, strict=True))


def test_default_of_the_argument():
    assert per_view({"label": "mlp"}, NAMES, "encoder", default="cnn") == {"image": "cnn", "label": "mlp"}


def test_settings_are_not_taken_for_misspelt_views():
    spec = {"name": "mlp", "channels": [3], "norm": "batch"}
    names = ["game", "channel", "form"]
    assert per_view(spec, names, "encoder") == dict.fromkeys(names, spec)
    spec = {"channels": [3]}
    assert per_view(spec, names, "encoder") == dict.fromkeys(names, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"image": "cnn", "lable": "mlp"},
            r"^encoder: 'lable' is not a view; did you mean 'label'\? Allowed",
        ),
        ({"imgae": "cnn"}, r"^encoder: 'imgae' is not a view; did you mean 'image'\?"),
        ({"Image": "cnn", "Label": "mlp"}, r"^encoder: 'Image' is not a view; did you mean 'image'\?"),
        ({"defualt": "cnn"}, r"^encoder: 'defualt' is not a view; did you mean 'default'\?"),
        ({"image": "cnn", "zzzz": "mlp"}, r"'zzzz' is not a view\. Allowed: 'image', 'label', 'default'\."),
        ({"image": "cnn", "name": "mlp"}, r"'name' is not a view.*wrap them as \{'default': \{\.\.\.\}\}"),
        ({"image": "cnn", 3: "mlp"}, r"^encoder: there is no view 3; positions go from 0 to 1\."),
        ({-1: "mlp"}, r"^encoder: there is no view -1; positions go from 0 to 1\."),
        ({0: "mlp", "image": "cnn"}, r"^encoder: view 'image' is given twice, by its name and by its position\."),
        ({"image": "cnn", 0: "mlp"}, r"^encoder: view 'image' is given twice, by its name and by its position\."),
        ({0: "mlp", "hidden": [3]}, r"'hidden' is not a view"),
        ({True: "mlp", "image": "cnn"}, r"True is not a view"),
    ],
)
def test_mixed_or_misspelt_mappings(spec, message):
    with pytest.raises(ValueError, match=message):
        per_view(spec, NAMES, "encoder")


def test_one_module_for_several_views_is_copied_for_each():
    mine = nn.Linear(4, 3)
    specs = per_view(mine, NAMES, "encoder")
    built = [build_encoder(specs[name], (4,), 3, name) for name in NAMES]
    built[0].weight.data.zero_()
    assert torch.equal(built[1].weight, mine.weight)
    assert mine.weight.abs().sum() > 0


def test_sizes_of_the_check_are_those_of_the_view():
    """A CNN for one size does not pass for another."""
    with pytest.raises(ValueError, match=r"encoder of view 'a': the module fails on shape \(2, 1, 20, 20\)"):
        build_encoder(CNNEncoder((1, 8, 8), 3), (1, 20, 20), 3, "a")
