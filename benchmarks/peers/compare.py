"""manyview and its peers side by side: the same data, networks and epochs; quality and time.

python -m benchmarks.peers.compare [--seeds 0 1 2] [--models MVAE ...] [--data mfeat ...]
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.layout import Rows, as_text, read_lines
from benchmarks.peers.environments import PEERS, ROOT
from benchmarks.peers.run import run_peer
from manyview.datasets import binary_mnist, fetch_mfeat

LIBRARIES = ("manyview", *PEERS)
MODELS = ("MVAE", "MEMVAE", "JMVAE", "MMVAE", "MoPoEVAE", "MVTCAE")
COMMON = {"activation": "silu", "learning_rate": 1e-3, "beta": 1.0, "threads": 1, "n_importance": 100}
COMMON |= {"init_logvar": 0}  # manyview's own start, and better for multiviewae than its default

Data = tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]


def mfeat() -> tuple[Data, dict[str, Any]]:
    """Six tables, standardised, since neither peer does that."""
    views, labels = fetch_mfeat(return_labels=True)
    train, test = train_test_split(np.arange(len(views)), test_size=0.3, stratify=labels, random_state=0)
    scaled = {name: StandardScaler().fit(views.array(name)[train]).transform(views.array(name)) for name in views.names}
    parts = [{name: x[rows].astype(np.float32) for name, x in scaled.items()} for rows in (train, test)]
    task = {"z_dim": 10, "encoder_hidden": [64], "decoder_hidden": [64], "batch_size": 64, "epochs": 30}
    return (parts[0], parts[1], labels[train], labels[test]), {**task, "likelihoods": ["normal"] * 6}


def mnist() -> tuple[Data, dict[str, Any]]:
    """A sixth of BinaryMNIST, drawn in black and white once."""
    train, test = binary_mnist()[:10_000], binary_mnist(split="test")[:1000]
    parts = [{"image": x["image"].reshape(len(x), -1), "label": x["label"]} for x in (train, test)]
    labels = [x["label"].argmax(1) for x in (train, test)]
    task = {"z_dim": 32, "encoder_hidden": [512, 512], "decoder_hidden": [512, 512, 512], "batch_size": 128}
    return (*parts, *labels), {**task, "epochs": 10, "likelihoods": ["bernoulli", "categorical"]}


DATA = {"mfeat": mfeat, "binary_mnist": mnist}


def compare(names: Sequence[str], models: Sequence[str], seeds: Sequence[int], out: Path) -> None:
    """Run what is not in the results yet; libraries in turn, so that a busy machine slows all of them."""
    results = out / "results.jsonl"
    done = {(line["data"], line["model"], line["library"], line["seed"]) for line in read_lines([results])}
    for name in names:
        (train, test, labels, test_labels), task = DATA[name]()
        path = out / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"train_{m}": x for m, x in enumerate(train.values())}
        np.savez(path, **arrays, **{f"test_{m}": x for m, x in enumerate(test.values())})
        task = {**COMMON, **task, "data": str(path.resolve()), "view_names": list(train)}
        for seed in seeds:
            for model in models:
                for library in LIBRARIES:
                    if (name, model, library, seed) in done:
                        continue
                    folder = out / "runs" / f"{name}-{model}-{library}-{seed}"
                    answer = run_peer(library, {**task, "model": model, "seed": seed}, folder)
                    line = {"data": name, "seed": seed, **answer}
                    if answer["error"] is None:
                        with np.load(answer["out"]) as found:
                            line["knn_accuracy"] = accuracy(found["z_train"], found["z_test"], labels, test_labels)
                    line.pop("out")
                    with results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    told = answer["error"] or f"{answer['fit_cpu_seconds']:.1f} s"
                    print(f"{name}, {model}, seed {seed}, {library}: {told}", flush=True)


def accuracy(train: np.ndarray, test: np.ndarray, labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Of the five nearest neighbours in the space of standardised latents."""
    neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(train, labels)
    return float(neighbours.score(test, test_labels))


def table(lines: Sequence[dict[str, Any]], data: str) -> tuple[list[str], Rows]:
    """One row a model and library: what z is worth, log-likelihood, CPU time of an epoch after the first, of all."""
    head = ["model", "library", "k-NN accuracy", "log-likelihood", "CPU s an epoch", "CPU s in all", "seeds"]
    rows = []
    for model in dict.fromkeys(line["model"] for line in lines):
        for library in LIBRARIES:
            of = [x for x in lines if (x["data"], x["model"], x["library"]) == (data, model, library)]
            found = [line for line in of if line["error"] is None]
            if not found:
                rows += [[model, library, "fails", "", "", "", str(len(of))]] if of else []
                continue
            epochs = [statistics.median(line["epoch_cpu_seconds"][1:]) for line in found]
            likelihoods = [line["log_likelihood"]["value"] for line in found if line["log_likelihood"]]
            rows.append(
                [
                    model,
                    library,
                    f"{statistics.fmean(line['knn_accuracy'] for line in found):.3f}",
                    f"{statistics.fmean(likelihoods):.1f}" if likelihoods else "–",
                    f"{statistics.fmean(epochs):.3f}",
                    f"{statistics.fmean(line['fit_cpu_seconds'] for line in found):.1f}",
                    str(len(found)),
                ]
            )
    return head, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=ROOT)
    args = parser.parse_args()
    compare(args.data, args.models, args.seeds, args.out)
    for name in args.data:
        head, rows = table(read_lines([args.out / "results.jsonl"]), name)
        print(f"\n{name}\n\n{as_text(head, rows)}")


if __name__ == "__main__":
    main()
