"""Requests that were refused for their input: how many of whom, and for what, in words without values. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tallystick.parity.kinds import Family, Status
from tallystick.parity.parameters import listed
from tallystick.parity.verdict import Evidence, Verdict

#: The status of a refusal for the input.
STATUS = 400
#: Part of the refusals from which a client is said to have most of them.
MOST = 0.8
#: Requests of a client that must have come, and part of them that was refused, for it to get nothing done.
FEWEST, ALL_BUT = 10, 0.95
#: Clients that get nothing done which are told one by one.
MOST_CLIENTS = 5
#: What is told of a refusal's message.
MAX_WORDS = 14

#: A quote opens where no word ends, so that the apostrophe in "model's" is none, and closes where none goes on. The
#: letter is that of Python's bytes.
_OPENING = re.compile(r"(?<!\w)[bru]?(['\"`])")
_QUOTE, _CLOSES = r"['\"`]", r"(?!\w)"
_DIGITS = r"\d[\d.,:]*"


@dataclass(frozen=True)
class ShutOut:
    """A client that gets nothing done; `share` is the part of all requests that are its."""

    client: str
    requests: int
    refused: int
    share: float
    words: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in words."""
        of = f"{self.refused:,} of {self.requests:,} requests of client {self.client} are refused with {STATUS}"
        return f"{of}: {self.words}" if self.words else of


@dataclass(frozen=True)
class Refusals:
    """Requests of a span of time, by client, and those of them that were refused for their input."""

    requests: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    #: By client: the error code and the message of one of them, without values.
    words: Mapping[str, str] = field(default_factory=dict)
    #: By client: the columns that this message names.
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def shut_out(self) -> list[ShutOut]:
        """Return the clients of which all or nearly all requests are refused, those with the most first."""
        found = []
        for client, refused in sorted(self.refused.items(), key=lambda each: (-each[1], each[0])):
            requests = self.requests.get(client, refused)
            if requests >= FEWEST and refused >= ALL_BUT * requests:
                share = requests / max(1, sum(self.requests.values()))
                words, columns = self.words.get(client, ""), self.columns.get(client, ())
                found.append(ShutOut(client, requests, refused, share, words, columns))
        return found[:MOST_CLIENTS]

    def told(self, segment: Mapping[str, Any]) -> str:
        """Return what is said of them, of the client that a verdict names or of all; empty when there are none."""
        client = str(segment.get("value")) if segment.get("column") == "client" else ""
        refused = self.refused.get(client, 0) if client else sum(self.refused.values())
        if not refused:
            return ""
        requests = self.requests.get(client, 0) if client else sum(self.requests.values())
        whose = client or max(self.refused, key=lambda each: self.refused[each])
        words = f": {self.words[whose]}" if whose in self.words else ""
        of_client = " of this client" if client else ""
        # Where all rows have the fault no sender is named for it, and somebody has to be told.
        share = self.refused[whose] / refused
        by = "" if client or share < MOST else f", {'all' if share == 1 else 'most'} of client {whose}"
        return f"{refused:,} of {requests:,} requests{of_client} were refused with {STATUS}{by}{words}"


def with_refusals(verdict: Verdict, refusals: Refusals) -> Verdict:
    """Return a verdict with what is said of refusals.

    Nobody whose requests are all refused is served as in training: then rows like training's are not `consistent`.
    """
    out = refusals.shut_out()
    if verdict.status not in (Status.CONSISTENT, Status.CANNOT_TELL) or not out:
        told = refusals.told(verdict.segment)
        return _with_evidence(verdict, (*(each.text for each in verdict.evidence), told)) if told else verdict
    first = out[0]
    columns = f"{listed(first.columns)} of its requests" if first.columns else "its requests"
    whose = {"column": "client", "value": first.client, "share_of_rows": first.share}
    verdict = msgspec.structs.replace(
        verdict,
        status=Status.CANNOT_TELL,
        family=Family.SCHEMA,
        segment=verdict.segment or whose,
        fix=f"have client {first.client} send {columns} as the refusal asks for, or log the model with a signature "
        "that takes what it sends",
        settle=(f"send one request of client {first.client} again, and read the whole refusal", *verdict.settle),
    )
    return _with_evidence(verdict, (*(str(each) for each in out), *(each.text for each in verdict.evidence)))


