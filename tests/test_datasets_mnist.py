"""MNIST and what is made of it: files, checksums, binarisation, halves, and PolyMNIST's construction.

Proven on a small MNIST that is made here: each file form arrives as its bytes say; pixels are Bernoulli draws of the
grey values; each image of PolyMNIST is, pixel by pixel, a crop of its background, inverted where an image of its class
has ink. The real MNIST is compared with its published class counts, mean and deviation, where it is at hand.
"""

import gzip
import hashlib
import io
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader

import manyview as mv
from manyview.data import Views
from manyview.datasets import BinarisedDataset, binary_mnist, fetch_mnist, mnist, mnist_halves, poly, polymnist

STEMS = {"train": "train", "test": "t10k"}


@pytest.fixture(scope="module")
def small():
    """Images and digits of a small MNIST, by split."""
    rng = np.random.default_rng(0)
    made = {}
    for split, n in (("train", 300), ("test", 100)):
        image = rng.integers(0, 256, size=(n, 28, 28), dtype=np.uint8)
        image[:, 0], image[:, 1] = 0, 255
        made[split] = image, rng.permutation(np.arange(n) % 10)
    return made


@pytest.fixture(scope="module")
def files(small):
    """The same in IDX format, unpacked: their names and contents."""
    content = {}
    for split, (image, digit) in small.items():
        n = len(digit)
        content[f"{STEMS[split]}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, n, 28, 28) + image.tobytes()
        content[f"{STEMS[split]}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, n) + digit.astype(np.uint8).tobytes()
    return content


def lay(folder, files, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content, 1) if packed else content)


@pytest.fixture
def published(small, files, monkeypatch):
    """The library takes the small MNIST for the published one, and has no pooch."""
    digests = {name: ("0" * 32, hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    monkeypatch.setattr(mnist, "MNIST_CHECKSUMS", digests)
    monkeypatch.setattr(mnist, "MNIST_SIZES", {split: len(digit) for split, (_, digit) in small.items()})
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("MANYVIEW_DATA", raising=False)


@pytest.fixture
def folder(published, files, tmp_path):
    lay(tmp_path / "mnist", files)
    return tmp_path


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("place", "packed"), [("mnist", True), ("mnist", False), (".", True), ("MNIST/raw", False)])
def test_each_form_of_the_files_is_read(place, packed, split, published, small, files, tmp_path):
    lay(tmp_path / place, files, packed)
    views = fetch_mnist(tmp_path, split=split, download_if_missing=False)
    image, digit = small[split]
    assert views.shapes == {"image": (28, 28), "label": (10,)}
    assert views.array("image").dtype == views.array("label").dtype == np.float32
    np.testing.assert_array_equal((views.array("image") * 255).round(), image)
    np.testing.assert_array_equal(views.array("label"), [[float(k == d) for k in range(10)] for d in digit])


def test_the_folder_comes_from_the_argument_then_the_environment(folder, monkeypatch):
    with pytest.raises(ImportError, match=r'pip install "manyview\[datasets\]".* folder .* MANYVIEW_DATA'):
        fetch_mnist()
    monkeypatch.setenv("MANYVIEW_DATA", str(folder))
    assert len(fetch_mnist(download_if_missing=False)) == 300
    with pytest.raises(FileNotFoundError, match=r"elsewhere nor its folders .* train-images-idx3-ubyte"):
        fetch_mnist(folder / "elsewhere", download_if_missing=False)
    with pytest.raises(ImportError, match="downloading data needs pooch"):
        fetch_mnist(folder / "elsewhere")
    assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: gzip.compress(content[:-1] + b"x"), "is not the published file: the SHA-256 .*; delete it"),
        (lambda content: gzip.compress(content)[:-4], "cannot be read: .*; delete it"),
        (lambda content: b"<html>Not now</html>", "cannot be read: .*; delete it"),
    ],
)
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_file_that_is_not_as_published_is_refused(name, spoil, message, folder, files):
    (folder / "mnist" / f"{name}.gz").write_bytes(spoil(files[name]))
    with pytest.raises(ValueError, match=f"{name}.gz {message}"):
        fetch_mnist(folder, split="test")


