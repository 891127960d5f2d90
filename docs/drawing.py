"""Drawings as SVG, in a light and a dark version: nodes, arrows, curves and words in the colours of a theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

# The hues of Okabe and Ito's palette, darker or lighter where text in them would be faint on the background.
THEMES = {
    "light": {
        "ink": "#1b1b1b", "soft": "#5f6368", "fill": "#e4e6ea", "paper": "#ffffff",
        "blue": "#0072B2", "orange": "#B35900", "green": "#007D5C", "red": "#C04A00", "pink": "#A8517E",
    },
    "dark": {
        "ink": "#ececec", "soft": "#a9adb3", "fill": "#3a3d42", "paper": "#131416",
        "blue": "#56B4E9", "orange": "#E69F00", "green": "#1DC296", "red": "#F28A4B", "pink": "#E3A3C6",
    },
}  # fmt: skip


class Svg:
    """A drawing of a width and height in its own units, about 0.75 px each on a phone."""

    def __init__(self, theme: str, name: str, title: str, describe: str, width: int, height: int) -> None:
        self.colour = THEMES[theme]
        self.size = (width, height)
        heads = "".join(
            f'<marker id="{name}-{key}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0.8 10 5 0 9.2z" fill="{value}"/></marker>'
            for key, value in self.colour.items()
            if key in ("ink", "soft", "blue", "orange", "green", "red")
        )
        self.name = name
        self.parts = [f"<title>{escape(title)}</title><desc>{escape(describe)}</desc><defs>{heads}</defs>"]

    def _c(self, colour: str) -> str:
        return self.colour.get(colour, colour)

    def text(self, x, y, words, *, size=16, anchor="middle", colour="ink", weight=400, italic=False) -> None:
        style = ' font-style="italic"' if italic else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{self._c(colour)}" '
            f'font-weight="{weight}"{style}>{escape(words)}</text>'
        )

    def line(self, x1, y1, x2, y2, *, colour="ink", width=1.8, dash="", head=False, tail=False) -> None:
        ends = f' marker-end="url(#{self.name}-{colour})"' if head else ""
        ends += f' marker-start="url(#{self.name}-{colour})"' if tail else ""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{self._c(colour)}" '
            f'stroke-width="{width}"{dashes}{ends}/>'
        )

    def path(self, d, *, colour="ink", width=2.0, dash="", fill="none", opacity=1.0, head=False) -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        end = f' marker-end="url(#{self.name}-{colour})"' if head else ""
        shade = f' fill-opacity="{opacity}"' if opacity < 1 else ""
        self.parts.append(
            f'<path d="{d}" stroke="{self._c(colour)}" stroke-width="{width}" fill="{self._c(fill)}"{shade}'
            f"{dashes}{end}/>"
        )

    def rect(self, x, y, w, h, *, fill="none", colour="ink", width=1.6, r=6, dash="", opacity=1.0) -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{r}" fill="{self._c(fill)}" '
            f'fill-opacity="{opacity}" stroke="{self._c(colour)}" stroke-width="{width}"{dashes}/>'
        )

    def node(self, x, y, label, *, observed=False, r=25, colour="ink") -> None:
        fill = self._c("fill" if observed else "paper")
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{r}" fill="{fill}" stroke="{self._c(colour)}" stroke-width="2"/>'
        )
        self.text(x, y + 6.5, label, size=19, italic=True)

    def dot(self, x, y, *, colour="ink", r=4.0) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{r}" fill="{self._c(colour)}"/>')

    def curve(self, x, y, **style) -> None:
        self.path(polyline(x, y), **style)

    def __str__(self) -> str:
        w, h = self.size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{round(w * 1.1)}" '
            f'height="{round(h * 1.1)}" role="img" font-family="{FONT}">' + "\n".join(self.parts) + "</svg>\n"
        )


def polyline(x: Sequence[float], y: Sequence[float]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def between(p: tuple[float, float], q: tuple[float, float], gap: float = 28.0) -> tuple[float, float, float, float]:
    """The line from one node to another, without what the nodes cover."""
    (a, b), (c, d) = p, q
    length = np.hypot(c - a, d - b)
    u, v = (c - a) / length, (d - b) / length
    return a + gap * u, b + gap * v, c - gap * u, d - gap * v
