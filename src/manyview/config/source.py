"""Where a configuration comes from, so that each message can say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manyview.messages import closest

__all__ = ["Source", "lines"]


@dataclass(frozen=True)
class Source:
    """A file or a mapping that is being read; sections are named by dotted paths, "" is the top.

    ``places`` has, for each path that a file holds, that file and the line.
    """

    name: str
    places: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def error(self, section: str, message: str, key: object = "") -> ValueError:
        """What to raise about a section, or a key in it."""
        place = self.place(f"{section}.{key}".strip(".")) + self.remark
        return ValueError(": ".join(part for part in (place, section, message) if part))

    def place(self, path: str) -> str:
        """The file, and the line of a path or else of the section that it is in."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, self.name)

    def check_keys(self, section: str, found: Iterable[object], allowed: Iterable[str], kind: str = "key") -> None:
        """Refuse keys, or what else is found, that are not allowed in a section."""
        names = list(allowed)
        for key in found:
            if key not in names:
                raise self.error(section, f"unknown {kind} {key!r}{closest(key, names)}", key)

    def section(self, parent: dict[str, Any], key: str, path: str = "") -> dict[str, Any]:
        """Take a section out of its parent; one that is absent or empty has no keys."""
        section = parent.pop(key, None)
        if section is not None and not isinstance(section, Mapping):
            raise self.error(path or key, f"must be a section of its own, with keys, but is {section!r}")
        return dict(section or {})

    def merge(self, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """All the parts, none of which may repeat another's key."""
        merged: dict[str, Any] = {}
        for part in parts:
            for key, value in part.items():
                if key in merged:
                    raise self.error("", f"{key!r} is given twice: {merged[key]!r} and {value!r}; keep one of them")
                merged[key] = value
        return merged


def lines(text: str) -> dict[str, int]:
    r"""The line of each dotted path in a YAML text, from 1.

    Examples
    --------
    >>> lines("model:\n  z_dim: 3\n  encoder: {hidden: [5]}")
    {'model': 1, 'model.z_dim': 2, 'model.encoder': 3, 'model.encoder.hidden': 3, 'model.encoder.hidden.0': 3}
    """
    import yaml  # type: ignore[import-untyped]

    def walk(node: Any, path: str) -> Iterator[tuple[str, int]]:
        pairs: list[tuple[str, Any, Any]] = []
        if isinstance(node, yaml.MappingNode):
            pairs = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        elif isinstance(node, yaml.SequenceNode):
            pairs = [(str(i), item, item) for i, item in enumerate(node.value)]
        for name, at, value in pairs:
            here = f"{path}.{name}".strip(".")
            yield here, at.start_mark.line + 1
            yield from walk(value, here)

    return dict(walk(yaml.compose(text, Loader=yaml.SafeLoader), ""))
