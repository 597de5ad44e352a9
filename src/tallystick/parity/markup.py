"""HTML and SVG as text in which nothing that came from data can be markup: all text is escaped unless it is `Safe`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: Control characters and lone surrogates: HTML has no way to write the first, UTF-8 none for the second.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_EMPTY = frozenset({"meta", "br", "hr"})


class Safe(str):
    """Text that is markup already."""

    __slots__ = ()


def safe(text: object) -> Safe:
    """Return text as markup: escaped, unless it is markup.

    >>> safe("a < b")
    'a &lt; b'
    """
    return text if isinstance(text, Safe) else Safe(html.escape(_UNWRITABLE.sub("\ufffd", str(text))))


def tag(name: str, /, *children: object, **attributes: object) -> Safe:
    """Return an element. `class_` is the attribute class, `stroke_width` is stroke-width; None is left out.

    >>> tag("p", "5 > 4", tag("b", "!"), class_="x")
    '<p class="x">5 &gt; 4<b>!</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Safe(f"<{name}{given}>")
    return Safe(f"<{name}{given}>{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Safe:
    """Return parts as one piece of markup."""
    return Safe("".join(safe(part) for part in parts if part is not None))
