"""Secrets that foreign texts (a model's exceptions, a tool's output) show by their form. Pure.

What is known to be a secret is taken out by those who know it; this is for the rest: a token in a URL, a password
behind its name. It hides too much rather than too little, and promises nothing: a secret may look like any word.
"""

from __future__ import annotations

import re

HIDDEN = "<secret>"

#: Who logs in, before the host of a URL, and what stands behind its question mark.
_LOGIN = re.compile(r"(\b[a-z][\w+.-]{1,20}://)[^\s/@'\"<>]{1,500}@", re.IGNORECASE)
_QUERY = re.compile(r"(\b[a-z][\w+.-]{1,20}://[^\s?'\"<>]{1,500}\?)[^\s'\"<>)]+", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)\s+(?=\S*[\d=])[\w.~+/=-]{6,}", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:token|secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|access[_-]?key(?:[_-]?id)?"
    r"|private[_-]?key|account[_-]?key|credentials?|authorization|cookie)['\"]?\s{0,3}[:=]\s{0,3})"
    r"(?!\s|(?:bearer|basic)\s)(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\")}\]]+)",
    re.IGNORECASE,
)
#: Tokens that say by their first letters whose they are, and JSON web tokens.
_KNOWN = re.compile(
    r"\b(?:tsk_\w{12,}|dapi[0-9a-f]{16,}|sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[a-z]-[\w-]{10,}|hf_\w{20,}|pypi-[\w-]{16,}|A(?:KIA|SIA)[0-9A-Z]{12,}|AIza[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{4,}[\w.-]*)"
)


def without_secrets(text: str) -> str:
    """Return a text without what looks like a secret. Cut long texts first: 1,200 odd characters take up to 5 ms.

    >>> without_secrets("401 for https://ann:pw@host/x?sig=1a2b, token=abc123, {'password': 'hunter2'}")
    "401 for https://<secret>@host/x?<secret> token=<secret>, {'password': <secret>}"
    >>> without_secrets("could not convert string to float: 'abc' in column token_count")
    "could not convert string to float: 'abc' in column token_count"
    """
    text = _LOGIN.sub(rf"\1{HIDDEN}@", _QUERY.sub(rf"\1{HIDDEN}", text))
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, _NAMED.sub(rf"\1{HIDDEN}", text))
