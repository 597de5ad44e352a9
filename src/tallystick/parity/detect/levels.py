"""Levels that training did not have: spelled otherwise, damaged, renamed, words for null, or new.

Source: normaliser chains as in record linkage; the weakest normaliser that maps an unseen level to a known one names
the fault. A renamed level is told from a new one by what vanished instead, and by whether its rows look like the
vanished level's. False positives: high-cardinality columns always have unseen levels; their rate in training (Good
1953) is allowed for.
"""

from __future__ import annotations

import html
import re
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from tallystick.parity.columns import FALSE_TOKENS, TRUE_TOKENS, Mask, Role, Texts, is_null_word
from tallystick.parity.detect.finding import Finding
from tallystick.parity.privacy import digest
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, upper_share

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Signs without which no decoding changes a text that is ASCII.
_ESCAPES = re.compile(r"[&%+\\]|^b['\"]")
FILL_WORDS = frozenset(
    {
        "unknown",
        "other",
        "default",
        "unk",
        "missing",
        "undefined",
        "not available",
        "n.a.",
        "none specified",
        "not specified",
        "not set",
        "unspecified",
        "unbekannt",
        "inconnu",
        "desconocido",
        "desconhecido",
        "sconosciuto",
        "onbekend",
        "nieznany",
    }
)
#: What stands around such a word, and may be left out.
_BRACKETS = "<>()[]{}_*#- "
#: So many distinct unseen levels are looked at; identifiers have any number of them.
MOST_UNSEEN = 500
SPELL_NATS = 8.0
#: Part of the rows with unseen levels that other spellings must explain for letter case to be the cause.
MOST_UNSEEN_ROWS = 0.5
#: Share of unseen levels in training below which one respelled level is news, and the share of respelled rows that
#: any population may have.
FEW_UNSEEN, SPELLED_RATE = 0.02, 0.005


def is_fill_word(text: str) -> bool:
    """Whether a text is a word for what is not known, whatever is put around it.

    >>> is_fill_word("__missing__"), is_fill_word("Not_Available"), is_fill_word("autumn")
    (True, True, False)
    """
    bare = text.strip().lower()
    return bare in FILL_WORDS or bare.strip(_BRACKETS).replace("_", " ") in FILL_WORDS


def _spaces(text: str) -> Iterator[str]:
    yield text.strip()
    yield re.sub(r"\s+", " ", text.strip())
    yield re.sub(r"\s+", "", text)
    yield text.replace("\u00a0", " ").strip()


def _number_form(text: str) -> Iterator[str]:
    try:
        number = float(text)
    except ValueError:
        return
    yield f"{number:g}"
    yield str(number)
    if number.is_integer():
        yield str(int(number))


def _codecs(text: str) -> Iterator[str]:
    for other in _decodings(text):
        yield other
        plain = unicodedata.normalize("NFKC", other)
        yield plain
        yield plain.strip()


def _decodings(text: str) -> Iterator[str]:
    if text.isascii() and not _ESCAPES.search(text):
        # No decoding changes it but one, which takes two letters for one.
        with suppress(UnicodeDecodeError):
            yield text.encode("ascii").decode("utf-16")
        return
    yield html.unescape(text)
    yield urllib.parse.unquote_plus(text)
    for wrong in ("latin-1", "cp1252"):
        for right in ("utf-8", "utf-16"):
            try:
                yield text.encode(wrong).decode(right)
            except (UnicodeDecodeError, UnicodeEncodeError):
                continue
    with suppress(UnicodeDecodeError, UnicodeEncodeError):
        yield text.encode("ascii").decode("unicode_escape")
    if text[:1] == "b" and text[1:2] in ("'", '"') and text[1:2] == text[-1]:
        # Bytes that were printed and not decoded.
        with suppress(UnicodeDecodeError, UnicodeEncodeError):
            yield text[2:-1].encode("latin-1").decode("unicode_escape").encode("latin-1").decode()
    for form in ("NFC", "NFKC", "NFD"):
        yield unicodedata.normalize(form, text)
    yield text.strip("\ufeff\u200b")


def _case(text: str) -> Iterator[str]:
    yield text.casefold()


#: In order of weakness; each yields rewritings of a live level that may be a known one.
_NORMALISERS: tuple[tuple[str, Callable[[str], Iterator[str]]], ...] = (
    ("whitespace", _spaces),
    ("letter_case", _case),
    ("numeric_as_text", _number_form),
    ("encoding_damage", _codecs),
)


