"""Reports: the numbers against computations by hand, and pages that stand alone, whatever the model and its data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import manyview as mv
from manyview.datasets import make_multiview
from manyview.models import MODELS
from manyview.plotting.latents import principal_components
from manyview.report import write_report
from manyview.report.findings import take_findings

N = 60
NAN = float("nan")
IDS = [f"s{i}" for i in range(N)]
TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "max_epochs": 3,
    "random_state": 0,
    "verbose": False,
}
VOID = {"meta", "br", "img", "input", "hr", "link", "col", "circle", "line", "path", "rect", "stop", "use"}


class Checked(HTMLParser):
    """Every element is closed in its turn; the text, images and addresses are kept."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.images, self.addresses, self.ids = [], "", [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def read(path):
    """A page that was written, checked: it is well formed and reaches for nothing outside."""
    page = path.read_text(encoding="utf-8")
    checked = Checked(page)
    assert all(address.startswith(("#", "data:image/")) for address in checked.addresses)
    assert not re.search(r"url\(\s*['\"]?https?:|@import|<script[^>]+src", page)
    assert all(image["alt"] for image in checked.images)
    assert len(set(checked.ids)) == len(checked.ids)
    assert {address[1:] for address in checked.addresses if address.startswith("#")} <= {*checked.ids}
    return checked


@pytest.fixture(scope="module")
def frames():
    views = make_multiview(N, (6, 4), n_private=1, random_state=0)
    frames = {name: pd.DataFrame(50 + 10 * views.array(name), index=IDS) for name in views.names}
    frames["view_1"].iloc[5:17] = NAN
    return frames


@pytest.fixture(scope="module")
def model(frames):
    return mv.MVAE(**{**TINY, "max_epochs": 60, "learning_rate": 0.02}).fit(frames)


# ---- numbers --------------------------------------------------------------------------------------------------------


def by_hand(model, frames, target, given):
    """R² in held-out samples that have both, against the training mean, in units of the training scale."""
    rows = np.zeros(N, dtype=bool)
    rows[model.held_out_] = True
    for name in {target, *given}:
        rows &= frames[name].notna().any(axis=1).to_numpy()
    x = frames[target].to_numpy()
    predicted = model.predict({name: frames[name] for name in given}, target=target)[target].to_numpy()
    training = np.delete(x, model.held_out_, axis=0)
    mean, scale = np.nanmean(training, axis=0), np.nanstd(training, axis=0)
    errors, reference = np.square((x - predicted) / scale)[rows], np.square((x - mean) / scale)[rows]
    return rows.sum(), 1 - errors.sum() / reference.sum(), 1 - errors.sum(0) / reference.sum(0)


def test_predictions_are_judged_on_held_out_samples_that_have_both_views(model, frames):
    found = take_findings(model, frames, None, model.held_out_)
    for given, qualities in zip(frames, found.cross_prediction(), strict=True):
        for target, quality in zip(frames, qualities, strict=True):
            n, overall, by_feature = by_hand(model, frames, target, [given])
            assert quality.n == n > 0
            assert quality.r2 == pytest.approx(overall, rel=1e-4, abs=1e-5)
            np.testing.assert_allclose(quality.by_feature, by_feature, rtol=1e-3, atol=1e-4)


def test_without_held_out_samples_all_are_judged(model, frames):
    found = take_findings(model, frames, None, None)
    assert [quality.n for quality in found.reconstruction] == [N, N - 12]


def test_yes_no_values_and_categories_are_judged_by_right_answers_too():
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=90)
    views = {"yes": (kind[:, None] == [0, 1]).astype(float), "kind": np.eye(3)[kind]}
    model = mv.MVAE(**{**TINY, "max_epochs": 150, "learning_rate": 0.02}).fit(views)
    found = take_findings(model, views, None, None)
    predicted = model.predict(views)
    qualities = dict(zip(views, found.reconstruction, strict=True))
    assert qualities["kind"].accuracy == (predicted["kind"].argmax(1) == kind).mean() > 0.9
    assert qualities["yes"].accuracy == ((predicted["yes"] >= 0.5) == views["yes"]).mean()
    training = np.delete(np.arange(90), model.held_out_)
    frequencies = views["kind"][training].mean(0)
    assert qualities["kind"].baseline == (kind == frequencies.argmax()).mean()
    brier = np.square(views["kind"] - predicted["kind"]).sum() / np.square(views["kind"] - frequencies).sum()
    assert qualities["kind"].r2 == pytest.approx(1 - brier, rel=1e-4)


