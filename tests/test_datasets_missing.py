"""Views go missing as stated: how many, of which samples, and depending on what; and nothing else changes.

What missingness depends on is proven of ``make_multiview``, which removes views by the same code, in test_datasets;
here that ``remove`` is that code, and what is peculiar to data that are real: gaps that were there before, features
that do not vary, DataFrames, shares by view, blocks.
"""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from manyview.data import Views
from manyview.datasets import make_multiview, missing, remove, simulated

MECHANISMS = ("mcar", "mar", "mnar", "view", "block")


def complete(n=600, n_views=3, seed=0):
    return make_multiview(n, (2,) * n_views, random_state=seed)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_simulations_lose_views_by_the_same_code(mechanism, monkeypatch):
    states = []

    def spy(views, share, mechanism, rng, argument):
        states.append(rng.get_state())
        return missing.removed(views, share, mechanism, rng, argument)

    monkeypatch.setattr(simulated, "removed", spy)
    gaps = make_multiview(50, (2, 3), missing=0.3, mechanism=mechanism, random_state=5)
    rng = np.random.RandomState(0)
    rng.set_state(states[0])
    removed = remove(make_multiview(50, (2, 3), random_state=5), 0.3, mechanism, random_state=rng)
    assert not removed.present.all()
    for name in gaps:
        np.testing.assert_array_equal(removed.array(name), gaps.array(name))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_whole_views_go_and_nothing_else_changes(mechanism):
    views = complete()
    before = {name: views.array(name).copy() for name in views}
    removed = remove(views, 0.3, mechanism, random_state=0)
    assert removed.present.any(axis=1).all()
    assert 0.2 < 1 - removed.present.mean() <= 0.36
    for m, name in enumerate(views):
        left = removed.present[:, m]
        np.testing.assert_array_equal(removed.array(name)[left], before[name][left])
        assert np.isnan(removed.array(name)[~left]).all()
        np.testing.assert_array_equal(views.array(name), before[name])


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_seed_decides(mechanism):
    views = complete()
    first, same, other = (remove(views, 0.3, mechanism, random_state=seed).present for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    remove(views, 0.3, mechanism, random_state=3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_nothing_is_removed_by_a_share_of_zero(mechanism):
    assert remove(complete(), 0.0, mechanism, random_state=0).present.all()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_was_missing_stays_so_and_every_sample_keeps_a_view(mechanism):
    views = complete(3000)
    had = np.random.default_rng(0).uniform(size=(3000, 3)) < 0.7
    views = Views(views, present=had)
    present = remove(views, 0.25, mechanism, random_state=0).present
    assert not (present & ~had).any()
    np.testing.assert_array_equal(present.any(axis=1), had.any(axis=1))
    spared = (had.any(axis=1) & (present.sum(axis=1) == 1)).sum() / had.sum()  # at most these got one back
    error = 4 * np.sqrt(0.25 * 0.75 / had.sum())
    assert 0.25 - spared - error < 1 - present.sum() / had.sum() < 0.25 + error


def test_a_sample_gets_back_any_of_the_views_it_had():
    had = np.array([[False, True, True, True]] * 9000)
    views = Views(complete(9000, 4), present=had)
    present = remove(views, 0.95, "mcar", random_state=0).present
    only = present[present.sum(axis=1) == 1]
    counts = only.sum(axis=0)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


# ---- by view --------------------------------------------------------------------------------------------------------


def test_by_view_each_loses_its_share_exactly():
    views = complete(500)
    removed = remove(views, {"view_1": 0.31, "view_2": 0.6}, "view", random_state=0)
    np.testing.assert_array_equal(500 - removed.present.sum(axis=0), [0, 155, 300])
    both = (~removed.present[:, 1] & ~removed.present[:, 2]).mean()
    assert both == pytest.approx(0.31 * 0.6, abs=4 * np.sqrt(0.186 * 0.814 / 500))  # independently of each other
    had = np.ones((500, 3), dtype=bool)
    had[:100, 1] = False
    again = remove(Views(views, present=had), {"view_1": 0.5}, "view", random_state=0)
    np.testing.assert_array_equal(again.present.sum(axis=0), [500, 200, 500])


def test_by_view_one_share_serves_all():
    removed = remove(complete(400, 5), 0.1, "view", random_state=0)
    np.testing.assert_array_equal((~removed.present).sum(axis=0), [40] * 5)


# ---- in blocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_views", "fraction"), list(product([2, 3, 4], [0.1, 0.25])))
def test_small_blocks_lack_one_view_each(n_views, fraction):
    gone = ~remove(complete(400, n_views), fraction, "block", random_state=0).present
    np.testing.assert_array_equal(gone.sum(axis=0), [round(400 * fraction)] * n_views)
    assert gone.sum(axis=1).max() == 1


def test_large_blocks_overlap_and_leave_each_sample_a_view():
    gone = ~remove(complete(600, 3), 0.5, "block", random_state=0).present
    np.testing.assert_array_equal(gone.sum(axis=0), [300] * 3)
    patterns, counts = np.unique(gone, axis=0, return_counts=True)
    assert len(patterns) == 6  # one or two lacking: blocks, rather than all patterns at random
    np.testing.assert_array_equal(counts, [100] * 6)  # arcs of half the circle that start at its thirds
    gone = ~remove(complete(600, 3), 2 / 3, "block", random_state=0).present
    np.testing.assert_array_equal(gone.sum(axis=1), 2)


def test_blocks_are_of_samples_at_random():
    gone = ~remove(complete(2000, 2), 0.5, "block", random_state=0).present[:, 0]
    runs = (np.diff(gone.astype(int)) != 0).sum()
    assert runs == pytest.approx(1000, abs=4 * np.sqrt(500))


def test_blocks_of_numbers_that_do_not_divide():
    for n, n_views in ((7, 3), (10, 4), (1, 2), (5, 5)):
        views = make_multiview(n, (2,) * n_views, random_state=0)
        assert remove(views, 1 - 1 / n_views, "block", random_state=0).present.any(axis=1).all()


# ---- real data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mechanism", "cause"), [("mar", 0), ("mnar", 1)])
def test_missingness_depends_on_the_first_feature_that_varies(mechanism, cause):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4000, 2, 2))
    x[:, :, 0] = 0.1  # as the margins of images
    x[1, :100] = np.nan  # already gone
    views = Views(a=x[0], b=x[1])
    gone = views.present[:, 1] & ~remove(views, 0.2, mechanism, random_state=0).present[:, 1]
    there = views.present[:, 1]
    score = x[cause, there, 1, 0]
    others = np.stack([x[1 - cause, there, 1, 0], x[0, there, 1, 1], x[1, there, 1, 1]])
    large, small = gone[there][score > 0].mean(), gone[there][score < 0].mean()
    assert large > 3 * small > 0
    for other in others:
        chance = 4 * np.sqrt(2 * 0.25 / len(other)) + 0.02
        assert abs(gone[there][other > 0].mean() - gone[there][other < 0].mean()) < chance


