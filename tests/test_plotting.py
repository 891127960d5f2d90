"""Pictures: what is drawn is what was given, checked against the data and against scikit-learn's PCA."""

import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

import manyview as mv
from manyview.metrics import Loadings
from manyview.plotting import (
    PALETTE,
    plot_any_to_any,
    plot_cross_prediction,
    plot_fusion,
    plot_history,
    plot_images,
    plot_latents,
    plot_loadings,
    plot_reconstructions,
    plot_traversals,
)

RNG = np.random.default_rng(0)
GREY = RNG.uniform(1, 3, size=(2, 3, 4, 5))  # rows, columns, height, width


@pytest.fixture(scope="module")
def views():
    return mv.datasets.make_multiview(60, (6, 4), random_state=0)


@pytest.fixture(scope="module")
def model(views):
    return mv.MVAE(z_dim=4, max_epochs=3, random_state=0, verbose=False).fit(views)


@pytest.fixture(autouse=True)
def backend_and_figures_stay():
    before = matplotlib.rcParams["backend"], plt.get_fignums()
    yield
    assert (matplotlib.rcParams["backend"], plt.get_fignums()) == before


def written(ax):
    return {text.get_text(): text.get_position() for text in ax.texts}


# ---- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (GREY, {}),
        (list(GREY), {}),
        (GREY.reshape(2, 3, 1, 4, 5), {}),
        (GREY.reshape(2, 3, 20), {"shape": (4, 5)}),
        (GREY.reshape(2, 3, 20), {"shape": (1, 4, 5)}),
    ],
    ids=["array", "rows", "one channel", "flat", "flat with a channel"],
)
def test_each_image_is_in_its_cell(images, settings):
    mosaic = np.ma.filled(plot_images(images, **settings).images[0].get_array(), np.nan)
    assert mosaic.shape == (2 * 4 + 1, 3 * 5 + 2)
    for row in range(2):
        for column in range(3):
            cell = mosaic[row * 5 : row * 5 + 4, column * 6 : column * 6 + 5]
            np.testing.assert_allclose(cell, (GREY[row, column] - GREY.min()) / np.ptp(GREY))
    assert np.isnan(mosaic[4]).all()
    assert np.isnan(mosaic[:, [5, 11]]).all()


def test_flat_images_are_square():
    ax = plot_images([[np.arange(9.0)]])
    np.testing.assert_allclose(ax.images[0].get_array(), np.arange(9).reshape(3, 3) / 8)


def test_limits_are_the_ends_of_the_scale():
    ax = plot_images([[[[-1.0, 0.0, 0.25, 1.0, 4.0]]]], limits=(0, 1))
    np.testing.assert_allclose(ax.images[0].get_array(), [[0, 0, 0.25, 1, 1]])
    assert ax.images[0].get_clim() == (0, 1)


def test_constant_images_are_drawn():
    np.testing.assert_allclose(plot_images(np.full((1, 1, 2, 2), 7.0)).images[0].get_array(), 0)


def test_missing_images_are_blank():
    images = GREY.copy()
    images[0, 1] = np.nan
    mosaic = plot_images(images).images[0].get_array()
    assert np.ma.getmaskarray(mosaic)[:4, 6:11].all()
    np.testing.assert_allclose(
        mosaic[:4, :5], (GREY[0, 0] - np.nanmin(images)) / (np.nanmax(images) - np.nanmin(images))
    )


def test_colours_keep_their_channels_and_gaps_are_transparent():
    images = RNG.uniform(size=(1, 2, 3, 4, 4))
    rgba = plot_images(images, limits=(0, 1)).images[0].get_array()
    np.testing.assert_allclose(rgba[:, :4, :3], images[0, 0].transpose(1, 2, 0))
    np.testing.assert_allclose(rgba[:, 5:, :3], images[0, 1].transpose(1, 2, 0))
    assert (rgba[:, 4, 3] == 0).all()
    assert (np.delete(rgba, 4, axis=1)[..., 3] == 1).all()


