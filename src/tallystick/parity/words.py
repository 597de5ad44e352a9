"""What a verdict says in sentences: one line of words for each kind of cause, filled with its parameters.

A template's `{name}` is a parameter in words (see `in_words`); a part in square brackets is left out when one of its
parameters is not known. The terminal's text and the HTML report take their sentences from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tallystick.parity.kinds import Family, Status
from tallystick.parity.parameters import count, in_words, listed, percent
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.parity.verdict import OtherCause, Verdict

#: From this share on it is "all rows", and a segment's rows are not told apart.
ALL = 0.995
#: Columns whose parameters differ that get a phrase each.
MOST_PHRASES = 3


class Subject(StrEnum):
    """Whom a kind's words are about, and so how its sentence begins."""

    #: The phrase follows "client ios sends" or "31 % of 200 rows carry".
    ROWS = "rows"
    #: As ROWS, but the share is one of the rows that should have the levels in question.
    LEVELS = "levels"
    #: The phrase follows "all predictions are".
    PREDICTIONS = "predictions"
    #: The phrase follows "all golden rows get".
    GOLDEN = "golden"
    #: The phrase is the whole sentence.
    SENTENCE = "sentence"


@dataclass(frozen=True)
class Words:
    """The phrase of a kind, and its parameters in short, which stand behind the kind's id."""

    phrase: str
    short: str = ""
    subject: Subject = Subject.ROWS


_ANSWERED = Subject.PREDICTIONS
_WHOLE = Subject.SENTENCE