def test_what_is_lacking_is_downloaded_with_its_checksum(published, files, tmp_path, monkeypatch):
    asked = []

    class Pooch:
        @staticmethod
        def retrieve(url, known_hash, fname, path):
            asked.append((url, known_hash))
            lay(path, {fname.removesuffix(".gz"): files[fname.removesuffix(".gz")]})
            return str(path / fname)

    monkeypatch.setitem(sys.modules, "pooch", Pooch)
    for _ in range(2):
        assert len(fetch_mnist(tmp_path, split="test")) == 100
    base = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    assert asked == [(f"{base}t10k-{kind}-ubyte.gz", f"md5:{'0' * 32}") for kind in ("images-idx3", "labels-idx1")]
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == [
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
    ]  # fmt: skip


def test_a_download_that_fails_says_where_to_put_the_file(published, tmp_path, monkeypatch):
    class Pooch:
        @staticmethod
        def retrieve(url, known_hash, fname, path):
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "pooch", Pooch)
    with pytest.raises(OSError, match=r"images-idx3-ubyte.gz could not .*\(no route\); .* into .*mnist, or .*DATA"):
        fetch_mnist(tmp_path, split="test")


@pytest.mark.parametrize("load", [fetch_mnist, binary_mnist, mnist_halves, polymnist])
def test_an_unknown_split(load, folder):
    with pytest.raises(ValueError, match="split='tset' is unknown; did you mean 'test'"):
        load(folder, split="tset")


@pytest.mark.parametrize(
    ("split", "counts", "mean", "deviation"),
    [
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307, 0.3081),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1325, 0.3105),
    ],
)
def test_the_real_mnist(split, counts, mean, deviation):
    try:
        views = fetch_mnist(split=split, download_if_missing=False)
    except (FileNotFoundError, ImportError) as reason:
        pytest.skip(str(reason))
    np.testing.assert_array_equal(views.array("label").sum(axis=0), counts)
    image = views.array("image")
    assert image.mean(dtype=float) == pytest.approx(mean, abs=5e-5)
    assert image.std(dtype=float) == pytest.approx(deviation, abs=5e-5)


# ---- black and white ------------------------------------------------------------------------------------------------


def test_fixed_binarisation_is_one_draw(folder, small):
    first, again, other = (binary_mnist(folder, random_state=seed) for seed in (0, 0, 1))
    assert isinstance(first, Views)
    x = first.array("image")
    np.testing.assert_array_equal(x, again.array("image"))
    assert (x != other.array("image")).mean() > 0.2
    assert set(np.unique(x)) == {0, 1}
    np.testing.assert_array_equal(first.array("label").argmax(axis=1), small["train"][1])
    with pytest.raises(ValueError, match="binarisation='dinamic' is unknown; did you mean 'dynamic'"):
        binary_mnist(folder, binarisation="dinamic")


def test_pixels_are_one_with_the_probability_of_their_grey_value(folder, small):
    grey = small["test"][0] / 255
    data = binary_mnist(folder, split="test", binarisation="dynamic")
    n = 50
    counts = sum(data[:].array("image").astype(float) for _ in range(n))
    np.testing.assert_array_equal(counts[grey == 0], 0)
    np.testing.assert_array_equal(counts[grey == 1], n)
    within = (grey > 0.1) & (grey < 0.9)
    z = (counts - n * grey)[within] / np.sqrt(n * grey * (1 - grey))[within]
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / z.size) + 0.01)
    for level in (26, 128, 230):  # at one grey value, the counts are binomial
        observed = counts[small["test"][0] == level]
        assert abs(observed.mean() - n * level / 255) < 4 * observed.std() / np.sqrt(observed.size)


