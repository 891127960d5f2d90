"""The rows of the benchmark, from their YAML files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

__all__ = ["HERE", "load_row", "read_rows"]

HERE = Path(__file__).parent


def load_row(path: Path) -> DictConfig:
    """What a file says, over what the file says that it is ``like``."""
    content = OmegaConf.load(path)
    if "like" in content:
        content = OmegaConf.merge(OmegaConf.load(HERE / f"{content.like}.yaml"), content)
    assert isinstance(content, DictConfig)
    return content


def read_rows(names: Sequence[str], quick: bool) -> dict[str, dict[str, Any]]:
    """The rows of these names or folders, or all of Table 2; of a file with ``models`` one row for each of them."""
    rows = dict(_every_row(quick))
    wanted = names or ("binary_mnist", "polymnist")
    for asked in wanted:
        if not any(_is_of(name, asked) for name in rows):
            sys.exit(f"there is no row {asked!r}; there are {', '.join(rows)}")
    return {name: row for name, row in rows.items() if any(_is_of(name, asked) for asked in wanted)}


def _is_of(name: str, asked: str) -> bool:
    return name == asked or name.startswith((f"{asked}/", f"{asked}:"))


def _every_row(quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(HERE.glob("*/*.yaml")):
        content = load_row(path)
        if quick:
            content = OmegaConf.merge(content, content.get("quick", {}))
        row: dict[str, Any] = OmegaConf.to_container(content)
        name = str(path.relative_to(HERE).with_suffix(""))
        if "models" not in row:
            yield name, row
            continue
        for model, own in row["models"].items():
            config = OmegaConf.merge(row["config"], {"model": {"_target_": f"manyview.{model}"}}, own or {})
            yield f"{name}:{model}", {**row, "config": OmegaConf.to_container(config)}