WORDS: dict[str, Words] = {
    "numeric_as_text": Words("{columns} as {form}[, such as {example}]"),
    "decimal_comma": Words("{columns} as text in another locale[, such as {example}]", "{example}"),
    "boolean_as_text": Words("{columns} as words where training had truth values[ ({map})]", "{pair}"),
    "letter_case": Words("levels of {columns} in another letter case than in training[ ({map})]", "{pair}"),
    "whitespace": Words("levels of {columns} with other spaces than in training[ ({map})]", "{pair}"),
    "encoding_damage": Words("text in {columns} that went through a wrong codec or transcription[ ({map})]", "{pair}"),
    "renamed_level": Words("[{map}|new names for known levels] in {columns}", "{pair}", Subject.LEVELS),
    "new_level": Words("levels of {columns} that training never had[ ({levels})]", "{levels}"),
    "null_token": Words("words in {columns} for what is missing[ ({tokens})]", "{tokens}"),
    "unreadable": Words("values of {columns} that cannot be read[, such as {example}]"),
    "missing_column": Words("no {columns}, which training had"),
    "extra_column": Words("{columns}, which training did not have"),
    "renamed_column": Words("{columns} under [the name {to}|another name]", "as {to}"),
    "epoch_unit": Words(
        "times of {columns} counted in another unit of the epoch[ ({to} for {from})]", "[{to} for {from}|{sign}]"
    ),
    "day_month_swapped": Words("dates of {columns} with day and month exchanged"),
    "lossy_cast": Words("{columns} without the fraction: cut[ to {decimals}]", "to {decimals}"),
    "standardized": Words(
        "{columns} already standardised[ (mean {mean}, deviation {sd})], where training had raw values"
    ),
    "standardized_twice": Words("{columns} standardised twice[ (mean {mean}, deviation {sd})]"),
    "not_standardized": Words("raw values of {columns}, where training had standardised ones"),
    "wrong_scaler": Words("{columns} scaled with the constants of [{column}|another column]", "of {column}"),
    "minmax_scaled": Words(
        "{columns} already scaled to its range[ ({minimum} to {maximum})], where training had raw values"
    ),
    "log": Words("the logarithm of {columns}[ (base {base}, of {of})]", "base {base} of {of}"),
    "exp": Words(
        "{columns} without the logarithm that training had: its exponential[ (base {base}, of {of})]",
        "base {base} of {of}",
    ),
    "unit": Words("{columns} {times} as in training[ ({interval})][ ({name})]", "{sign}"),
    "affine_unit": Words("{columns} in another unit than in training[: {name}]", "{name}"),
    "affine": Words("{columns} moved and stretched: {line}", "{line}"),
    "clipped": Words("{columns} cut off[ {edge}]", "{edge}"),
    "category_relabelled": Words("levels of {columns} exchanged among themselves[ ({map})]", "{pair}", Subject.LEVELS),
    "step_differs": Words("{columns} after another step than in training[: {function}]", "{function}"),
    "aggregate_changed": Words(
        "another aggregate of {columns} than training had[: {to} for {from}]", "{to} for {from}"
    ),
    "nulls": Words("no value in {columns}, where training had one"),
    "default_fill": Words("[{value}|a default] in {columns} in place of values that are missing", "{value}"),
    "constant": Words("one and the same {columns}[: {value}]", "{value}"),
    "stale": Words("values of {columns} that belong to [{lag}|other rows or an earlier time]", "[{age}]"),
    "feature_absent": Words("no value in {columns}, which knew the label in training"),
    "window_changed": Words(
        "{columns} counted over another window than in training[: {to} for {from}]", "{to} for {from}"
    ),
    "columns_swapped": Words("{columns} in each other's place"),
    "column_shift": Words("{columns} {places} off", "{places}"),
    "time_zone": Words("{columns} shifted by {hours} h", "{hours} h"),
    "rounded": Words("{columns} rounded[ to {decimals}]", "to {decimals}"),
    "float32": Words("{columns} as 32-bit floats, where training had all digits"),
    "sign_flip": Words("{columns} with the opposite sign"),
    "class_order": Words("the probability of another class[: {map}]", subject=_ANSWERED),
    "sampling_prior": Words(
        "off by a constant in log-odds[ ({log_odds})], as from a sampling rate[ of {rate}] that was not undone",
        "rate {rate}",
        _ANSWERED,
    ),
    "prediction_differs": Words(
        "other than the model gives for the same rows"
        "[ (largest difference {largest})][: {no_numbers} of them are no numbers]",
        subject=_ANSWERED,
    ),
    "environment_differs": Words(
        "those of [{differences}|other libraries or another platform than training's]", "{packages}", _ANSWERED
    ),
    "wrong_version": Words(
        "[{replicas}|a replica serves] another model version than the one that was asked for", subject=_WHOLE
    ),
    "covariate_shift": Words(
        "the rows are another mix than in training (in {columns}), and their columns agree with each other as they did",
        subject=_WHOLE,
    ),
    "subpopulation": Words(
        "the rows are one part of the training population[: {column} is {value}][: {column} from {from} to {to}]",
        subject=_WHOLE,
    ),
    "label_shift": Words("the classes have another mix than in training", subject=_WHOLE),
}

#: Words of rows that are no part of training's, by the `outside` of their range.
_OUTSIDE = Words(
    "the rows lie outside training's range: {column} from {from} to {to}, all {outside} it", subject=_WHOLE
)
#: Words of kinds that were seen inside the endpoint, by their `step`, and not in what was sent.
_INSIDE: dict[str, Words] = {
    "step_differs": Words("other values than training's after {step}[ in {columns}]", "after {step}", Subject.GOLDEN),
}
#: Words of levels that are new in a column that has no levels, by the `role` of the column.
_NO_LEVELS = Words("text[ such as {example}] in {columns}, where training had {role}s", "{example}")


def words_of(cause: Verdict | OtherCause) -> Words:
    """Return the words of a cause's kind; raises KeyError for a kind without."""
    return _words(cause.kind, cause.transformation)


def _words(kind: str, transformation: Mapping[str, Any]) -> Words:
    inside = _INSIDE.get(kind)
    if inside and "step" in transformation:
        return inside
    if kind == "subpopulation" and "outside" in transformation:
        return _OUTSIDE
    return _NO_LEVELS if kind == "new_level" and "role" in transformation else WORDS[kind]


