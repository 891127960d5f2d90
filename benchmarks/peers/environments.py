"""An environment for each peer library, under build/peers/, at the versions that were compared.

python -m benchmarks.peers.environments        builds both and says what was shimmed, and why
"""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1] / "build" / "peers"
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    requirement: str  # installed last, without the dependencies that it asks for
    packages: str  # those that it imports
    shims: tuple[str, ...]
    stubs: bool = False


PEERS = {
    "multiviewae": Peer(
        requirement="multiviewae==1.1.8",
        packages="numpy==2.4.6 pytorch-lightning==2.6.6 hydra-core==1.3.8 omegaconf==2.3.1 schema==0.7.8 "
        "tensorboard==2.21.0",
        shims=(
            "installed without its dependencies: it pins pytorch-lightning 1.5.10, whose metadata pip refuses, and "
            "asks for torchvision, pandas and others that it never imports",
            "changed to train with Lightning 2: see multiviewae_adapter.py",
        ),
    ),
    "multivae": Peer(
        requirement="multivae==1.0.3",
        packages="numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas==3.1.1 pydantic==2.14.3 cloudpickle==3.1.2 "
        "tqdm==4.70.1 typing_extensions==4.16.0 nltk==3.10.4 torchmetrics==1.9.0 matplotlib==3.11.2 pythae==0.1.2",
        shims=(
            "torchvision is a stub: it is imported at the top, for data sets and image grids that are not used here, "
            "and would bring another build of torch",
        ),
        stubs=True,
    ),
}


def variables(name: str) -> dict[str, str]:
    """The variables that a peer runs under: only its own packages, and the stubs where it needs them."""
    if name == "manyview":
        return dict(os.environ)
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # Not everywhere: torchmetrics takes a stub that it finds for the package.
    return {**own, "PYTHONNOUSERSITE": "1", **({"PYTHONPATH": str(HERE / "stubs")} if PEERS[name].stubs else {})}


def environment(name: str) -> Path:
    """The python of a peer's environment, which is made if it is not complete; manyview's is this one."""
    if name == "manyview":
        return Path(sys.executable)
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}: give {' or '.join(map(repr, PEERS))}")
    peer, folder = PEERS[name], ROOT / name
    python, stamp = folder / "bin" / "python", folder / "complete"
    contents = "\n".join([TORCH, *peer.packages.split(), peer.requirement, ""])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == contents:
        return python
    venv.create(folder, clear=True, with_pip=True)
    # torch by itself first: asked for among others, pip may choose a build for GPUs, of gigabytes.
    for packages in ([TORCH], [TORCH, *peer.packages.split()], ["--no-deps", peer.requirement]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    stamp.write_text(contents, encoding="utf-8")
    return python


def main() -> None:
    for name, peer in PEERS.items():
        python = environment(name)
        subprocess.run([python, "-c", f"import {name}"], env=variables(name), check=True)
        print(f"{peer.requirement}: {python}", *(f"  - {shim}" for shim in peer.shims), sep="\n")


if __name__ == "__main__":
    main()
