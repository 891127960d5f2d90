"""Simulated data are what they say they are, and real ones arrive as they should.

Proven of the simulations: variances, shared and private factors, shares of missing entries, and what missingness
depends on (logistic regressions with standard errors); of the linear-Gaussian model, its evidence and posterior.
"""

import gzip
import io
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import block_diag
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manyview.data import Views
from manyview.datasets import fetch_mfeat, load_digits, make_linear_gaussian, make_multiview, real

# ---- real data ------------------------------------------------------------------------------------------------------


def test_digits():
    views = load_digits()
    image, label = views.array("image"), views.array("label")
    assert views.names == ("image", "label")
    assert image.shape == (1797, 64)
    assert label.shape == (1797, 10)
    assert image.dtype == label.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_array_equal(label.sum(1), 1)
    assert set(np.unique(label)) == {0, 1}
    np.testing.assert_array_equal(label.sum(0), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert label[:10].argmax(1).tolist() == list(range(10))
    assert views.present.all()
    load_digits().array("image")[:] = 0
    assert load_digits().array("image").max() == 1


WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}
DIGITS = np.repeat(np.arange(10), 200)


@pytest.fixture(scope="module")
def numerals():
    """Numbers of the right shapes, whose rows resemble others of their digit; halves, which text holds exactly."""
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(-9, 9, size=(10, width))[DIGITS] + rng.integers(-9, 9, size=(2000, width)) / 2
        for name, width in WIDTHS.items()
    }


def as_text(rows):
    return "".join(f"  {'  '.join(map(str, row))}\n" for row in rows.tolist()).encode()


def as_table(rows, digits=DIGITS):
    header = [*range(rows.shape[1]), 0]
    lines = [header, *([*row, digit] for row, digit in zip(rows.tolist(), digits.tolist(), strict=True))]
    return gzip.compress("".join(f"{','.join(map(str, line))}\n" for line in lines).encode(), compresslevel=1)