def headline(verdict: Verdict) -> str:
    """Return the one sentence that a verdict comes to.

    >>> from tallystick.parity.verdict import Verdict
    >>> headline(Verdict(status=Status.CAUSE_FOUND, kind="unit", features=("temp",), transformation={"factor": 100.0},
    ...     share=0.31, rows=200, first_seen="14:02:11", segment={"column": "client", "value": "ios/4.2",
    ...     "share_of_rows": 0.31, "affected_inside": 1.0, "affected_outside": 0.0}))
    'Since 14:02:11 client ios/4.2 (31 % of requests) sends temp 100 times as large as in training.'
    """
    if not verdict.kind:
        return _without_kind(verdict)
    words = words_of(verdict)
    said = phrase(verdict)
    if words.subject is Subject.SENTENCE:
        return f"{said[:1].upper()}{said[1:]}."
    whose = _segment(verdict.segment)
    if words.subject is Subject.GOLDEN:
        body = f"{_part(verdict.share, 'golden rows')} get {said}"
    elif words.subject is Subject.PREDICTIONS:
        body = f"{_part(verdict.share, 'predictions')}{f' for {whose}' if whose else ''} are {said}"
    elif whose:
        inside = float(verdict.segment.get("affected_inside", 1.0))
        body = f"{whose} sends {said}{f', seen in {percent(inside)} of its rows' if inside < ALL else ''}"
    elif words.subject is Subject.LEVELS:
        body = f"{_part(verdict.share, 'the rows concerned')} carry {said}"
    else:
        body = (
            f"{_part(verdict.share, count(verdict.rows, 'row'))} {'carries' if verdict.rows == 1 else 'carry'} {said}"
        )
    if verdict.first_seen:
        when = f"{printable(verdict.first_seen)}{' or before' if verdict.is_older else ''}"
        if verdict.last_seen:
            return f"From {when} to {printable(verdict.last_seen)}, {body}."
        comma = "" if whose and words.subject is Subject.ROWS and not verdict.is_older else ","
        return f"Since {when}{comma} {body}."
    return f"{body[:1].upper()}{body[1:]}."


def _without_kind(verdict: Verdict) -> str:
    if not verdict.rows:
        return "There are no rows to judge."
    rows = count(verdict.rows, "row")
    if verdict.status is Status.CONSISTENT:
        look = "looks" if verdict.rows == 1 else "look"
        return f"The {rows} {look} like rows of training: no column differs by more than a fair sample does."
    if verdict.family is Family.SCHEMA and verdict.segment:
        return f"Requests of {_segment(verdict.segment)} are refused, and the form of their values does not say why."
    if verdict.features:
        differ = "differs" if len(verdict.features) == 1 else "differ"
        columns = printable(listed(verdict.features))
        return f"{columns} {differ} from training; a fault and a change of the population would look the same here."
    tell = "does not tell" if verdict.rows == 1 else "do not tell"
    return f"The {rows} {tell}: the form of their values is as in training, and more is not known."


def _segment(segment: Mapping[str, Any]) -> str:
    if not segment:
        return ""
    share = f" ({percent(float(segment['share_of_rows']))} of requests)" if "share_of_rows" in segment else ""
    return printable(f"{segment['column']} {segment['value']}{share}")


def _part(share: float, things: str) -> str:
    return f"all {things}" if share >= ALL else f"{percent(share)} of {things}"


