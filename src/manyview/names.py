"""Names that users type."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["closest"]


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