def test_labels_stand_at_the_middle_of_rows_and_columns():
    ax = plot_images(GREY, row_labels=["a", "b"], column_labels=np.arange(3))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    assert list(ax.get_yticks()) == [1.5, 6.5]
    assert list(ax.get_xticks()) == [2, 8, 14]


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (GREY, {"row_labels": ["a"]}, "row_labels has 1 entries, but the grid has 2"),
        (GREY, {"column_labels": "abcd"}, "column_labels has 4 entries, but the grid has 3"),
        (GREY, {"shape": (4, 4)}, r"shape=\(4, 4\), but an image has shape \(4, 5\)"),
        (np.zeros((1, 2, 20)), {}, r"20 features are not square; name their shape="),
        (np.zeros((2, 20)), {}, r"shape \(2, 20\), which should be \(rows, columns"),
        (np.zeros((1, 2, 2, 4, 4)), {}, r"shape \(2, 4, 4\) is neither"),
        ([np.zeros((2, 4)), np.zeros((3, 4))], {}, "as many images as the others"),
        ([], {}, "as many images as the others"),
    ],
)
def test_images_that_are_none(images, settings, message):
    with pytest.raises(ValueError, match=message):
        plot_images(images, **settings)


# ---- latents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, "view_1"])
def test_latents_are_drawn_at_their_principal_components(model, views, given):
    ax = plot_latents(model, views, given=given)
    expected = PCA(2).fit_transform(model.transform(views, given=given))
    drawn = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(np.abs(drawn), np.abs(expected), rtol=1e-3, atol=1e-4)
    assert written(ax) == {}


def test_two_latent_dimensions_are_drawn_as_they_are(views):
    model = mv.MVAE(z_dim=2, max_epochs=1, random_state=0, verbose=False).fit(views)
    ax = plot_latents(model, {name: views.array(name) for name in views})
    np.testing.assert_allclose(ax.collections[0].get_offsets(), model.transform(views), rtol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z0", "z1")


@pytest.mark.parametrize("n_categories", [3, 12])
def test_categories_have_a_colour_each_and_their_name_at_the_median(model, views, n_categories):
    color = np.array([f"site {i % n_categories:02}" for i in range(60)])
    ax = plot_latents(model, views, color=color)
    points = ax.collections[0]
    names = np.unique(color)
    shades = [np.unique(points.get_facecolors()[color == name, :3], axis=0) for name in names]
    assert all(len(shade) == 1 for shade in shades)
    assert len(np.unique(np.concatenate(shades), axis=0)) == n_categories
    if n_categories <= len(PALETTE):
        np.testing.assert_allclose(np.concatenate(shades), to_rgba_array(PALETTE)[:n_categories, :3])
    for name in names:
        median = np.median(np.asarray(points.get_offsets())[color == name], axis=0)
        np.testing.assert_allclose(written(ax)[name], median)


def test_numbers_get_a_colour_bar_and_nan_is_grey(model, views):
    color = np.linspace(-1, 5, 60)
    color[7] = np.nan
    ax = plot_latents(model, views, color=color)
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylim() == (-1, 5)
    shades = ax.collections[0].get_facecolors()[:, :3]
    viridis = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(shades[[0, -1]], [viridis(0.0)[:3], viridis(1.0)[:3]])
    np.testing.assert_allclose(shades[7], 0.8)


def test_images_are_drawn_in_their_colour_at_their_place(model, views):
    images = RNG.uniform(size=(60, 4))
    images[0], images[1] = [0, 0, 0, 1], np.nan
    color = np.arange(60) % 2 == 0
    at = np.asarray(plot_latents(model, views).collections[0].get_offsets())
    ax = plot_latents(model, views, color=color, images=images)
    assert len(ax.images) == 60
    assert not ax.collections
    assert not ax.texts
    for image, (x, y), even in zip(ax.images, at, color, strict=True):
        left, right, bottom, top = image.get_extent()
        np.testing.assert_allclose([(left + right) / 2, (bottom + top) / 2], [x, y], atol=1e-5)
        rgb = to_rgba_array(PALETTE)[int(even), :3]
        np.testing.assert_allclose(image.get_array()[..., :3], np.broadcast_to(rgb, (2, 2, 3)))
        assert ax.get_xlim()[0] < left < right < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < bottom < top < ax.get_ylim()[1]
    np.testing.assert_allclose(ax.images[0].get_array()[..., 3], [[0, 0], [0, 1]])
    np.testing.assert_allclose(ax.images[1].get_array()[..., 3], 0)


def test_axes_that_are_given_are_used(model, views):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_latents(model, views, ax=left) is left
    assert plot_images(GREY, ax=right) is right
    assert figure.axes == [left, right]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"color": np.zeros(59)}, r"color has shape \(59,\), but there are 60 samples"),
        ({"images": np.zeros((3, 4))}, r"images has shape \(3, 4\), but there are 60 samples"),
        ({"images": np.zeros((60, 3, 2, 2))}, "give a grey image for each"),
        ({"color": np.zeros((60, 2))}, r"color has shape \(60, 2\)"),
    ],
)
def test_color_and_images_that_do_not_fit(model, views, settings, message):
    with pytest.raises(ValueError, match=message):
        plot_latents(model, views, **settings)


