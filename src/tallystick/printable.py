"""Text of strangers, made safe to print: what a terminal would obey is shown, not done."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: C0, DEL, C1, line and paragraph separators, and what turns the direction of text.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


_LOGIN = re.compile("//[^/@]*@")
#: A name that a sentence can hold as it is: in one piece, with a letter, and with nothing at its end that ends more.
_PLAIN_NAME = re.compile(r"""(?=.*[^\W\d_])[^\s,;'"]+(?<![.:!?])""")


def named(name: object) -> str:
    """Return a name in quotes where it would read as something else: with spaces or commas, no letters, or "and".

    >>> named("hum"), named("wind, gusts"), named("-"), named(5)
    ('hum', "'wind, gusts'", "'-'", "'5'")
    """
    text = str(name)
    if _PLAIN_NAME.fullmatch(text) and text != "and":
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"


def listed_names(names: Iterable[object], most: int = 8) -> str:
    """Return names with commas, of many the first; in quotes where commas would not tell them apart.

    >>> listed_names("abc", 2)
    'a, b and 1 more'
    """
    return listed_texts((named(name) for name in names), most)


def listed_texts(texts: Iterable[str], most: int) -> str:
    """Return texts with commas as they are, of many the first."""
    shown = list(texts)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def without_password(uri: str) -> str:
    """Return a URI without the user and password in it.

    >>> without_password("postgresql://ann:secret@db/mlflow"), without_password("sqlite:///mlflow.db")
    ('postgresql://***@db/mlflow', 'sqlite:///mlflow.db')
    """
    return _LOGIN.sub("//***@", uri)


def count(number_of: int, thing: str, does: str = "", do: str = "") -> str:
    """Return a number of things, in the plural unless it is one; and what it `does`, or what they `do`.

    >>> count(1, "row"), count(1600, "golden row"), count(1, "step", "gives", "give")
    ('1 row', '1,600 golden rows', '1 step gives')
    """
    told = f"{number_of:,} {thing}{'' if number_of == 1 else 's'}"
    verb = does if number_of == 1 else do
    return f"{told} {verb}" if verb else told


def printable(text: str, kept: str = "") -> str:
    r"""Return a text with its control characters escaped, but for those in `kept`.

    >>> printable("\x1b[2Jowned\u202e")
    '\\x1b[2Jowned\\u202e'
    """
    return _OBEYED.sub(lambda found: found[0] if found[0] in kept else _escaped(found[0]), text)


def printable_json(text: str) -> str:
    r"""Return a JSON document with the control characters in its texts escaped, as JSON has it; its lines stay.

    >>> printable_json('"\x9b"')
    '"\\u009b"'
    """
    return _OBEYED.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