def beside(verdict: Verdict, refusals: Refusals, blamed: Collection[str]) -> Verdict:
    """Return a verdict that names a cause or another population, with the clients that it does not speak of.

    `blamed` are the clients that a cause was found for.
    """
    explained = {*verdict.features, *(name for other in verdict.others for name in other.features)}
    also = []
    for each in refusals.shut_out():
        is_told = bool(explained & {*each.columns}) if each.columns else each.client in blamed
        also += [] if is_told else [str(each)]
    return msgspec.structs.replace(verdict, also=(*verdict.also, *also)) if also else verdict


def _with_evidence(verdict: Verdict, texts: Collection[str]) -> Verdict:
    asked = {each.text: each.question for each in verdict.evidence}
    pieces = [Evidence(number, text, asked.get(text, "")) for number, text in enumerate(texts, 1)]
    return msgspec.structs.replace(verdict, evidence=tuple(pieces))


def words_of(answer: str | None, names: Collection[str]) -> str:
    """Return code and first words of a refusal. What is quoted is a value, unless it is one of `names`.

    A value may hold quotes itself: from where one opens to the last that closes, only names are told.

    >>> words_of('{"error_code": "BAD", "message": "Column `temp`: got `12,5` in row 3 of the model\\'s."}', {"temp"})
    "BAD Column 'temp': got '…' in row … of the model's"
    """
    return told_of(answer, names)[0]


def told_of(answer: str | None, names: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return words_of() a refusal, and the columns that it names."""
    try:
        fields = msgspec.json.decode(answer or "")
    except msgspec.DecodeError:
        return "", ()
    if not isinstance(fields, dict):
        return "", ()
    code, message = str(fields.get("error_code") or "")[:64], " ".join(str(fields.get("message") or "").split())
    spoken = "".join(_spoken(message, names))
    words = spoken.split()
    cut = " ".join(words[:MAX_WORDS]) + (" …" if len(words) > MAX_WORDS else "")
    columns = columns_of(spoken, names)
    if columns and not columns_of(cut, names):
        cut += f" column '{columns[0]}' …"
    return f"{code} {cut}".strip().rstrip("."), tuple(columns)


def columns_of(text: str, names: Collection[str]) -> list[str]:
    """Return the columns that a message is about, in its order: in quotes, or as "dataframe_records[0].age".

    >>> columns_of("records[0].age: is no number; column 'text': missing", ["text", "age", "no"])
    ['age', 'text']
    """
    forms = {name: rf"['\"`]{re.escape(name)}['\"`]|\]\.{re.escape(name)}(?!\w)" for name in names if name in text}
    found = {name: re.search(form, text) for name, form in forms.items()}
    return [name for _, name in sorted((each.start(), name) for name, each in found.items() if each is not None)]


def _spoken(message: str, names: Collection[str]) -> Iterator[str]:
    """Yield the parts of a message as they may be told."""
    place = 0
    while opening := _OPENING.search(message, place):
        yield _plain(message[place : opening.start()], names)
        quote, begin = opening[1], opening.end()
        same = re.search(quote + _CLOSES, message[begin:])
        name = message[begin : begin + same.start()] if same else ""
        if name in names and not _goes_on(message[begin + len(name) + 1 :]):
            yield f"'{name}'"
            place = begin + len(name) + 1
            continue
        ends = [found.end() for found in re.finditer(_QUOTE + _CLOSES, message[begin:])] if same else []
        place = begin + ends[-1] if ends else len(message)
        yield " ".join(["'…'", *(f"'{each}'" for each in columns_of(message[opening.start() : place], names))])
    yield _plain(message[place:], names)


def _goes_on(rest: str) -> bool:
    """Whether a quote closes in the rest of a message before one opens: then what closed was a part of a value."""
    found = re.search(rf"(?<!\w)[bru]?{_QUOTE}|{_QUOTE}{_CLOSES}", rest)
    return found is not None and found.start() > 0 and rest[found.start() - 1 : found.start()].isalnum()


def _plain(text: str, names: Collection[str]) -> str:
    """Return words without the numbers in them, but for those in names."""
    known = sorted((name for name in names if name in text and re.search(r"[^\W\d]", name)), key=len, reverse=True)
    kept = "".join(rf"(?<!\w){re.escape(name)}(?!\w)|" for name in known)
    return re.sub(f"({kept}(?!))|{_DIGITS}", lambda found: found.group(1) or "…", text)
