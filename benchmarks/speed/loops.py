"""Serves the bare loop and the floor: `python -m benchmarks.speed.loops --serve` (benchmarks/peers/protocol.py)."""

from benchmarks.peers.protocol import Peer, main
from benchmarks.speed.bare import Bare
from benchmarks.speed.floor import Floor

CLASSES: dict[str, type[Peer]] = {"bare": Bare, "floor": Floor}


def loop(task: dict, *rest: object) -> Peer:
    """What the task is for."""
    return CLASSES[task["loop"]](task, *rest)


if __name__ == "__main__":
    main(loop)