def test_a_dynamic_draw_depends_on_the_seed_and_on_what_was_read(folder):
    def read(*stretches, seed=0):
        data = binary_mnist(folder, binarisation="dynamic", random_state=seed)
        return [data[rows].array("image") for rows in stretches]

    a, b = slice(0, 50), slice(50, 90)
    first, second, third = read(a, b, a)
    assert (first != third).mean() > 0.2
    assert (first[:40] != second).mean() > 0.2
    other_order = read(b, a, a)
    for x, same in zip((second, first, third), other_order, strict=True):
        np.testing.assert_array_equal(x, same)
    assert (first != read(a, seed=1)[0]).mean() > 0.2
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    read(a)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_a_model_trains_on_draws_that_change_and_repeat_with_the_seed(folder):
    def fit():
        data = binary_mnist(folder, split="test", binarisation="dynamic")
        model = mv.MVAE(z_dim=2, encoder={"hidden": [8]}, decoder={"hidden": [8]}, max_epochs=2, batch_size=50,
                        random_state=0, verbose=False)  # fmt: skip
        return model.fit(data), data

    (model, data), (again, _) = fit(), fit()
    assert [type(likelihood).__name__ for likelihood in model.network_.likelihoods] == ["Bernoulli", "Categorical"]
    assert data._times_read.min() >= 3  # to learn about the data, and in each epoch
    for weight, same in zip(model.network_.parameters(), again.network_.parameters(), strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)
    assert np.isfinite(model.score(binary_mnist(folder, split="test")))


def test_workers_of_a_dataloader_draw_anew_in_each_epoch():
    data = BinarisedDataset(Views(image=np.full((40, 30), 0.5)))
    loader = DataLoader(data, batch_size=20, num_workers=1, generator=torch.Generator().manual_seed(0))
    first, second = (torch.cat([batch["image"] for batch in loader]) for _ in range(2))
    assert 0.4 < (first != second).float().mean() < 0.6


def test_views_of_any_kind_are_binarised(folder):
    grey = np.full((3, 2), 0.5)
    grey[1] = np.nan
    data = BinarisedDataset(Views(a=grey, b=np.eye(3), ids=list("pqr"), feature_names={"a": ["x", "y"]}))
    views = data[:]
    assert views.ids.tolist() == ["p", "q", "r"]
    assert data.feature_names == {"a": ["x", "y"]}
    np.testing.assert_array_equal(views.present, [[True, True], [False, True], [True, True]])
    np.testing.assert_array_equal(views.array("b"), np.eye(3))
    with pytest.raises(ValueError, match="view 'a': has no samples"):
        data[[]]
    with pytest.raises(ValueError, match=r"view 'a' has values from 0.5 to 2; grey values are to be in \[0, 1\]"):
        BinarisedDataset(Views(a=[[0.5], [2.0]]))


def test_halves_are_the_left_and_the_right(folder, small):
    views, labels = mnist_halves(folder, split="test")
    assert views.shapes == {"left": (28, 14), "right": (28, 14)}
    both = np.concatenate([views.array("left"), views.array("right")], axis=2)
    np.testing.assert_array_equal((both * 255).round(), small["test"][0])
    np.testing.assert_array_equal(labels, small["test"][1])


# ---- PolyMNIST, built -----------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 60, 90


def map_of(blue):
    """A background whose pixels say where they are: red the row, green the column."""
    x = np.full((HEIGHT, WIDTH, 3), blue, dtype=np.uint8)
    x[..., 0], x[..., 1] = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    return x


BLUES = (10, 60, 90)


