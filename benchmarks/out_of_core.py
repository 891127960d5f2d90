"""How much memory training takes on data that are larger than memory: 20 GB in two views, one pass and one epoch.

Once from .npy files that are nearly all holes (virtual size: what is read is zeros, but it is read), once from a data
set that computes its samples. Prints the peak of the resident memory, and samples and megabytes a second.

    python benchmarks/out_of_core.py [--gigabytes 20] [--kind files|computed] [--workers 2]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import manyview as mv

WIDTHS = {"genes": 700, "lipids": 300}


class Waves(mv.Dataset):
    """Sines of as many frequencies as there are features, at a phase for each sample."""

    shapes = {name: (width,) for name, width in WIDTHS.items()}  # noqa: RUF012
    chunk = 256

    def __init__(self, n, workers):
        self.n, self.workers = n, workers

    def __len__(self):
        return self.n

    def read(self, rows):
        phase = (rows * 0.618034 % 1).astype(np.float32)[:, None]
        x = np.sin(phase * np.arange(1, sum(WIDTHS.values()) + 1, dtype=np.float32))
        return dict(zip(WIDTHS, np.split(x, [WIDTHS["genes"]], axis=1), strict=True))


def files(folder, n, workers):
    """Files of the right size, of which only the headers take space."""
    paths = {name: Path(folder) / f"{name}.npy" for name in WIDTHS}
    for name, path in paths.items():
        np.lib.format.open_memmap(path, "w+", np.float32, (n, WIDTHS[name])).flush()
    return mv.MVDataset(paths, workers=workers)


def peak():
    """The largest resident memory so far, in megabytes (as Linux counts it)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--kind", choices=["files", "computed"], default="files")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=2000, help="megabytes that must not be exceeded")
    options = parser.parse_args()
    n = int(options.gigabytes * 1e9 / (4 * sum(WIDTHS.values())))
    settings = {"hidden": [64]}
    model = mv.MVAE(
        z_dim=8, encoder=settings, decoder=settings, max_epochs=1, batch_size=1024, validation_fraction=0.01,
        random_state=0, verbose=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        make = files if options.kind == "files" else lambda _, n, workers: Waves(n, workers)
        data = make(folder, n, options.workers)
        start, before = time.perf_counter(), peak()
        model.fit(data)
        seconds = time.perf_counter() - start
    print(
        f"{options.kind}: {n:,} samples, {options.gigabytes:g} GB; a pass and an epoch in {seconds:.0f} s "
        f"({n / seconds:,.0f} samples, {2e3 * options.gigabytes / seconds:.0f} MB a second); "
        f"peak memory {peak():.0f} MB, {before:.0f} MB of them before"
    )
    print(model.history_.round(3).to_string())
    if peak() > options.limit:
        raise SystemExit(f"more than {options.limit:.0f} MB were needed")


if __name__ == "__main__":
    main()
