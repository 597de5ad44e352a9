"""What of a model's exception a caller may read. Pure.

The exception's own words are what the caller needs most often ("could not convert string to float: 'abc'"), and
nobody knows what they hold. So they are bounded, made printable, and rid of paths, of known secrets and of
what looks like one. The whole, with its traceback, is in the model's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tallystick.protocol.scrub import without_secrets

#: Longer texts embed data (MLflow's own enforcement prints the whole frame).
MAX_CHARACTERS = 300

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:/[\w.@+~-]+){2,}/?")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff\U00010000-\U0010ffff]+")


def loading_text(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return what a model raised while it was loaded, and what mends that as far as it is known.

    >>> loading_text(ModuleNotFoundError("No module named 'a'", name="a")).partition(". ")[2]
    'Where a is a file of yours, log the model with code_paths=["a.py"]; where it is a package, require it there.'
    """
    told = f"Loading the model raised {public_text(error, secrets)}"
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name.isidentifier():
        return told
    return (
        f'{told}. Where {name} is a file of yours, log the model with code_paths=["{name}.py"]; where it is a package, '
        "require it there."
    )


def public_text(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return the type and the bounded, scrubbed words of an exception.

    >>> public_text(FileNotFoundError("no /srv/models/a/vocab.txt, key s3cr3t"), ["s3cr3t"])
    'FileNotFoundError: no <path>, key <secret>'
    """
    try:
        words = str(error)
    except Exception as failure:  # noqa: BLE001  the model's own __str__ may do anything
        words = f"(its text could not be made: {type(failure).__name__})"
    # Cut first: the patterns below need not run over megabytes. A secret at the cut is covered by the slack.
    words = words[: MAX_CHARACTERS * 4]
    for secret in secrets:
        if secret:
            words = words.replace(secret, "<secret>")
    words = without_secrets(_UNPRINTABLE.sub(" ", words))
    words = _PATH.sub("<path>", words).strip()
    if len(words) > MAX_CHARACTERS:
        words = words[:MAX_CHARACTERS].rstrip() + " …"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