class KnownLevels:
    """The levels of training, by name, by case-folded name, and by digest where the name is hidden."""

    def __init__(self, reference: Reference, profile: ColumnProfile) -> None:
        assert profile.levels is not None
        self._key = reference.hash_key
        self.names = {name for name in profile.levels.levels if name[:1] != "#" or not profile.levels.hidden}
        self.hidden = set(profile.levels.hidden)
        self.folded: dict[str, str] = {}
        self.spaceless: dict[str, str] = {}
        #: Names that are not ASCII, with how they are written in it.
        self.special = [(name, _plain_ascii(name)) for name in self.names if not name.isascii()]
        for name in profile.levels.levels:
            self.folded.setdefault(name.casefold(), name)
            self.spaceless.setdefault(re.sub(r"\s+", "", name), name)

    def find(self, text: str) -> str | None:
        """Return the level's name in the profile, or None."""
        if text in self.names:
            return text
        if self.hidden and digest(self._key, text) in self.hidden:
            return "#" + digest(self._key, text)
        return None

    def respelled(self, text: str) -> tuple[str, str] | None:
        """Return kind and known level for a text that is a level in another spelling."""
        for kind, rewrite in _NORMALISERS:
            for other in rewrite(text):
                hit = self.folded.get(other) if kind == "letter_case" else self.find(other)
                if hit is None and kind == "whitespace":
                    hit = self.spaceless.get(other)
                if hit is not None and hit != text:
                    return kind, hit
        bare = next(_spaces(text)).casefold()
        if bare in self.folded:
            return "whitespace", self.folded[bare]
        return self._damaged(text)

    def _damaged(self, text: str) -> tuple[str, str] | None:
        """Match with wildcards for what is not ASCII or was lost: damage that no decoding undoes."""
        plain = _plain_ascii(text) if self.special else ""
        for name, written in self.special:
            if plain == written or text in _transcribed(name):
                return "encoding_damage", name
        if text.isascii() and "?" not in text:
            return None
        parts = [re.escape(part) for part in re.split(r"[^\x00-\x7f]+|\?+", text)]
        if sum(len(part) for part in parts) < 2:
            return None
        # Marks of damage may stand for any letter; a letter that is none of them stands for a special one.
        is_marked = "?" in text or _DAMAGE.search(text) is not None
        pattern = re.compile((".{0,3}" if is_marked else r"[^\x00-\x7f]{0,3}").join(parts))
        hits = [name for name in self.names if (is_marked or not name.isascii()) and pattern.fullmatch(name)]
        return ("encoding_damage", hits[0]) if len(hits) == 1 else None


#: Letters that have no accent to take away, and how they are written without them.
_WITHOUT = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "\u0131": "i", "ð": "d", "þ": "th"}
)
_IN_TWO = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"})
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "å": "aa", "Å": "Aa", "ø": "oe"}
)


def _plain_ascii(text: str) -> str:
    """Return a text without accents and without what is left that is not ASCII."""
    bare = text.translate(_WITHOUT).translate(_IN_TWO)
    return unicodedata.normalize("NFKD", bare).encode("ascii", "ignore").decode()


def _transcribed(name: str) -> tuple[str, ...]:
    """Return a name with other letters left out, and with two letters for one with an umlaut."""
    return name.encode("ascii", "ignore").decode(), _plain_ascii(name.translate(_UMLAUTS))


def read_levels(reference: Reference, profile: ColumnProfile, texts: Texts) -> tuple[Texts, list[Finding]]:
    """Return the levels with other spellings undone, and a finding for each kind of spelling."""
    assert profile.levels is not None
    known = KnownLevels(reference, profile)
    counts = Counter(text for text in texts if text is not None)
    unseen = [text for text, _ in counts.most_common() if known.find(text) is None]
    rename = {text: hit for text in counts if (hit := known.find(text)) is not None and hit != text}
    if profile.role is Role.TEXT:
        found = _read_text(profile, texts)
        return texts, found
    if not unseen and not rename:
        return texts, []
    respelled: dict[str, dict[str, str]] = {}
    for text in unseen[:MOST_UNSEEN]:
        spelled = known.respelled(text)
        if spelled is not None and not _floods(profile, spelled[1], counts, text):
            respelled.setdefault(spelled[0], {})[text] = spelled[1]
        elif is_null_word(text):
            respelled.setdefault("null_token", {})[text] = ""
    booleans = _boolean_words(profile, unseen)
    if booleans and not respelled:
        respelled["boolean_as_text"] = booleans
    if "letter_case" in respelled and not _is_most(profile, respelled, unseen, counts):
        # One of several new names may be an old one in capitals: then all of them are names, not spellings.
        del respelled["letter_case"]
    fixed = texts.copy()
    for row, text in enumerate(texts):
        if text in rename:
            fixed[row] = rename[text]
    findings = [_undo(profile, kind, mapping, texts, fixed) for kind, mapping in respelled.items()]
    return fixed, _one_kind([finding for finding in findings if finding is not None])


def _is_most(
    profile: ColumnProfile, respelled: dict[str, dict[str, str]], unseen: list[str], counts: Counter[str]
) -> bool:
    """Whether other spellings are most of what is unseen, beyond what training's own rate of unseen levels gives."""
    assert profile.levels is not None
    told = sum(counts[text] for mapping in respelled.values() for text in mapping)
    usual = profile.levels.unseen_rate * sum(counts.values())
    return told >= MOST_UNSEEN_ROWS * (sum(counts[text] for text in unseen) - usual)


