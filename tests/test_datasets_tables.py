"""Tables of real data: the breast cancer views are scikit-learn's columns, and nutrimouse is what its files say."""

import csv
import io
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from manyview.datasets import load_breast_cancer_views, load_nutrimouse, real

# ---- breast cancer --------------------------------------------------------------------------------------------------


def test_breast_cancer_has_the_columns_of_scikit_learn():
    frame = load_breast_cancer(as_frame=True).frame
    views, labels = load_breast_cancer_views()
    assert views.names == ("mean", "error", "worst")
    for name in views:
        pattern = f"^{name} " if name != "error" else " error$"
        expected = frame.filter(regex=pattern)
        assert expected.shape == (569, 10)
        assert views.feature_names[name].tolist() == expected.columns.tolist()
        np.testing.assert_array_equal(views.array(name), expected.to_numpy(np.float32))
    assert labels.tolist() == [("malignant", "benign")[target] for target in frame["target"]]
    assert [(labels == kind).sum() for kind in ("benign", "malignant")] == [357, 212]


def test_the_views_of_breast_cancer_are_of_the_same_features():
    views, labels = load_breast_cancer_views()
    stems = [
        [name.replace(kind, "").strip() for name in views.feature_names[kind]] for kind in ("mean", "error", "worst")
    ]
    assert stems[0] == stems[1] == stems[2]
    mean, worst = views.array("mean"), views.array("worst")
    assert (worst[:, 0] >= mean[:, 0]).all()  # the radius of the worst cells, and of all
    assert mean[labels == "malignant", 0].mean() > mean[labels == "benign", 0].mean()


# ---- nutrimouse -----------------------------------------------------------------------------------------------------

DIETS, GENOTYPES = ("coc", "fish", "lin", "ref", "sun"), ("ppar", "wt")


def as_csv(header, rows):
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([header, *rows])
    return text.getvalue()


@pytest.fixture(scope="module")
def mice():
    """Made-up mice: genes, lipids, diets and genotypes."""
    rng = np.random.default_rng(0)
    lipid = rng.dirichlet(np.ones(21), size=40).round(4) * 100
    pairs = [(diet, genotype) for diet in DIETS for genotype in GENOTYPES for _ in range(4)]
    order = rng.permutation(40)
    diet, genotype = (np.array(values)[order] for values in zip(*pairs, strict=True))
    return {"gene": rng.integers(-9, 9, size=(40, 120)) / 4, "lipid": lipid, "diet": diet, "genotype": genotype}


@pytest.fixture(scope="module")
def tables(mice):
    wide = {}
    for name, width in real.NUTRIMOUSE_WIDTHS.items():
        wide[name] = as_csv([f"{name}.{i}" for i in range(width)], mice[name].tolist())
    return wide | {name: as_csv(["x"], [[value] for value in mice[name].tolist()]) for name in ("diet", "genotype")}


@pytest.fixture
def place(tables, tmp_path, monkeypatch):
    """A folder of data sets that has the mice, where there is no pooch."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("MANYVIEW_DATA", raising=False)
    lay(tmp_path / "nutrimouse", tables)
    return tmp_path


def lay(folder, tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)


def assert_are(loaded, mice):
    views, labels = loaded
    assert views.names == ("gene", "lipid")
    for name in views:
        np.testing.assert_array_equal(views.array(name), mice[name].astype(np.float32))
    assert views.feature_names["lipid"].tolist() == [f"lipid.{i}" for i in range(21)]
    for name, values in labels.items():
        assert values.tolist() == mice[name].tolist()


def test_nutrimouse_is_read_from_its_folder_or_the_one_above(place, mice, monkeypatch):
    assert_are(load_nutrimouse(place), mice)
    assert_are(load_nutrimouse(place / "nutrimouse", download_if_missing=False), mice)
    monkeypatch.setenv("MANYVIEW_DATA", str(place))
    assert_are(load_nutrimouse(), mice)


def test_copies_with_numbers_of_rows_are_read(place, mice):
    for name in ("diet", "genotype"):
        rows = [[str(i + 1), value] for i, value in enumerate(mice[name].tolist())]
        (place / "nutrimouse" / f"{name}.csv").write_text(as_csv(["", "x"], rows))
    assert_are(load_nutrimouse(place), mice)


def test_nutrimouse_says_what_to_do_without_data(place):
    (place / "nutrimouse" / "lipid.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"nor its folder nutrimouse has lipid.csv; name another folder"):
        load_nutrimouse(place, download_if_missing=False)
    with pytest.raises(ImportError, match=r'pip install "manyview\[datasets\]".* folder .* MANYVIEW_DATA'):
        load_nutrimouse(place)


def test_nutrimouse_is_downloaded_with_checksums_and_kept(tables, mice, tmp_path, monkeypatch):
    asked = {}

    class Pooch:
        @staticmethod
        def retrieve(url, known_hash, fname, path):
            asked[url] = known_hash
            name = fname.removesuffix(".csv")
            lay(path, {name: tables[name]})
            return str(path / fname)

    monkeypatch.setitem(sys.modules, "pooch", Pooch)
    for _ in range(2):
        assert_are(load_nutrimouse(tmp_path), mice)
    assert [url.rsplit("/", 1)[1] for url in asked] == ["gene.csv", "lipid.csv", "diet.csv", "genotype.csv"]
    assert all(known.startswith("sha256:") and len(known) == 71 for known in asked.values())


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("gene", lambda text: text.rsplit("\n", 2)[0], r"gene.csv: numbers of shape \(39, 120\), but .* \(40, 120\)"),
        ("gene", lambda text: text.split("\n", 1)[1], r"gene.csv: numbers of shape \(39, 120\)"),
        ("gene", lambda text: "<html>Not now</html>", r"gene.csv: numbers of shape \(0,\)"),
        ("gene", lambda text: "", r"gene.csv: numbers of shape \(0,\)"),
        ("gene", lambda text: text.replace("\n", "\nwhat", 2), "gene.csv cannot be read: .*what"),
        ("lipid", lambda text: text.replace("lipid.20", 'lipid.20","more'), "lipid.csv: numbers"),
        ("lipid", lambda text: as_csv([f"lipid.{i}" for i in range(21)], [[1.0] * 21] * 40), "add up to 100 percent"),
        ("diet", lambda text: text.replace("coc", "cock", 1), "four of each pair"),
        ("diet", lambda text: "\n".join(text.splitlines()[:-1]), "four of each pair"),
        ("genotype", lambda text: text.replace("wt", "ppar", 1), "four of each pair"),
    ],
)
def test_what_is_not_nutrimouse_is_refused(name, spoil, message, place, tables):
    (place / "nutrimouse" / f"{name}.csv").write_text(spoil(tables[name].replace("\r\n", "\n")))
    with pytest.raises(ValueError, match=message):
        load_nutrimouse(place)


def test_the_real_nutrimouse():
    try:
        views, labels = load_nutrimouse(download_if_missing=False)
    except (FileNotFoundError, ImportError) as reason:
        pytest.skip(str(reason))
    assert views.shapes == {"gene": (120,), "lipid": (21,)}
    # Linseed oil is rich in C18:3n-3, and mice without PPAR alpha have less of L-FABP: what the study found.
    omega = views.array("lipid")[:, views.feature_names["lipid"].tolist().index("C18.3n.3")]
    assert omega[labels["diet"] == "lin"].min() > omega[labels["diet"] != "lin"].max()
    protein = views.array("gene")[:, views.feature_names["gene"].tolist().index("L.FABP")]
    assert protein[labels["genotype"] == "wt"].mean() > protein[labels["genotype"] == "ppar"].mean()
