"""Pictures: what is drawn is what was given, checked against the data and against scikit-learn's PCA."""

import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

import manyview as mv
from manyview.plotting import PALETTE, plot_history, plot_images, plot_latents

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


# ---- all ------------------------------------------------------------------------------------------------------------


def test_without_matplotlib_the_message_names_the_extra(model, views, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda: plot_images(GREY), lambda: plot_latents(model, views), lambda: plot_history(model)):
        with pytest.raises(ImportError, match=r"pip install \"manyview\[plot\]\""):
            draw()


def test_pictures_are_saved_by_their_figures(model, views, tmp_path):
    for i, figure in enumerate([plot_images(GREY).figure, plot_latents(model, views).figure, plot_history(model)]):
        figure.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").read_bytes().startswith(b"\x89PNG")