@pytest.fixture
def built(folder):
    def build(**options):
        return polymnist(folder, **{"backgrounds": [map_of(blue) for blue in BLUES], **options})

    return build


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_image_is_a_crop_inverted_where_one_of_its_class_has_ink(split, built, small):
    image, digit = small[split]
    views, labels = built(split=split)
    assert views.shapes == {f"m{m}": (3, 28, 28) for m in range(3)}
    np.testing.assert_array_equal(labels, digit)
    numbers = {(image[i] > 127).tobytes(): i for i in range(len(image))}
    partners = []
    for m, blue in enumerate(BLUES):
        x = (views.array(f"m{m}") * 255).round().astype(int)
        assert set(np.unique(x[:, 2])) == {blue, 255 - blue}
        ink = x[:, 2] == 255 - blue
        partners.append([numbers[mask.tobytes()] for mask in ink])
        assert sorted(partners[m]) == list(range(len(image)))  # each image once in each view
        np.testing.assert_array_equal(digit[partners[m]], digit)  # and of its class
        red, green = (np.where(ink, 255 - x[:, c], x[:, c]) for c in (0, 1))
        row, column = red[:, 0, 0], green[:, 0, 0]
        np.testing.assert_array_equal(red, row[:, None, None] + np.arange(28)[:, None] + np.zeros(28, int))
        np.testing.assert_array_equal(green, column[:, None, None] + np.arange(28) + np.zeros((28, 1), int))
        for corner, size in ((row, HEIGHT - 27), (column, WIDTH - 27)):
            assert 0 <= corner.min() < 5
            assert size - 5 <= corner.max() < size
            assert stats.kstest(corner / size + 0.5 / size, "uniform").pvalue > 1e-4
    # Independent permutations within ten classes agree about ten times, as often as a Poisson number of that mean.
    assert np.sum(np.equal(partners[0], partners[1])) < 10 + 4 * np.sqrt(10)


def test_the_first_so_many_samples_are_those_of_all(built):
    views, labels = built()
    some, some_labels = built(n_samples=7)
    np.testing.assert_array_equal(labels[:7], some_labels)
    for name in views:
        np.testing.assert_array_equal(views.array(name)[:7], some.array(name))


def test_the_seed_decides_what_is_built(built):
    first, same, other = (built(n_samples=9, random_state=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.array("m2"), same.array("m2"))
    assert (first.array("m2") != other.array("m2")).mean() > 0.5
    test = built(n_samples=9, split="test")[0].array("m0")[:, 0, 0, 0]  # the rows of the crops, but for the ink
    assert (first.array("m0")[:, 0, 0, 0] != test).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples=0: give a positive number"),
        ({"n_samples": 301}, "n_samples=301: there are 300"),
        ({"original": True}, "original=True, but backgrounds are given"),
        ({"backgrounds": [np.zeros((27, 40, 3), np.uint8)]}, r"backgrounds\[0\] is uint8 of shape \(27, 40, 3\)"),
        ({"backgrounds": [map_of(0), map_of(0) / 255]}, r"backgrounds\[1\] is float64 .* give uint8"),
        ({"backgrounds": [map_of(0)[..., 0]]}, r"of shape \(60, 90\)"),
    ],
)
def test_what_cannot_be_built(options, message, built):
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_without_backgrounds_five_parts_of_photographs_tell_views_apart(folder):
    pytest.importorskip("PIL")
    views, _ = polymnist(folder, n_samples=200, random_state=3)
    assert views.names == ("m0", "m1", "m2", "m3", "m4")
    parts = poly._parts()
    colours = np.array([part.reshape(-1, 3).mean(axis=0) for part in parts])
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1)[np.triu_indices(5, 1)]
    assert apart.min() > 40
    for part in parts:  # what is inverted differs from what is not
        contrast = np.abs(255 - 2.0 * part).max(axis=-1)
        assert np.mean(contrast > 50) > 0.8


# ---- PolyMNIST, the original ----------------------------------------------------------------------------------------

NAMES = [(0, 3), (0, 7), (2, 1), (10, 7)]  # number and digit, in the order in which they are read


@pytest.fixture(scope="module")
def original():
    return np.random.default_rng(1).integers(0, 256, size=(5, len(NAMES), 3, 28, 28), dtype=np.uint8)