def test_variance_explained_is_that_of_the_metric(model, frames):
    alone, together, private = take_findings(model, frames, None, None).variance_explained()
    table = mv.metrics.variance_explained(model, frames)
    np.testing.assert_allclose(alone, table[["z0", "z1"]])
    np.testing.assert_allclose(together, table["all"])
    assert private is None


def test_principal_components_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    z = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([3.0, 2.0, 1.0, 0.5])
    coordinates, shares = principal_components(z)
    reference = PCA(2).fit(z)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(reference.transform(z)), atol=1e-9)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)


# ---- pages ----------------------------------------------------------------------------------------------------------


def test_a_page_says_what_was_found(model, frames, tmp_path):
    about = pd.DataFrame({"diet": np.resize(["fish", "coconut"], N), "age": np.arange(N)}, index=IDS)
    path = write_report(
        model, frames, tmp_path / "report.html", held_out=model.held_out_, colour=about, title="Mice & men"
    )
    page = read(path)
    text = " ".join(page.text.split())
    assert "Mice & men" in text
    assert f"{N} samples" in text
    overall = by_hand(model, frames, "view_0", ["view_1"])[1]
    assert f"{overall:.2f}".replace("-", "−") in text
    assert "z_dim: 2" in text
    assert mv.__version__ in text
    assert sum("coloured by diet" in image["alt"] for image in page.images) == 1
    assert sum("coloured by age" in image["alt"] for image in page.images) == 1
    assert sum(image["alt"].startswith("Curve of ") for image in page.images) >= 3


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_every_model_has_a_page(cls, frames, tmp_path):
    model = cls(**TINY).fit(frames)
    page = read(write_report(model, frames, tmp_path / "report.html", held_out=model.held_out_))
    assert f"{cls.__name__} of view_0 and view_1" in page.text


def test_images_one_view_and_covariates_have_a_page(tmp_path):
    images = np.random.default_rng(0).uniform(size=(30, 1, 6, 6))
    age = pd.DataFrame({"age": np.arange(30.0)})
    model = mv.MVAE(**{**TINY, "z_dim": 1, "encoder": "mlp", "decoder": "mlp"}).fit({"scan": images}, covariates=age)
    page = read(write_report(model, {"scan": images}, tmp_path / "report.html", covariates=age))
    alts = [image["alt"] for image in page.images]
    assert any(alt.startswith("6 images of scan") for alt in alts)
    assert any(alt.endswith("coloured by age") for alt in alts)


def test_names_are_text_and_no_markup(frames, tmp_path):
    odd = {"<b>genes</b>": frames["view_0"].rename(columns=lambda name: f"<i>{name}</i>"), "a & b": frames["view_1"]}
    model = mv.MVAE(**TINY).fit(odd)
    colour = pd.DataFrame({"<script>alert(1)</script>": np.resize(["<u>x</u>", "y"], N)}, index=IDS)
    path = write_report(model, odd, tmp_path / "report.html", colour=colour, title="<h1>x</h1>")
    page = read(path)
    assert "<b>genes</b>" in page.text
    assert "<script>alert(1)" not in path.read_text(encoding="utf-8")


def test_colours_are_matched_by_id(model, frames, tmp_path):
    about = pd.DataFrame({"diet": np.resize(["fish", "coconut"], N)}, index=IDS)
    pages = [
        write_report(model, frames, tmp_path / f"{i}.html", colour=table).read_bytes()
        for i, table in enumerate((about, about[::-1], about.set_axis(about.index[::-1])))
    ]
    assert pages[0] == pages[1] != pages[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": [N]}, "held_out must be positions of samples, from 0 to 59"),
        ({"held_out": [0.5]}, "held_out must be positions of samples"),
        ({"colour": {"diet": ["fish"] * 3}}, "colour has 3 rows, but there are 60 samples"),
        ({"colour": pd.DataFrame({"diet": ["fish"]}, index=["nobody"])}, "colour: none of its rows is of a sample"),
        ({"colour": pd.DataFrame({"diet": ["fish"] * 2}, index=["s1"] * 2)}, "colour: 's1' has several rows"),
    ],
)
def test_what_does_not_fit_the_samples_is_refused(options, message, model, frames, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_report(model, frames, tmp_path / "report.html", **options)
    assert not list(tmp_path.iterdir())