def test_without_a_feature_that_varies_it_is_chance():
    views = Views(a=np.full((2000, 3), 0.1, np.float32), b=np.ones((2000, 1)), c=np.zeros((2000, 1)))
    gone = ~remove(views, 0.2, "mnar", random_state=0).present
    np.testing.assert_allclose(gone.mean(axis=0), 0.2, atol=4 * np.sqrt(0.16 / 2000))


def test_containers_and_labels_are_kept():
    index = pd.Index(["p", "q", "r", "s"], name="id")
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": 0.0}, index=index)
    removed = remove({"a": frame, "b": frame * 2}, {"b": 0.5}, "view", random_state=0)
    assert isinstance(removed, Views)
    pd.testing.assert_frame_equal(removed["a"], frame)
    pd.testing.assert_index_equal(removed["b"].index, index)
    assert removed["b"].isna().all(axis=1).sum() == 2


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "mechanism", "message"),
    [
        (0.3, "mcr", r"mechanism='mcr' is unknown; did you mean 'mcar'\? Allowed: 'mcar', 'mar', 'mnar', 'view', 'bl"),
        (1.0, "mcar", r"fraction=1.0: the share of missing entries must be in \[0, 1\)"),
        (-0.1, "view", r"fraction=-0.1: the share"),
        (float("nan"), "mcar", r"fraction=nan: the share"),
        ({"view_0": 1.2}, "view", "the share of missing entries"),
        ({"view_3": 0.2}, "view", "fraction: there is no view 'view_3'; did you mean 'view_"),
        ({"view_0": 0.2}, "mnar", "shares by view go with mechanism='view'; give one number for 'mnar'"),
        (0.67, "mar", r"view_0 is always observed, .* below \(M - 1\) / M = 0.667 for M=3; lower it, or add views"),
        (0.67, "block", r"no sample is to lose all views, .* at most \(M - 1\) / M = 0.667 for M=3"),
    ],
)
def test_shares_that_cannot_be_removed(fraction, mechanism, message):
    with pytest.raises(ValueError, match=message):
        remove(complete(20), fraction, mechanism)


def test_under_mar_the_others_must_have_enough_to_lose():
    had = np.ones((5000, 2), dtype=bool)
    had[1000:, 1] = False
    views = Views(complete(5000, 2), present=had)
    with pytest.raises(ValueError, match=r"below the share of the other views = 0\.167 for M=2"):
        remove(views, 0.2, "mar")
    lost = had.sum() - remove(views, 0.1, "mar", random_state=0).present.sum()
    assert lost == pytest.approx(600, abs=4 * np.sqrt(1000 * 0.24))  # a tenth of 6,000: 600 of the 1,000 that can go