def test_one_sample_is_drawn(model, views):
    for settings in ({}, {"images": np.ones((1, 4))}):
        ax = plot_latents(model, views[:1], **settings)
        ax.figure.draw_without_rendering()
        assert len(ax.collections) + len(ax.images) == 1


def test_one_latent_dimension_is_refused(views):
    model = mv.MVAE(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(views)
    with pytest.raises(ValueError, match="z_dim=1"):
        plot_latents(model, views)


# ---- history --------------------------------------------------------------------------------------------------------


def test_learning_curves_are_those_of_the_history(model):
    figure = plot_history(model)
    assert [ax.get_title() for ax in figure.axes] == ["loss", "log_lik[view_0]", "log_lik[view_1]", "kl"]
    for ax in figure.axes:
        training, held_out, best = ax.lines
        np.testing.assert_array_equal(training.get_xydata()[:, 0], [1, 2, 3])
        np.testing.assert_array_equal(training.get_ydata(), model.history_[ax.get_title()])
        np.testing.assert_array_equal(held_out.get_ydata(), model.history_[f"val_{ax.get_title()}"])
        assert list(best.get_xdata()) == [model.best_epoch_] * 2


def test_terms_are_chosen_and_need_not_be_held_out(views):
    model = mv.MVAE(z_dim=2, max_epochs=2, validation_fraction=0, random_state=0, verbose=False).fit(views)
    figure = plot_history(model, ["kl", "beta"])
    assert [(ax.get_title(), len(ax.lines)) for ax in figure.axes] == [("kl", 2), ("beta", 2)]


def test_unknown_terms(model):
    with pytest.raises(ValueError, match="no term 'KL'; did you mean 'kl'"):
        plot_history(model, ["KL"])


# ---- generated images -----------------------------------------------------------------------------------------------


QUICK = {"z_dim": 3, "encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def pictures():
    """A view in colour, a grey one, and a flat square; the first sample lacks the second."""
    rng = np.random.default_rng(0)
    data = {
        "photo": rng.uniform(size=(40, 3, 6, 5)),
        "sketch": rng.normal(size=(40, 1, 4, 4)),
        "flat": rng.uniform(size=(40, 9)),
    }
    present = np.ones((40, 3), bool)
    present[0, 1] = False
    return mv.Views(data, present=present)


@pytest.fixture(scope="module")
def painter(pictures):
    return mv.MVAE(**{**QUICK, "encoder": "mlp", "decoder": "mlp"}, verbose=False).fit(pictures)


@pytest.fixture(scope="module")
def squares():
    return mv.Views(a=RNG.uniform(size=(40, 4)), b=RNG.normal(size=(40, 1, 2, 2)))


@pytest.fixture(scope="module")
def square_model(squares):
    return mv.MVAE(**QUICK, verbose=False).fit(squares)


def cells(ax, n_rows, n_columns, height, width):
    """The images that were drawn: (rows, columns, height, width), or with RGBA last."""
    mosaic = np.ma.filled(ax.images[0].get_array(), np.nan)
    grid = [
        [mosaic[i * (height + 1) :, j * (width + 1) :][:height, :width] for j in range(n_columns)]
        for i in range(n_rows)
    ]
    return np.array(grid)


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_traversals_are_what_is_decoded_one_dimension_moved(squares, square_model):
    ax = plot_traversals(square_model, "a", squares, dimensions=[2, 0], n_steps=5, span=1.0)
    z = square_model.transform(squares)
    low, high = squares["a"].min(), squares["a"].max()
    drawn = cells(ax, 2, 5, 2, 2)
    for row, d in enumerate([2, 0]):
        codes = np.tile(z.mean(axis=0), (5, 1))
        codes[:, d] += np.linspace(-1, 1, 5) * z[:, d].std()
        expected = (square_model.decode(codes, "a")["a"].reshape(5, 2, 2) - low) / (high - low)
        np.testing.assert_allclose(drawn[row], expected.clip(0, 1), atol=1e-5)
    assert labels(ax.yaxis) == ["z2", "z0"]
    assert labels(ax.xaxis) == ["−1", "−0.5", "0", "+0.5", "+1"]


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_traversals_without_samples_start_from_the_prior(squares, posterior):
    model = mv.MMVAE(**QUICK, verbose=False, posterior=posterior, learn_prior=True).fit(squares)
    drawn = cells(plot_traversals(model, 0, n_steps=3), 3, 3, 2, 2)
    moved = model.network_.latent.prior.stddev.detach().numpy() * 3
    codes = [sign * move for move in np.diag(moved) for sign in (-1, 0, 1)]
    expected = model.decode(codes, "a")["a"].reshape(3, 3, 2, 2)
    np.testing.assert_allclose(drawn, (expected - expected.min()) / np.ptp(expected), atol=1e-5)


def test_traversals_with_covariates_are_of_their_mean(squares):
    age = np.linspace(20, 80, 40)
    model = mv.MVAE(**QUICK, verbose=False).fit(squares, covariates={"age": age})
    one = plot_traversals(model, "a", n_steps=3, covariates={"age": [50.0]})
    many = plot_traversals(model, "a", n_steps=3, covariates={"age": age})
    np.testing.assert_allclose(cells(one, 3, 3, 2, 2), cells(many, 3, 3, 2, 2), atol=1e-4)
    other = plot_traversals(model, "a", n_steps=3, covariates={"age": [500.0]})
    assert np.abs(cells(one, 3, 3, 2, 2) - cells(other, 3, 3, 2, 2)).max() > 1e-3
    assert plot_traversals(model, "a", squares, covariates={"age": age}).images
    with pytest.raises(ValueError, match="fitted with covariates"):
        plot_traversals(model, "a")


def test_private_latents_of_traversals_are_at_the_priors_mean(squares):
    model = mv.DMVAE(**QUICK, h_dim=2, verbose=False).fit(squares)
    drawn = cells(plot_traversals(model, "b", dimensions=[1], n_steps=2, span=2), 1, 2, 2, 2)
    expected = model.decode([[0, -2, 0], [0, 2, 0]], "b")["b"].reshape(1, 2, 2, 2)
    np.testing.assert_allclose(drawn, (expected - expected.min()) / np.ptp(expected), atol=1e-5)


def test_reconstructions_are_below_the_data(pictures, painter):
    ax = plot_reconstructions(painter, pictures, "sketch", given="photo", n=3)
    data, model = cells(ax, 2, 3, 4, 4)
    rows = pictures[1:4]  # the first sample lacks the view
    low, high = rows["sketch"].min(), rows["sketch"].max()
    np.testing.assert_allclose(data, (rows["sketch"][:, 0] - low) / (high - low), atol=1e-6)
    expected = painter.predict(rows, given="photo", target="sketch")["sketch"][:, 0]
    np.testing.assert_allclose(model, ((expected - low) / (high - low)).clip(0, 1), atol=1e-5)
    assert labels(ax.yaxis) == ["data", "model"]
    colours = plot_reconstructions(painter, pictures, "photo", n=2)
    assert cells(colours, 2, 2, 6, 5).shape == (2, 2, 6, 5, 4)


def test_any_to_any_is_what_is_predicted_from_each_view(squares, square_model):
    ax = plot_any_to_any(square_model, squares, sample=7)
    drawn = cells(ax, 3, 2, 2, 2)
    for column, name in enumerate("ab"):
        low, high = squares[name].min(), squares[name].max()
        images = [squares[name][7], *(square_model.predict(squares, given=g)[name][7] for g in "ab")]
        expected = (np.stack([image.reshape(2, 2) for image in images]) - low) / (high - low)
        np.testing.assert_allclose(drawn[:, column], expected.clip(0, 1), atol=1e-5)
    assert labels(ax.yaxis) == ["sample", "from a", "from b"]
    assert labels(ax.xaxis) == ["a", "b"]
    last = cells(plot_any_to_any(square_model, squares, sample=-33), 3, 2, 2, 2)
    np.testing.assert_array_equal(last, drawn)


def test_any_to_any_of_colours_grey_and_flat_images(pictures, painter):
    drawn = cells(plot_any_to_any(painter, pictures, sample=5), 4, 3, 6, 5)
    low, high = pictures["photo"].min(), pictures["photo"].max()
    expected = (pictures["photo"][5].transpose(1, 2, 0) - low) / (high - low)
    np.testing.assert_allclose(drawn[0, 0, ..., :3], expected, atol=1e-6)
    # The grey one, dark on white, is in the middle of its cell: one empty row above and below, one column beside it.
    low, high = np.nanmin(pictures["sketch"]), np.nanmax(pictures["sketch"])
    grey = 1 - (pictures["sketch"][5, 0] - low) / (high - low)
    np.testing.assert_allclose(drawn[0, 1, 1:5, :4, :3], np.repeat(grey[..., None], 3, axis=-1), atol=1e-6)
    assert (drawn[0, 1, [0, 5], :, 3] == 0).all()
    assert (drawn[0, 1, 1:5, :4, 3] == 1).all()


def test_small_images_are_enlarged():
    views = {"large": RNG.uniform(size=(20, 1, 6, 6)), "small": RNG.uniform(size=(20, 4))}
    model = mv.MVAE(**QUICK, verbose=False).fit(views)
    drawn = cells(plot_any_to_any(model, views), 3, 2, 6, 6)[0, 1]
    small = views["small"][0].reshape(2, 2)
    expected = (small - views["small"].min()) / np.ptp(views["small"])
    np.testing.assert_allclose(drawn, np.kron(expected, np.ones((3, 3))), atol=1e-6)


def test_views_that_a_sample_lacks_are_blank_and_have_no_row(pictures, painter):
    ax = plot_any_to_any(painter, pictures, sample=0)
    assert labels(ax.yaxis) == ["sample", "from photo", "from flat"]
    drawn = cells(ax, 3, 3, 6, 5)
    assert (drawn[0, 1, ..., 3] == 0).all()
    assert (drawn[1:, 1, 1:5, :4, 3] == 1).all()


def test_draws_have_a_row_each_and_a_seed(squares, square_model):
    def draw(seed):
        return plot_any_to_any(square_model, squares, n_samples=3, random_state=seed)

    ax = draw(0)
    assert labels(ax.yaxis) == ["sample", "from a", "", "", "from b", "", ""]
    drawn = cells(ax, 7, 2, 2, 2)
    assert np.abs(drawn[1] - drawn[2]).max() > 1e-4
    np.testing.assert_array_equal(drawn, cells(draw(0), 7, 2, 2, 2))
    assert (drawn != cells(draw(1), 7, 2, 2, 2)).any()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m, v: plot_traversals(m, "view_0"), "view 'view_0' has 6 features, which make no square image"),
        (lambda m, v: plot_any_to_any(m, v), "view 'view_0' has 6 features, which make no square image"),
        (lambda m, v: plot_reconstructions(m, v, "view_0"), "view 'view_0' has 6 features, which make no square image"),
        (lambda m, v: plot_traversals(m, "view_0", shape=(2, 2)), r"shape=\(2, 2\), but view 'view_0' has 6 features"),
        (lambda m, v: plot_traversals(m, "view_0", shape=(1, 1, 2, 3)), "holds no images"),
        (lambda m, v: plot_traversals(m, "vew_1"), "view='vew_1'.*did you mean 'view_1'"),
        (lambda m, v: plot_traversals(m, ["view_1"]), "name one view"),
        (lambda m, v: plot_traversals(m, "view_1", dimensions=[4]), "dimensions: 4 is no latent dimension.* 0 to 3"),
        (lambda m, v: plot_traversals(m, "view_1", dimensions=[]), r"dimensions=\[\]"),
        (lambda m, v: plot_traversals(m, "view_1", n_steps=1), "n_steps=1: give at least 2"),
        (lambda m, v: plot_traversals(m, "view_1", span=0), "span=0"),
        (lambda m, v: plot_reconstructions(m, v.select("view_0"), "view_1"), "no sample has the view 'view_1'"),
        (lambda m, v: plot_reconstructions(m, v, "view_1", n=0), "n=0"),
        (lambda m, v: plot_fusion(m, v, sample=60), "sample=60: .* 60 samples, 0 to 59"),
        (lambda m, v: plot_fusion(m, v, sample=1.5), "sample=1.5"),
        (lambda m, v: plot_fusion(m, v, dimension=-1), "dimension: -1"),
    ],
)
def test_what_cannot_be_drawn(model, views, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(model, views)


def test_shapes_can_be_named(model, views):
    assert plot_traversals(model, "view_0", shape=(2, 3), n_steps=2).images
    assert plot_reconstructions(model, views, "view_0", shape=(1, 3, 2)).images


def test_models_without_a_prior_need_samples_to_start_from(squares):
    model = mv.AE(**QUICK, verbose=False).fit(squares)
    with pytest.raises(ValueError, match="AE has no prior here to start from; give views="):
        plot_traversals(model, "a")
    assert plot_traversals(model, "a", squares).images


# ---- fusion ---------------------------------------------------------------------------------------------------------


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def normal(x, loc, scale):
    return np.exp(-0.5 * ((x - loc) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))


def test_curves_are_the_densities_of_prior_views_and_product(model, views):
    ax = plot_fusion(model, views, sample=4, dimension=2)
    drawn = curves(ax)
    assert list(drawn) == ["prior", "view_0", "view_1", "joint posterior"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(drawn)
    x = drawn["prior"][:, 0]
    parts = []
    for name, view, encoder in zip(views.names, model.views_, model.network_.encoders, strict=True):
        x_m = torch.from_numpy((views[name][4:5] - view.loc) / view.scale).float()
        parts.append(encoder(x_m).detach().numpy().reshape(2, 4))  # means and log-variances
    loc, scale = np.stack(parts, axis=1)
    scale = np.exp(scale / 2)
    np.testing.assert_allclose(drawn["prior"][:, 1], normal(x, 0, 1), atol=1e-6)
    for m in range(2):
        np.testing.assert_allclose(drawn[f"view_{m}"][:, 1], normal(x, loc[m, 2], scale[m, 2]), atol=1e-4)
    precision = 1 + (scale[:, 2] ** -2).sum()  # of the product, the prior a factor
    mean = (loc[:, 2] / scale[:, 2] ** 2).sum() / precision
    np.testing.assert_allclose(drawn["joint posterior"][:, 1], normal(x, mean, precision**-0.5), atol=1e-4)
    for xy in drawn.values():
        assert np.trapezoid(xy[:, 1], xy[:, 0]) == pytest.approx(1, abs=1e-3)
    styles = [line.get_linestyle() for line in ax.lines]
    assert (styles[0], styles[-1]) == (":", "-")
    assert styles[1] == styles[2] == "--"
    assert ax.lines[-1].get_linewidth() > max(line.get_linewidth() for line in ax.lines[:-1])


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_a_mixture_is_drawn_as_the_mean_of_its_parts(views, posterior):
    model = mv.MMVAE(**QUICK, posterior=posterior, learn_prior=True, verbose=False).fit(views)
    drawn = curves(plot_fusion(model, views, sample=1, dimension=1))
    mean = (drawn["view_0"][:, 1] + drawn["view_1"][:, 1]) / 2
    np.testing.assert_allclose(drawn["joint posterior"][:, 1], mean, atol=1e-5)
    x = torch.from_numpy(drawn["prior"][:, 0])
    prior = model.network_.latent.prior.base_dist
    density = type(prior)(0.0, prior.scale[1].detach()).log_prob(x).exp()
    np.testing.assert_allclose(drawn["prior"][:, 1], density, atol=1e-5)


def test_a_missing_view_has_no_curve(model, views):
    one = {"view_0": views["view_0"], "view_1": None}
    assert list(curves(plot_fusion(model, one))) == ["prior", "view_0", "joint posterior"]
    present = np.ones((60, 2), bool)
    present[3] = [False, True]
    some = mv.Views(views, present=present)
    mixture = mv.MMVAE(**QUICK, verbose=False).fit(some)
    drawn = curves(plot_fusion(mixture, some, sample=3))
    assert list(drawn) == ["prior", "view_1", "joint posterior"]
    np.testing.assert_allclose(drawn["joint posterior"], drawn["view_1"], atol=1e-6)


def test_a_joint_encoder_is_the_joint_posterior(views):
    for alpha, names in [(0.1, ["view_0", "view_1"]), (0, [])]:
        model = mv.JMVAE(**QUICK, alpha=alpha, verbose=False).fit(views)
        drawn = curves(plot_fusion(model, views))
        assert list(drawn) == ["prior", *names, "joint posterior"]
        xy = drawn["joint posterior"]
        mean = np.trapezoid(xy[:, 0] * xy[:, 1], xy[:, 0])
        assert mean == pytest.approx(model.transform(views)[0, 0], abs=1e-2)


@pytest.mark.parametrize(("Model", "settings"), [("AE", {}), ("DCCA", {}), ("MAAE", {}), ("MCVAE", {"sparse": True})])
def test_models_without_densities(views, Model, settings):
    model = getattr(mv, Model)(**QUICK, **settings, verbose=False).fit(views)
    with pytest.raises(ValueError, match=f"{Model} states no densities of z"):
        plot_fusion(model, views)


# ---- loadings -------------------------------------------------------------------------------------------------------


def test_bars_are_the_largest_loadings_with_their_intervals():
    table = pd.DataFrame({"z0": [0.1, -3.0, 2.0, np.nan], "z1": [1.0, 0, 0, 0]}, index=["a", "b", "c", "d"])
    found = Loadings({"genes": table}, {"genes": table - 0.5}, {"genes": table + 1})
    ax = plot_loadings(found, "genes", n_features=2)
    # The farthest is on top: last.
    assert [bar.get_width() for bar in ax.patches] == [2.0, -3.0]
    assert labels(ax.yaxis) == ["c", "b"]
    (intervals,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in intervals.get_segments()]
    assert ends == [[1.5, 3.0], [-3.5, -2.0]]
    assert ax.get_title() == "genes"
    other = plot_loadings(Loadings({"genes": table}), "genes", 1)
    assert not other.collections
    assert labels(other.yaxis)[-1] == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gene",), "view='gene': there are no loadings of it; did you mean 'genes'"),
        (("genes", 2), "dimension=2"),
        (("genes", 0, 0), "n_features=0"),
    ],
)
def test_loadings_that_are_not_there(arguments, message):
    found = Loadings({"genes": pd.DataFrame({"z0": [0.1], "z1": [1.0]})})
    view, dimension, n = [*arguments, *(0, 10)[len(arguments) - 1 :]]
    with pytest.raises(ValueError, match=message):
        plot_loadings(found, view, dimension, n_features=n)


