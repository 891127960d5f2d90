"""What is said to users: what they may have meant, and warnings that point at their own line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["closest", "warn"]


def closest(name: object, allowed: Iterable[str]) -> str:
    """The end of an error message about an unknown name: a guess at what was meant, and what is allowed.

    Examples
    --------
    >>> closest("imgae", ["image", "label"])
    "; did you mean 'image'? Allowed: 'image', 'label'"
    """
    names = list(allowed)
    by_lower = {candidate.lower(): candidate for candidate in names}
    guess = get_close_matches(str(name).lower(), by_lower, n=1)
    meant = f"; did you mean {by_lower[guess[0]]!r}?" if guess else "."
    return f"{meant} Allowed: {', '.join(map(repr, names))}"


def warn(message: str) -> None:
    """Warn at the line that called the library, however many decorators of other packages lie in between."""
    ours = ("manyview", "sklearn", "torch", "jaxtyping", "beartype")
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)