def _floods(profile: ColumnProfile, level: str, counts: Counter[str], text: str) -> bool:
    """Whether a word for null or for a default is far more frequent than the level that it could be a spelling of."""
    if not is_null_word(text) and not is_fill_word(text):
        return False
    assert profile.levels is not None
    total = sum(counts.values())
    share = float(profile.levels.counts[profile.levels.levels.index(level)]) if level in profile.levels.levels else 0.0
    share = (share + 0.5) / (profile.levels.rows + 1)
    return binomial_nats(counts[text] + counts.get(level, 0), total, share) > SPELL_NATS


def _undo(profile: ColumnProfile, kind: str, mapping: dict[str, str], texts: Texts, fixed: Texts) -> Finding | None:
    """Put the known levels into `fixed` and return what was found."""
    assert profile.levels is not None
    rows = np.array([text in mapping for text in texts], dtype=bool)
    for row in np.flatnonzero(rows):
        fixed[row] = mapping[texts[row]] or None
    total = int(sum(text is not None for text in texts))
    pairs = dict(list(mapping.items())[:50])
    first = next(iter(mapping.items()))
    example = f"{first[0]!r} for {first[1] or 'null'!r}"
    text = f"{int(rows.sum())} of {total} values are known ones spelled otherwise, such as {example}"
    nats = binomial_nats(int(rows.sum()), total, _spelled_twice(profile) + SPELLED_RATE)
    if profile.levels.unseen_rate < FEW_UNSEEN or kind == "null_token":
        nats = max(nats, SPELL_NATS)
    if nats < CLAIM_NATS:
        # Among thousands of names some are spelled in two ways, in training as well.
        return None
    share = float(rows.mean())
    return Finding(kind, (profile.name,), {"map": pairs}, share, nats, True, (text,), rows, gain=1e5 * share)


def _spelled_twice(profile: ColumnProfile) -> float:
    """Return the share of training whose level is there in another case or with other spaces too."""
    assert profile.levels is not None
    keys = [re.sub(r"\s+", "", name).casefold() for name in profile.levels.levels]
    twice = Counter(keys)
    total = max(1.0, float(profile.levels.counts.sum()))
    return float(np.dot(profile.levels.counts, np.array([twice[key] > 1 for key in keys])) / total) if keys else 0.0


def _one_kind(findings: list[Finding]) -> list[Finding]:
    """Keep the kinds with most rows first; damage shows as spelling for those levels that have no special letters."""
    return sorted(findings, key=lambda finding: -finding.share)


def _boolean_words(profile: ColumnProfile, unseen: list[str]) -> dict[str, str]:
    """Return the map between two pairs of words for truth, such as yes/no sent as true/false."""
    assert profile.levels is not None
    words = TRUE_TOKENS | FALSE_TOKENS
    levels = [level for level in profile.levels.levels if level.lower().removesuffix(".0") in words]
    if len(levels) != len(profile.levels.levels) or len(levels) != 2:
        return {}
    truth = {level.lower().removesuffix(".0") in TRUE_TOKENS: level for level in levels}
    sent = [text for text in unseen if text.strip().lower().removesuffix(".0") in words]
    if len(truth) != 2 or not sent:
        return {}
    return {text: truth[text.strip().lower().removesuffix(".0") in TRUE_TOKENS] for text in sent}


def _read_text(profile: ColumnProfile, texts: Texts) -> list[Finding]:
    """Compare habits of free text: case, outer spaces, marks of a wrong codec, words for null."""
    assert profile.levels is not None
    known = [text for text in texts if text is not None]
    if len(known) < 5:
        return []
    habits = profile.levels
    tests: tuple[tuple[str, Callable[[str], bool], float], ...] = (
        ("letter_case", lambda t: t == t.upper() and t != t.lower(), habits.upper_share),
        ("letter_case", lambda t: t == t.lower() and t != t.upper(), habits.lower_share),
        ("whitespace", lambda t: t != t.strip(), habits.space_share),
        ("null_token", is_null_word, 0.0),
        ("encoding_damage", lambda t: bool(_DAMAGE.search(t)), _damage_share(profile)),
    )
    found = []
    for kind, test, usual in tests:
        rows: Mask = np.array([text is not None and test(text) for text in texts], dtype=bool)
        nats = binomial_nats(int(rows.sum()), len(known), min(1.0, max(usual + 0.01, upper_share(usual, habits.rows))))
        if nats > 10:
            text = f"{int(rows.sum())} of {len(known)} texts; in training {usual:.1%}"
            found.append(Finding(kind, (profile.name,), {}, float(rows.mean()), nats, True, (text,), rows, gain=nats))
    return found


_DAMAGE = re.compile(r"Ã[\x80-\xbf©¨¤¶¼±³]|â€|Â[\xa0-\xbf]|\ufffd|&(amp|lt|gt|quot|#\d+);|%[0-9A-F]{2}")


def _damage_share(profile: ColumnProfile) -> float:
    assert profile.levels is not None
    total = max(1.0, float(profile.levels.counts.sum()))
    hits = [bool(_DAMAGE.search(name)) for name in profile.levels.levels]
    return float(np.dot(profile.levels.counts, np.asarray(hits, dtype=np.float64)) / total) if hits else 0.0
