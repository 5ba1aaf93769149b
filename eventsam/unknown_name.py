"""The one message for a name that is not known: what was given, the nearest match, what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return `unknown {what} 'nmae'; did you mean 'name'? (allowed: name, other)`; the caller chooses the exception."""
    names = list(allowed)
    nearest = get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {what} {name!r}{hint} (allowed: {', '.join(names) or 'none'})"
