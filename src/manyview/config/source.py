"""Where a configuration comes from, so that each message can say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manyview.messages import closest

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A file or a mapping that is being read; sections are named by dotted paths, "" is the top."""

    name: str

    def error(self, section: str, message: str) -> ValueError:
        """What to raise about a section."""
        return ValueError(": ".join(part for part in (self.name, section, message) if part))

    def check_keys(self, section: str, found: Iterable[object], allowed: Iterable[str], kind: str = "key") -> None:
        """Refuse keys, or what else is found, that are not allowed in a section."""
        names = list(allowed)
        for key in found:
            if key not in names:
                raise self.error(section, f"unknown {kind} {key!r}{closest(key, names)}")

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