def as_png(x):
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(x.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def as_tensor(x):
    buffer = io.BytesIO()
    torch.save(torch.as_tensor(x), buffer)
    return buffer.getvalue()


def contents(original, form):
    if form == "images":
        return {
            f"m{m}/{number}.{digit}.png": as_png(original[m, i])
            for m in range(5)
            for i, (number, digit) in enumerate(NAMES)
        }
    scaled = original if form == "bytes" else original / np.float32(255)
    return {f"m{m}.pt": as_tensor(scaled[m]) for m in range(5)} | {"labels.pt": as_tensor([d for _, d in NAMES])}


def lay_original(place, files, archived):
    place.mkdir(parents=True, exist_ok=True)
    if archived:
        with zipfile.ZipFile(place / "PolyMNIST.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"PolyMNIST/MMNIST/train/{name}", content)
        return
    for name, content in files.items():
        path = place / "MMNIST" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("form", ["images", "tensors", "bytes"])
@pytest.mark.parametrize(("place", "archived"), [("PolyMNIST", False), ("polymnist", True), (".", False)])
def test_the_original_is_read_in_each_form(form, place, archived, original, published, tmp_path):
    lay_original(tmp_path / place, contents(original, form), archived)
    for asked in (None, True):
        views, labels = polymnist(tmp_path, original=asked)
        np.testing.assert_array_equal(labels, [3, 7, 1, 7])
        assert views.names == ("m0", "m1", "m2", "m3", "m4")
        for m, name in enumerate(views):
            assert views.array(name).dtype == np.float32
            np.testing.assert_array_equal((views.array(name) * 255).round(), original[m])
    views, labels = polymnist(tmp_path, n_samples=2)
    np.testing.assert_array_equal(labels, [3, 7])
    np.testing.assert_array_equal((views.array("m4") * 255).round(), original[4, :2])
    with pytest.raises(ValueError, match="n_samples=5: there are 4"):
        polymnist(tmp_path, n_samples=5)


def test_which_polymnist_it_is_can_be_said(folder, original):
    with pytest.raises(FileNotFoundError, match=r"PolyMNIST.zip, or MMNIST/train .* original=None build one"):
        polymnist(folder, original=True)
    lay_original(folder, contents(original, "bytes"), archived=False)
    assert len(polymnist(folder)[0]) == 4
    assert len(polymnist(folder, original=False)[0]) == 300
    assert len(polymnist(folder, backgrounds=[map_of(5)])[0]) == 300
    assert len(polymnist(folder, split="test")[0]) == 100  # of which there is no original


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"m3/2.1.png": None}, FileNotFoundError, "lacks m3/2.1.png, which it has in view m0"),
        ({"m2/0.7.png": np.zeros((3, 27, 28), np.uint8)}, ValueError, "0.7.png: an image of shape"),
    ],
)
def test_an_original_that_is_not_whole(change, error, message, original, published, tmp_path):
    files = contents(original, "images")
    for name, x in change.items():
        files |= {name: None if x is None else as_png(x)}
    lay_original(tmp_path, {name: content for name, content in files.items() if content is not None}, archived=False)
    with pytest.raises(error, match=message):
        polymnist(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"labels.pt": [1, 2, 3]}, {"labels.pt": [1, 2, 3, 11]}, {"m1.pt": np.zeros((4, 1, 28, 28), np.uint8)}],
    ids=["too few labels", "no digits", "no colours"],
)
def test_tensors_that_are_not_polymnist(change, original, published, tmp_path):
    lay_original(tmp_path, contents(original, "bytes") | {k: as_tensor(x) for k, x in change.items()}, archived=False)
    with pytest.raises(ValueError, match="are not those of PolyMNIST"):
        polymnist(tmp_path)


def test_an_archive_that_is_none(published, tmp_path):
    (tmp_path / "PolyMNIST.zip").write_bytes(b"<html>Not now</html>")
    with pytest.raises(ValueError, match=r"PolyMNIST.zip is no archive: .*; fetch it again"):
        polymnist(tmp_path)