def as_archive(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mfeat.info", "about the data")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def forms(numerals):
    """The same data as files of each form: their names and contents."""
    text = {f"mfeat-{name}": as_text(rows) for name, rows in numerals.items()}
    return {
        "text": text,
        "tables": {f"mfeat-{name}.csv.gz": as_table(rows) for name, rows in numerals.items()},
        "archive": {"multiple+features.zip": as_archive(text)},
    }


def lay(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def assert_are(views, numerals):
    assert views.names == tuple(WIDTHS)
    for name, rows in numerals.items():
        assert views.array(name).dtype == np.float32
        np.testing.assert_array_equal(views.array(name), rows)


@pytest.mark.parametrize(
    ("form", "place"), [("text", "mfeat"), ("tables", "mfeat"), ("archive", "mfeat"), ("tables", "."), ("archive", ".")]
)
def test_mfeat_is_read_in_each_form_without_pooch(form, place, forms, numerals, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    lay(tmp_path / place, forms[form])
    views, labels = fetch_mfeat(tmp_path, return_labels=True)
    assert_are(views, numerals)
    np.testing.assert_array_equal(labels, DIGITS)
    labels[:] = 0
    assert real.MFEAT_LABELS[-1] == 9


def test_mfeat_is_found_by_the_environment(forms, numerals, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setenv("MANYVIEW_DATA", str(tmp_path))
    lay(tmp_path / "mfeat", forms["text"])
    assert_are(fetch_mfeat(download_if_missing=False), numerals)
    with pytest.raises(FileNotFoundError, match="elsewhere"):  # data_home comes first
        fetch_mfeat(tmp_path / "elsewhere", download_if_missing=False)


def test_mfeat_says_what_to_do_without_data(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("MANYVIEW_DATA", raising=False)
    for home in (None, tmp_path):
        with pytest.raises(ImportError, match=r'pip install "manyview\[datasets\]".* data_home .* MANYVIEW_DATA'):
            fetch_mfeat(home)
    with pytest.raises(FileNotFoundError, match=r"nor its folder mfeat has multiple\+features.zip, mfeat-fou or"):
        fetch_mfeat(tmp_path, download_if_missing=False)
    assert not any(tmp_path.iterdir())


def shuffled(x):
    return np.random.default_rng(1).permutation(x)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("mfeat-fou", lambda x: as_text(x[:-1]), r"mfeat-fou: .*\(1999, 76\), but this data set has \(2000, 76\)"),
        ("mfeat-fou", lambda x: as_text(x[:, 1:]), r"mfeat-fou: .*\(2000, 75\), but this data set has \(2000, 76\)"),
        ("mfeat-fou", lambda x: as_text(np.where(x == x.max(), np.nan, x)), "all finite"),
        ("mfeat-fou", lambda x: as_text(shuffled(x)), "mfeat-fou: its rows are not 200 of each digit, in the order"),
        ("mfeat-fou", lambda x: as_text(x)[:-4] + b"what", "mfeat-fou cannot be read: .*what"),
        ("mfeat-fou", lambda x: b"<html>Not now</html>", "mfeat-fou cannot be read"),
        ("mfeat-fou.csv.gz", as_text, "mfeat-fou.csv.gz cannot be read"),
        ("mfeat-fou.csv.gz", lambda x: as_table(x)[:-1000], "mfeat-fou.csv.gz cannot be read"),
        ("mfeat-fou.csv.gz", lambda x: as_table(x[:, 1:]), r"fou.csv.gz: .*\(2000, 76\), but .* has \(2000, 77\)"),
        ("mfeat-fou.csv.gz", lambda x: as_table(x, DIGITS[::-1]), "fou.csv.gz: its rows are not 200 of each digit"),
        ("multiple+features.zip", lambda x: b"<html>Not now</html>", "zip is no archive: .*; delete it"),
    ],
)
def test_what_is_not_mfeat_is_refused(name, spoil, message, numerals, tmp_path):
    lay(tmp_path, {name: spoil(numerals["fou"])})
    with pytest.raises(ValueError, match=message):
        fetch_mfeat(tmp_path)


@pytest.mark.parametrize("name", WIDTHS)
def test_each_view_of_mfeat_is_checked(name, forms, numerals, tmp_path):
    lay(tmp_path, forms["text"] | {f"mfeat-{name}": as_text(shuffled(numerals[name]))})
    with pytest.raises(ValueError, match=f"mfeat-{name}: its rows"):
        fetch_mfeat(tmp_path)


@pytest.mark.parametrize("form", ["text", "archive"])
def test_a_lacking_file_of_mfeat_is_named(form, forms, tmp_path):
    files = {name: content for name, content in forms["text"].items() if name != "mfeat-fac"}
    lay(tmp_path, files if form == "text" else {"multiple+features.zip": as_archive(files)})
    with pytest.raises(FileNotFoundError, match="lacks mfeat-fac "):
        fetch_mfeat(tmp_path)


def test_mfeat_is_downloaded_once_and_kept(forms, numerals, tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("MANYVIEW_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    lay(tmp_path / "web", forms["archive"])
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "web"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(real, "MFEAT_URL", f"http://127.0.0.1:{server.server_port}/multiple+features.zip")
    try:
        assert_are(fetch_mfeat(), numerals)
        assert_are(fetch_mfeat(), numerals)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["/multiple+features.zip"]
    kept = tmp_path / "cache" / "manyview" / "mfeat" / "multiple+features.zip"
    assert kept.read_bytes() == forms["archive"]["multiple+features.zip"]


def test_mfeat_comes_from_its_repository():
    assert real.MFEAT_URL == "https://archive.ics.uci.edu/static/public/72/multiple+features.zip"


@pytest.fixture(scope="module")
def mfeat():
    """The real data, where they are."""
    try:
        return fetch_mfeat(download_if_missing=False, return_labels=True)
    except (FileNotFoundError, ImportError) as reason:
        pytest.skip(str(reason))


def test_the_real_mfeat(mfeat):
    views, labels = mfeat
    assert views.shapes == {name: (width,) for name, width in WIDTHS.items()}
    assert views.present.all()
    np.testing.assert_array_equal(labels, DIGITS)
    pixels = views.array("pix")
    assert set(np.unique(pixels)) == set(range(7))
    # rows of 15: neighbours in a picture are alike, and across the wrong width they are not
    for across, alike in ((15, True), (16, False)):
        picture = pixels[:, : 240 // across * across].reshape(2000, -1, across)
        below = np.corrcoef(picture[:, 1:].ravel(), picture[:, :-1].ravel())[0, 1]
        assert (below > 0.7) == alike


def test_the_real_mfeat_tells_digits_apart(mfeat):
    views, labels = mfeat
    x = np.hstack([views.array(name) for name in views])
    classifier = make_pipeline(StandardScaler(), PCA(10, random_state=0), KNeighborsClassifier(5))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    assert cross_val_score(classifier, x, labels, cv=folds).mean() == pytest.approx(0.97, abs=0.01)


# ---- simulated factors ----------------------------------------------------------------------------------------------


def test_shapes_names_and_factors():
    views, factors = make_multiview(30, (5, 1, 7), n_shared=3, n_private=2, return_factors=True, random_state=0)
    assert isinstance(views, Views)
    assert views.shapes == {"view_0": (5,), "view_1": (1,), "view_2": (7,)}
    assert len(views) == 30
    assert {name: x.shape for name, x in factors.items()} == {
        "shared": (30, 3),
        **{f"private_{m}": (30, 2) for m in range(3)},
    }
    assert isinstance(make_multiview(10, random_state=0), Views)


def test_the_seed_decides_everything():
    def draw(seed, **options):
        return make_multiview(40, (3, 2), missing=0.3, random_state=seed, **options)

    one, same, other = draw(0), draw(0), draw(1)
    for name in one:
        np.testing.assert_array_equal(one.array(name), same.array(name))
        assert not np.array_equal(one.array(name), other.array(name), equal_nan=True)
    stream = np.random.RandomState(0)
    assert not np.array_equal(draw(stream).array("view_0"), draw(stream).array("view_0"), equal_nan=True)
    np.testing.assert_array_equal(draw(np.random.RandomState(0)).array("view_0"), one.array("view_0"))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    with_factors, _ = draw(0, return_factors=True)
    np.testing.assert_array_equal(with_factors.array("view_1"), one.array("view_1"))


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("n_shared", "n_private"), [(2, 0), (1, 3), (0, 2)])
def test_variances(noise, n_shared, n_private):
    views = make_multiview(20_000, (4, 6), n_shared=n_shared, n_private=n_private, noise=noise, random_state=0)
    for name in views:
        x = views.array(name).astype(float)
        # the standard error of a normal variance is sqrt(2 / n): 1 % of it
        np.testing.assert_allclose(x.var(axis=0), 1 + noise**2, rtol=0.05)
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.05)


def test_what_is_left_after_the_factors_is_noise():
    views, factors = make_multiview(
        5000, (4, 6), n_shared=2, n_private=1, noise=0.5, return_factors=True, random_state=0
    )
    for m, name in enumerate(views):
        x = views.array(name).astype(float)
        own = np.hstack([factors["shared"], factors[f"private_{m}"]])
        residual = x - LinearRegression().fit(own, x).predict(own)
        np.testing.assert_allclose(residual.std(axis=0), 0.5, rtol=0.05)
        assert all(stats.kstest(column / 0.5, "norm").pvalue > 1e-4 for column in residual.T)
        covariance = np.corrcoef(residual.T)
        assert np.abs(covariance - np.eye(len(covariance))).max() < 0.06
        # the other view's private factor explains nothing
        other = factors[f"private_{1 - m}"]
        assert LinearRegression().fit(other, x).score(other, x) < 0.01
        # the shared ones and its own explain more than the shared ones alone
        shared = LinearRegression().fit(factors["shared"], x).score(factors["shared"], x)
        assert 0.02 < shared < LinearRegression().fit(own, x).score(own, x) - 0.02


def test_factors_are_standard_normal_and_independent():
    _, factors = make_multiview(5000, (2, 2), n_shared=2, n_private=2, return_factors=True, random_state=0)
    z = np.hstack(list(factors.values()))
    np.testing.assert_allclose(np.cov(z.T), np.eye(6), atol=0.07)
    assert all(stats.kstest(column, "norm").pvalue > 1e-4 for column in z.T)


def test_without_private_factors_views_share_all_their_signal():
    views = make_multiview(2000, (5, 5), n_shared=2, noise=0.0, random_state=0)
    a, b = views.array("view_0"), views.array("view_1")
    assert LinearRegression().fit(a, b).score(a, b) == pytest.approx(1, abs=1e-5)


def test_without_shared_factors_views_are_independent():
    views = make_multiview(5000, (3, 3), n_shared=0, n_private=2, random_state=0)
    a, b = views.array("view_0"), views.array("view_1")
    assert LinearRegression().fit(a, b).score(a, b) < 0.01


def test_a_bent_signal():
    views, factors = make_multiview(
        3000, (6,), n_shared=1, noise=0.0, nonlinear=True, return_factors=True, random_state=0
    )
    x, z = views.array("view_0"), factors["shared"]
    assert np.abs(x).max() <= 1
    # one factor, unit loadings: each feature is tanh(± 1.5 z)
    np.testing.assert_allclose(np.abs(x), np.tanh(1.5 * np.abs(z)) * np.ones((1, 6)), rtol=1e-5, atol=1e-6)


def test_the_defaults_draw_what_they_always_drew():
    views = make_multiview(5, (2, 3), n_shared=1, n_private=1, missing=0.3, random_state=0)
    np.testing.assert_array_equal(
        views.present.T, [[False, True, False, True, True], [True, False, True, False, False]]
    )
    np.testing.assert_allclose(views.array("view_0")[4], [0.852008, 1.6863109], rtol=1e-5)
    np.testing.assert_allclose(views.array("view_1")[0], [2.039261, -1.0278007, -1.7693962], rtol=1e-5)
    bent = make_multiview(3, (2, 1), nonlinear=True, noise=0.1, random_state=7)
    np.testing.assert_allclose(bent.array("view_1")[:, 0], [1.0084072, 0.02669369, -0.6540858], rtol=1e-5)


def test_numbers_for_each_view():
    views, factors = make_multiview(
        20_000, (4, 6, 3), n_shared=1, n_private=(0, 2, 1), noise=(0.0, 0.5, 1.0), return_factors=True, random_state=0
    )
    assert [factors[f"private_{m}"].shape[1] for m in range(3)] == [0, 2, 1]
    for m, name in enumerate(views):
        own = np.hstack([factors["shared"], factors[f"private_{m}"]])
        x = views.array(name).astype(float)
        residual = x - LinearRegression().fit(own, x).predict(own)
        np.testing.assert_allclose(residual.std(axis=0), [0.0, 0.5, 1.0][m], rtol=0.03, atol=1e-6)
    one, each = (
        make_multiview(9, (2, 2), n_private=h_dim, noise=noise, random_state=0)
        for h_dim, noise in ((2, 0.1), ([2, 2], np.array([0.1, 0.1])))
    )
    np.testing.assert_array_equal(one.array("view_1"), each.array("view_1"))


@pytest.mark.parametrize("nonlinear", [False, True])
def test_factors_are_in_the_views_that_hold_them_and_in_no_other(nonlinear):
    """By linear regression on one half, scored on the other."""
    views, factors = make_multiview(
        4000, (20, 20, 20), n_shared=2, n_private=1, nonlinear=nonlinear, return_factors=True, random_state=0
    )
    x = {name: views.array(name).astype(float) for name in views}

    def r2(names, factor):
        joint = np.hstack([x[name] for name in names])
        return LinearRegression().fit(joint[::2], factor[::2]).score(joint[1::2], factor[1::2])

    assert r2(views.names, factors["shared"]) > 0.9
    for m, name in enumerate(views):
        private = factors[f"private_{m}"]
        assert r2([name], private) > 0.85
        assert r2([other for other in views if other != name], private) < 0.01


# ---- what is missing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("n_views", [2, 4])
def test_missing_rates(missing, n_views):
    n = 20_000
    views = make_multiview(n, (2,) * n_views, missing=missing, random_state=0)
    present = views.present
    assert present.any(axis=1).all()  # no sample loses all its views
    # those that would lose all keep one at random: the rate is a little lower
    expected = missing - missing**n_views / n_views
    np.testing.assert_allclose(1 - present.mean(axis=0), expected, atol=4 * np.sqrt(0.25 / n) + 1e-9)
    for m, name in enumerate(views):  # whole rows, and nothing else
        np.testing.assert_array_equal(np.isnan(views.array(name)).all(axis=1), ~present[:, m])
        np.testing.assert_array_equal(np.isnan(views.array(name)).any(axis=1), ~present[:, m])


def test_missing_completely_at_random():
    n = 20_000
    views, factors = make_multiview(n, (3, 3, 3), missing=0.3, return_factors=True, random_state=0)
    gone = ~views.present[:, 0]
    assert abs(factors["shared"][gone].mean()) < 4 / np.sqrt(gone.sum())
    both = (gone & ~views.present[:, 1]).mean()
    # P(view 0 and view 1 gone) = p² less those where view 2 was gone as well and one of the two was given back
    assert both == pytest.approx(0.3**2 - 0.3**3 * 2 / 3, abs=0.01)


def logistic(predictors, outcome):
    """Slopes of a logistic regression by maximum likelihood, on standardised predictors, and their standard errors."""
    x = np.column_stack([np.ones(len(outcome)), stats.zscore(predictors)])
    beta = np.zeros(x.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-x @ beta))
        information = x.T @ (x * (p * (1 - p))[:, None])
        beta += np.linalg.solve(information, x.T @ (outcome - p))
    return beta[1:], np.sqrt(np.diag(np.linalg.inv(information)))[1:]


@pytest.fixture(scope="module", params=[False, True], ids=["linear", "nonlinear"])
def incomplete(request):
    """The first features of five views before anything is missing, the factors, and what each mechanism takes away.

    So many views that hardly a sample loses all: those that get one back would blur the probabilities.
    """
    draw = partial(
        make_multiview, 10_000, (2,) * 5, n_shared=1, n_private=1, nonlinear=request.param, random_state=0
    )  # fmt: skip
    complete, factors = draw(return_factors=True)
    first = np.column_stack([complete.array(name)[:, 0] for name in complete])
    holes = {}
    for mechanism in ("mcar", "mar", "mnar"):
        views = draw(missing=0.2, mechanism=mechanism)
        holes[mechanism] = ~views.present
        for m, name in enumerate(views):  # what is left is unchanged
            left = views.present[:, m]
            np.testing.assert_array_equal(views.array(name)[left], complete.array(name)[left])
    return first, np.hstack([first, factors["shared"], *(factors[f"private_{m}"] for m in range(5))]), holes


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_what_missingness_depends_on(incomplete, mechanism):
    """Slope 2 for the value that decides, 0 for all other values and factors, within four standard errors."""
    _, everything, holes = incomplete
    views = range(1, 5) if mechanism == "mar" else range(5)
    for m in views:
        cause = {"mcar": None, "mar": 0, "mnar": m}[mechanism]
        expected = np.where(np.arange(everything.shape[1]) == cause, 2, 0)
        slopes, errors = logistic(everything, holes[mechanism][:, m])
        assert errors.max() < 0.2
        np.testing.assert_array_less(np.abs(slopes - expected), 4 * errors)


def test_under_mar_the_first_view_stays_and_explains_the_rest(incomplete):
    first, _, holes = incomplete
    gone = holes["mar"]
    assert not gone[:, 0].any()
    assert abs(np.corrcoef(gone[:, 1], gone[:, 2])[0, 1]) > 0.1  # both depend on view 0
    score = stats.zscore(first[:, 0])
    bins = np.digitize(score, np.quantile(score, np.linspace(0, 1, 41)[1:-1]))
    given = [np.cov(gone[bins == k, 1], gone[bins == k, 2])[0, 1] for k in range(40)]
    assert abs(np.mean(given)) < 4 * 0.25 / np.sqrt(len(gone))  # and, given view 0, on nothing in common


def test_under_mnar_the_mean_of_what_is_left_is_off(incomplete):
    first, _, holes = incomplete
    for mechanism, biased in (("mcar", False), ("mnar", True)):
        for x, gone in zip(first.T, holes[mechanism].T, strict=True):
            assert (stats.ttest_ind(x[gone], x[~gone]).statistic > 4) == biased


@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
@pytest.mark.parametrize(("missing", "n_views"), [(0.1, 2), (0.4, 2), (0.2, 4), (0.7, 4)])
def test_the_share_of_missing_entries(mechanism, missing, n_views):
    n = 5000
    present = make_multiview(n, (2,) * n_views, missing=missing, mechanism=mechanism, random_state=0).present
    share = 1 - present.mean()
    error = 4 * np.sqrt(0.25 / n)
    assert present.any(axis=1).all()
    if mechanism == "mar":
        assert present[:, 0].all()
        assert share == pytest.approx(missing, abs=error)
    else:  # samples that lost all views got one back: there are more of those that have just one
        assert missing - (present.sum(axis=1) == 1).mean() / n_views - error < share < missing + error


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_the_fewest_samples_and_nothing_missing(mechanism):
    for n_samples in (1, 2):
        assert (
            make_multiview(n_samples, (2, 2, 2), missing=0.5, mechanism=mechanism, random_state=0).present.any(1).all()
        )
    assert make_multiview(100, (2, 2), missing=0.0, mechanism=mechanism, random_state=0).present.all()


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_one_view_is_never_missing(mechanism):
    assert make_multiview(200, (3,), missing=0.9, mechanism=mechanism, random_state=0).present.all()


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_shared": 0}, "n_shared=0, n_private=0: there must be at least one factor"),
        ({"n_shared": 0, "n_private": (2, 0)}, "there must be at least one factor in each view"),
        ({"n_private": (2, -1)}, "no negative number of them"),
        ({"n_private": (1, 2, 3)}, r"n_private=\(1, 2, 3\): 3 for 2 views; give one number, or one for each view"),
        ({"noise": (0.1,)}, "noise=.*: 1 for 2 views"),
        ({"noise": (0.1, -0.1)}, "noise=.* cannot be negative"),
        ({"noise": np.inf}, "noise=inf: .* infinite"),
        ({"mechanism": "mnr"}, "mechanism='mnr' is unknown; did you mean 'm.*Allowed: 'mcar', 'mar', 'mnar'"),
        ({"mechanism": "mar", "missing": 0.5}, r"view_0 is always observed, .* below .* = 0.5 for M=2"),
        ({"mechanism": "mar", "missing": 0.1, "n_features": (3,)}, r"below \(M - 1\) / M = 0 for M=1"),
        ({"missing": 1.0}, r"missing=1.0: the share of missing entries must be in \[0, 1\)"),
        ({"missing": -0.1}, r"missing=-0.1: the share of missing entries must be in \[0, 1\)"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_multiview(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"noise": -1.0}, {"n_samples": 0}, {"n_samples": -5}, {"n_features": ()}, {"n_shared": -1, "n_private": 3},
     {"n_features": (3, 0)}],
    ids=str,
)  # fmt: skip
def test_other_numbers_out_of_range(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"^{name}="):
        make_multiview(**arguments)


# ---- the linear-Gaussian oracle -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear():
    return make_linear_gaussian((3, 2), z_dim=2, random_state=0)


def test_its_evidence_and_posterior_are_those_of_the_joint_normal(linear):
    """By conditioning the joint covariance of (z, x), rather than by summing precisions."""
    views, _ = linear.sample(20, random_state=1)
    w, b, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    x = np.hstack([views.array(name) for name in views])
    covariance = w @ w.T + np.diag(s**2)
    np.testing.assert_allclose(
        linear.log_evidence(views), stats.multivariate_normal(b, covariance).logpdf(x), rtol=1e-6
    )
    mean, spread = linear.posterior(views)
    gain = w.T @ np.linalg.inv(covariance)
    np.testing.assert_allclose(mean, (x - b) @ gain.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(spread[3], np.eye(2) - gain @ w, rtol=1e-6, atol=1e-9)


def test_missing_entries_are_marginalised(linear):
    views, _ = linear.sample(4, random_state=1)
    a, b = views.array("view_0").copy(), views.array("view_1").copy()
    a[0], b[1, 1] = np.nan, np.nan
    holes = Views(view_0=a, view_1=b)
    scores, (means, spreads) = linear.log_evidence(holes), linear.posterior(holes)
    w, offset, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    for row, kept in ((0, [3, 4]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4])):
        x = np.hstack([a[row], b[row]])[kept]
        marginal = w[kept] @ w[kept].T + np.diag(s[kept] ** 2)
        assert scores[row] == pytest.approx(stats.multivariate_normal(offset[kept], marginal).logpdf(x))
        gain = w[kept].T @ np.linalg.inv(marginal)
        np.testing.assert_allclose(means[row], gain @ (x - offset[kept]), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(spreads[row], np.eye(2) - gain @ w[kept], rtol=1e-6, atol=1e-9)


def test_its_samples_have_its_moments(linear):
    views, z = linear.sample(40_000, random_state=2)
    x = np.hstack([views.array(name) for name in views])
    w, b, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(x.mean(0), b, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), w @ w.T + np.diag(s**2), atol=0.15)
    residual = x - b - z @ w.T
    np.testing.assert_allclose(np.cov(residual.T), block_diag(np.diag(s**2)), atol=0.03)
    again, _ = linear.sample(40_000, random_state=2)
    np.testing.assert_array_equal(again.array("view_0"), views.array("view_0"))
    assert all((noise >= 0.5 / 1.5).all() and (noise <= 0.5 * 1.5).all() for noise in linear.noise)