def phrase(verdict: Verdict) -> str:
    """Return what is wrong as a phrase without its subject; columns whose parameters differ get one each.

    >>> from tallystick.parity.verdict import Verdict
    >>> phrase(Verdict(status=Status.SUSPECTED, kind="unit", features=("a", "b"), transformation={"factor": 10.0,
    ...     "each": {"a": {"factor": 10.0}, "b": {"factor": 0.01}}}))
    'a 10 times as large as in training, b 100 times as small as in training'
    """
    words = words_of(verdict)
    given = {key: value for key, value in verdict.transformation.items() if key != "each"}
    each = verdict.transformation.get("each") or {}
    if len(each) > 1:
        common = {key: value for key, value in given.items() if all(one.get(key) == value for one in each.values())}
        phrases = {name: _words(verdict.kind, one).phrase for name, one in each.items()}
        is_sayable = _is_sayable(words.phrase, in_words(verdict.kind, verdict.features, common))
        if len(set(phrases.values())) > 1 or (common != given and not is_sayable):
            said = [fill(phrases[name], in_words(verdict.kind, (name,), one)) for name, one in each.items()]
            more = f", and {len(said) - MOST_PHRASES} more" if len(said) > MOST_PHRASES else ""
            return ", ".join(said[:MOST_PHRASES]) + more
        given = common
    return fill(words.phrase, in_words(verdict.kind, verdict.features, given))


def name_of(verdict: Verdict) -> str:
    """Return family, kind, parameters and columns of a verdict, as its title has them.

    >>> from tallystick.parity.kinds import Family
    >>> from tallystick.parity.verdict import Verdict
    >>> name_of(Verdict(status=Status.SUSPECTED, family=Family.ASSUMPTION, kind="time_zone", features=("hour",),
    ...     transformation={"hours": -5}))
    'assumption · time_zone -5 h · column hour'
    """
    if not verdict.kind:
        return ""
    return f"{verdict.family} \N{MIDDLE DOT} {brief_name(verdict)}"


def brief_name(cause: Verdict | OtherCause) -> str:
    """Return kind, parameters and columns of a cause.

    >>> from tallystick.parity.kinds import Family
    >>> from tallystick.parity.verdict import OtherCause
    >>> brief_name(OtherCause(family=Family.SCHEMA, kind="decimal_comma", features=("hum", "wind")))
    'decimal_comma · columns hum and wind'
    """
    brief = short(cause.kind, cause.transformation, words_of(cause).short)
    name = f"{cause.kind}{f' {brief}' if brief else ''}"
    if cause.features:
        plural = "s" if len(cause.features) > 1 else ""
        name += f" \N{MIDDLE DOT} column{plural} {printable(listed(cause.features))}"
    return name


def title(verdict: Verdict) -> str:
    """Return all causes of a verdict in a line: the first in a sentence, the others by name."""
    others = "; ".join(brief_name(other) for other in verdict.others)
    return f"{headline(verdict)} Also {others}." if others else headline(verdict)


def short(kind: str, transformation: Mapping[str, Any], template: str | None = None) -> str:
    """Return the parameters of a kind in short; empty when it has none, or when columns have different ones.

    `template` is another one than the kind's own.

    >>> short("unit", {"factor": 0.01}), short("rounded", {"decimals": 1}), short("renamed_level", {"map": {"b": "a"}})
    ('÷100', 'to 1 decimal', "'b' for 'a'")
    """
    each = transformation.get("each") or {}
    parameters = in_words(kind, (), transformation)
    if any(in_words(kind, (), one) != parameters for one in each.values()):
        return ""
    template = WORDS[kind].short if template is None else template
    return fill(template, parameters) if _is_sayable(template, parameters) else ""


def fill(template: str, parameters: Mapping[str, str]) -> str:
    """Return a template with its parameters; `[a|b]` is a when its parameters are known, else b (or nothing).

    >>> fill("cut off[ at {bound}][ by {whom}]", {"bound": "5"})
    'cut off at 5'
    """
    chosen = re.sub(r"\[([^\[\]]*)\]", lambda part: _choose(part.group(1), parameters), template)
    return chosen.format_map(parameters)


def _choose(part: str, parameters: Mapping[str, str]) -> str:
    first, _, other = part.partition("|")
    return first if _is_sayable(first, parameters) else other


def _is_sayable(template: str, parameters: Mapping[str, str]) -> bool:
    return all(name in parameters for name in re.findall(r"\{(\w+)\}", re.sub(r"\[[^\[\]]*\]", "", template)))
