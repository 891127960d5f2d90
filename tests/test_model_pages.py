"""Each model's page has its picture, its symbols, its source and its results; the README's table is true."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import manyview as mv
from manyview.models import MODELS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    before = list(sys.path)
    sys.path += [str(DOCS.parent), str(DOCS)]
    try:
        import model_pages
    finally:
        sys.path[:] = before
    folder = tmp_path_factory.mktemp("models")
    model_pages.write_model_pages(folder)
    return folder


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_page_has_all_its_parts(pages, model):
    page = (pages / f"{model.__name__}.md").read_text(encoding="utf-8")
    assert f".. autoclass:: manyview.{model.__name__}\n" in page
    assert "def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:" in page
    assert r"| $\mathcal L$ | the objective: what is *maximised* |" in page
    assert "| $K$ |" not in page or r"\frac1K" in (model.__doc__ or "")
    assert "Multiple Features" in page
    for theme in ("light", "dark"):
        assert f"images/{model.__name__}-{theme}.svg" in page
        ElementTree.parse(pages / "images" / f"{model.__name__}-{theme}.svg")


def test_pictures_tell_models_apart(pages):
    def picture(name):
        return (pages / "images" / f"{name}-light.svg").read_text(encoding="utf-8")

    assert "product" in picture("MVAE")
    assert "with p(z)" in picture("MVAE")
    assert "with p(z)" not in picture("MVTCAE")
    assert "joint" in picture("JMVAE")
    assert "adversary" in picture("MAAE")
    assert "h₁" in picture("DMVAE")
    assert "h₁" not in picture("MVAE")


def readme_rows():
    """By model, whether the README says that it draws new samples, and that it states log p(x)."""
    table = (DOCS.parent / "README.md").read_text(encoding="utf-8").split("## Models")[1].split("\n\n")[1]
    for line in table.splitlines()[2:]:
        first, *_, samples, log_p = (cell.strip() for cell in line.strip("| ").split(" | "))
        groups = [re.findall(r"`(\w+)`", group) for group in first.split(";")]
        answers = [samples.split("; ") * len(groups), log_p.split("; ") * len(groups)]
        for group, drawn, stated in zip(groups, *answers, strict=False):
            for name in group:
                yield name, drawn == "yes", stated == "yes"


def test_readme_lists_every_model():
    assert sorted(name for name, *_ in readme_rows()) == sorted(model.__name__ for model in MODELS)


@pytest.mark.parametrize(("name", "drawn", "stated"), list(readme_rows()))
def test_readme_says_what_models_can(name, drawn, stated):
    views = mv.datasets.make_multiview(30, (3, 2), random_state=0)
    model = getattr(mv, name)(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(views)

    def works(call):
        try:
            call()
        except (ValueError, TypeError):
            return False
        return True

    assert works(lambda: model.sample(2)) == drawn
    assert works(lambda: mv.metrics.log_likelihood(model, views, n_samples=2)) == stated
