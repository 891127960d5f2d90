"""Handwritten digits in two views: the image of a digit, and its label.

Two models are trained on both views. On digits that they have not seen, each then reads the label from the image,
draws images for labels, and scores both views together. The picture goes to demo/digits.png.
"""

import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import manyview as mv
from manyview.plotting import plot_images, plot_latents

DIGITS = np.arange(10)
LABELS = np.eye(10)
PICTURE = Path("demo/digits.png")

# β below 1 makes the latents say more about the digit. MVAE trains its image encoder only through the product with the
# label's: dropout and a slow rise of β keep that encoder from leaving the digit to the label.
SETTINGS = dict(
    z_dim=16,
    likelihood={"image": "bernoulli", "label": "categorical"},
    beta=0.5,
    learning_rate=4e-3,
    scheduler="CosineAnnealingLR",
    scheduler_args={"T_max": 150},
    max_epochs=150,
    patience=None,
    random_state=0,
)
MODELS = [
    mv.MVAE(**SETTINGS, batch_size=32, beta_warmup=100, encoder={"dropout": 0.1}),
    mv.MMVAE(**SETTINGS, batch_size=64, n_importance_samples=2),
]


def digits_of(views):
    return views.array("label").argmax(axis=1)


def images_of(model, labels, n_samples):
    """Expected images for draws of z given the label, (n_samples, n, 64): each is another digit of that label."""
    z = model.transform({"label": labels}, given="label", n_samples=n_samples)
    with torch.no_grad():
        return model.network_.likelihood(0).mean(model.network_.decode(torch.from_numpy(z), 0)).numpy()


def measure(model, test, judge):
    """What the table says about a model, on samples it has not seen."""
    predicted = model.predict(test, given="image", target="label")["label"].argmax(axis=1)
    drawn = images_of(model, LABELS, n_samples=100)
    judged = judge.predict(drawn.reshape(-1, 64)).reshape(100, 10)
    return {
        "label from image, accuracy": f"{np.mean(predicted == digits_of(test)):.3f}",
        "image from label, recognised": f"{np.mean(judged == DIGITS):.3f}",
        "joint log-likelihood, nats": f"{model.score(test, n_samples=1000):.2f}",
    }


def draw(models, test):
    """The picture: reconstructions, images from labels, and the latent space."""
    digit = digits_of(test)
    examples = [np.flatnonzero(digit == d)[0] for d in DIGITS]
    names = [type(model).__name__ for model in models]

    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    top, bottom = left.subplots(2, 1, height_ratios=[3, 6])
    rows = [test.array("image")[examples], *(m.predict(test[examples], target="image")["image"] for m in models)]
    plot_images(rows, row_labels=["held out", *names], limits=(0, 1), ax=top)
    top.set_title("Reconstructed", loc="left", weight="bold")
    rows = np.concatenate([images_of(model, LABELS, n_samples=3) for model in models])
    labels = [name if row == 1 else "" for name in names for row in range(3)]
    plot_images(rows, row_labels=labels, column_labels=DIGITS, limits=(0, 1), ax=bottom)
    bottom.set_title("Drawn for a label", loc="left", weight="bold")
    latents = plot_latents(models[-1], test, color=digit, images=test["image"], ax=right.subplots())
    latents.set_title(f"Latent space of {names[-1]}", loc="left", weight="bold")
    return figure


def main():
    views = mv.datasets.load_digits()
    train, test = train_test_split(views, test_size=0.2, stratify=digits_of(views), random_state=0)
    judge = KNeighborsClassifier(3).fit(train.array("image"), digits_of(train))
    print(f"{len(train)} digits to learn from, {len(test)} held out\n", flush=True)

    table = {}
    for model in MODELS:
        name = type(model).__name__
        print(name, flush=True)
        start = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - start
        table[name] = measure(model, test, judge) | {"training, seconds": f"{seconds:.0f}"}

    print(f"\n{'on held-out digits':32}" + "".join(f"{name:>10}" for name in table))
    for row in table["MVAE"]:
        print(f"{row:32}" + "".join(f"{column[row]:>10}" for column in table.values()))
    real = judge.score(test.array("image"), digits_of(test))
    print(f"\nImages are recognised by nearest neighbours; of real ones, these get {real:.3f} right.")
    print("The log-likelihood is importance-weighted, with K = 1,000 draws.")

    PICTURE.parent.mkdir(exist_ok=True)
    draw(MODELS, test).savefig(PICTURE, dpi=200)
    print(f"The picture is in {PICTURE}.")


if __name__ == "__main__":
    main()