# ---- cross prediction -----------------------------------------------------------------------------------------------


def test_cells_are_r_squared_or_accuracy():
    digits = mv.datasets.load_digits()[:300]
    data = {"image": digits["image"][:, ::3], "label": digits["label"], "zero": np.zeros((300, 2))}
    data["zero"][0] = 1e-3
    data["zero"][0, 1] = 2
    model = mv.MVAE(**QUICK, likelihood={"zero": "normal"}, verbose=False).fit(data)
    ax = plot_cross_prediction(model, data)
    values = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert values.shape == (4, 3)
    x, view = data["image"], model.views_[0]
    predicted = model.predict(data, given="label", target="image")["image"]
    errors = (((x - predicted) / view.scale) ** 2).sum(), (((x - view.loc) / view.scale) ** 2).sum()
    assert values[1, 0] == pytest.approx(1 - errors[0] / errors[1], abs=1e-4)
    right = model.predict(data, given=["image", "zero"])["label"].argmax(1) == data["label"].argmax(1)
    assert values[3, 1] == pytest.approx(right.mean())
    told = [text.get_text() for text in ax.texts]
    assert told == [f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−") for value in values.ravel()]
    assert labels(ax.yaxis) == ["image", "label", "zero", "all others"]
    assert labels(ax.xaxis) == ["image", "label *", "zero"]
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "R², or accuracy (*)"


def test_numbers_stand_out_from_their_cells(model, views):
    ax = plot_cross_prediction(model, views)
    values = ax.images[0].get_array().ravel()
    shades = ax.images[0].to_rgba(values)[:, :3] @ [0.2126, 0.7152, 0.0722]
    for text, shade in zip(ax.texts, shades, strict=True):
        assert text.get_color() == ("white" if shade < 0.45 else "black")
    assert labels(ax.yaxis) == ["view_0", "view_1"]


def test_cells_without_samples_have_a_dash(model, views):
    ax = plot_cross_prediction(model, {"view_0": views["view_0"], "view_1": None})
    assert [text.get_text() for text in ax.texts][1:] == ["–"] * 3
    assert [text.get_color() for text in ax.texts][1:] == ["black"] * 3


def test_covariates_reach_every_picture(squares):
    about = {"age": np.linspace(20, 80, 40)}
    model = mv.MVAE(**QUICK, verbose=False).fit(squares, covariates=about)
    for draw in (
        lambda **c: plot_reconstructions(model, squares, "a", **c),
        lambda **c: plot_any_to_any(model, squares, **c),
        lambda **c: plot_fusion(model, squares, **c),
        lambda **c: plot_cross_prediction(model, squares, **c),
    ):
        assert draw(covariates=about).figure
        with pytest.raises(ValueError, match="fitted with covariates"):
            draw()


def test_new_pictures_are_drawn_on_axes_that_are_given(squares, square_model):
    figure = Figure()
    found = mv.metrics.loadings(square_model, squares)
    axes = list(figure.subplots(2, 3).flat)
    drawn = [
        plot_traversals(square_model, "a", ax=axes[0]),
        plot_reconstructions(square_model, squares, "a", ax=axes[1]),
        plot_any_to_any(square_model, squares, ax=axes[2]),
        plot_fusion(square_model, squares, ax=axes[3]),
        plot_loadings(found, "a", ax=axes[4]),
        plot_cross_prediction(square_model, squares, ax=axes[5]),
    ]
    assert drawn == axes
    figure.draw_without_rendering()


# ---- all ------------------------------------------------------------------------------------------------------------


def test_without_matplotlib_the_message_names_the_extra(model, views, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (
        lambda: plot_images(GREY),
        lambda: plot_latents(model, views),
        lambda: plot_history(model),
        lambda: plot_traversals(model, "view_1"),
        lambda: plot_reconstructions(model, views, "view_1"),
        lambda: plot_fusion(model, views),
        lambda: plot_cross_prediction(model, views),
        lambda: plot_loadings(mv.metrics.loadings(model, views), "view_1"),
    ):
        with pytest.raises(ImportError, match=r"pip install \"manyview\[plot\]\""):
            draw()


def test_pictures_are_saved_by_their_figures(model, views, tmp_path):
    for i, figure in enumerate([plot_images(GREY).figure, plot_latents(model, views).figure, plot_history(model)]):
        figure.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").read_bytes().startswith(b"\x89PNG")
