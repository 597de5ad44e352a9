"""Parameters of a cause in words: numbers, levels, columns and shares as sentences have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tallystick.printable import count as count
from tallystick.printable import named, printable

#: Columns, levels and pairs that a sentence names before it says "and 5 more".
MOST_NAMES, MOST_LEVELS = 4, 2
LONGEST_NAME = 40
#: Parameters that say where a column lies; four digits are enough to know them by.
_PLACES = frozenset({"mean", "sd", "median", "iqr", "minimum", "maximum", "from", "to", "bound", "largest", "rate"})
#: Parameters that are times where the column's role is `time`, in seconds since 1970; and those that ISO 8601 can tell.
TIMES = frozenset({"value", "mean", "median", "minimum", "maximum", "from", "to", "bound"})
_LAST_S = 253_402_300_799


def in_words(kind: str, columns: Sequence[str], transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a transformation in words, safe to print, by the names that templates know.

    >>> in_words("time_zone", ["hour"], {"hours": 5})
    {'hours': '+5', 'columns': 'hour'}
    """
    simple = {key: value for key, value in transformation.items() if not isinstance(value, dict | list | tuple)}
    known = {key: _value(value, 4 if key in _PLACES else 6) for key, value in simple.items()}
    is_time = transformation.get("role") == "time"
    known |= {key: _time(simple[key]) for key in TIMES & simple.keys() if is_time}
    if known.get("name", "").startswith(("10^", "1 / ", "unnamed")):
        # A power of ten is told by the factor, and the inverse of a unit's name reads worse than none.
        del known["name"]
    if columns:
        known["columns"] = listed(columns)
    # Another column, and the name that a column came under.
    names = ("column", "to") if kind == "renamed_column" else ("column",)
    known |= {key: named(simple[key]) for key in names if key in simple}
    for key in ("hours", "log_odds"):
        if isinstance(transformation.get(key), int | float):
            known[key] = f"{transformation[key]:+.4g}"
    known |= _numbers(transformation)
    known |= _levels(kind, transformation)
    known |= _form(kind, transformation)
    known |= _endpoint(transformation)
    # Clients choose levels and names.
    return {key: printable(text) for key, text in known.items()}


def _numbers(transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a factor, its interval, and digits."""
    known: dict[str, str] = {}
    if isinstance(transformation.get("factor"), int | float) and transformation["factor"]:
        known |= _factor(float(transformation["factor"]), float(transformation.get("offset") or 0.0))
    if transformation.get("interval"):
        known["interval"] = "\N{EN DASH}".join(number(float(end)) for end in transformation["interval"])
    if isinstance(transformation.get("decimals"), int):
        known["decimals"] = _digits(transformation["decimals"])
    if "bound" in transformation and "side" in transformation:
        bound = transformation["bound"]
        told = _time(bound) if transformation.get("role") == "time" else _value(bound, 6)
        known["edge"] = f"{'below' if transformation['side'] == 'lower' else 'above'} {told}"
    return known


def _levels(kind: str, transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of levels and words."""
    known: dict[str, str] = {}
    if transformation.get("map"):
        known["map"] = _pairs(transformation["map"], is_from_training=kind == "category_relabelled")
        known["tokens"] = _joined([quoted(key) for key in transformation["map"]], MOST_LEVELS)
        if len(transformation["map"]) == 1:
            known["pair"] = known["map"]
    for key in ("levels", "tokens"):
        if transformation.get(key):
            known[key] = _joined([quoted(value) for value in transformation[key]], MOST_LEVELS)
    if transformation.get("levels") and "role" in transformation:
        known["example"] = quoted(transformation["levels"][0])
    return known


def _form(kind: str, transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of forms and places of values."""
    if kind == "numeric_as_text":
        is_number = "direction" in transformation
        return {"form": "numbers where training had text" if is_number else "text where training had numbers"}
    if kind == "column_shift" and isinstance(transformation.get("offset"), int):
        return {"places": count(abs(transformation["offset"]), "place")}
    return _lag(transformation) if kind == "stale" else {}


def _lag(transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return to what rows or time stale values belong, after "values that belong to"; and their age in short."""
    lag_s, training_s = transformation.get("lag_s"), transformation.get("training_lag_s")
    if isinstance(lag_s, int | float):
        place = "the time of the request" if lag_s == 0 else f"a time {span(abs(lag_s))} before the request"
        if isinstance(training_s, int | float) and training_s:
            side = "before" if training_s > 0 else "AFTER"
            return {
                "lag": f"{place}, where training had those of {span(abs(training_s))} {side} its rows' times",
                "age": f"{span(abs(lag_s))}, in training {span(training_s)}"
                if lag_s
                else f"in training {span(training_s)}",
            }
        return {"lag": place, "age": span(lag_s)}
    if "as_of" in transformation:
        when = str(transformation["as_of"]).replace("T", " ")
        return {"lag": f"{when}, whatever the time of the request", "age": f"as of {when}"}
    if isinstance(transformation.get("lag_rows"), int):
        rows = transformation["lag_rows"]
        whose = "its key's row" if transformation.get("within") == "key" else "the row"
        return {"lag": f"{whose} before" if rows == 1 else f"{whose} {rows} before"}
    if "training_change_rate" in transformation:
        return {"lag": "an earlier time of their key: they stand still"}
    return {}


def _endpoint(transformation: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of an endpoint: packages that differ, and replicas that serve something else."""
    known = {}
    packages = [str(name) for name in transformation.get("packages") or ()]
    if packages:
        training, serving = transformation.get("training") or {}, transformation.get("serving") or {}
        plain = [name.removeprefix("package:") for name in packages]
        known["packages"] = _joined(plain, MOST_LEVELS)
        versions = [
            f"{name} {serving.get(key, 'another')} where training had {training.get(key, 'another')}"
            for key, name in zip(packages, plain, strict=True)
        ]
        known["differences"] = _joined(versions, MOST_LEVELS)
    replicas = transformation.get("replicas")
    if replicas:
        part = f" ({len(replicas)} of {transformation['of']})" if "of" in transformation else ""
        one = len(replicas) == 1
        names = _joined([str(name) for name in replicas], MOST_LEVELS)
        known["replicas"] = f"replica{'' if one else 's'} {names}{part} serve{'s' if one else ''}"
    return known


def _factor(factor: float, offset: float) -> dict[str, str]:
    up, down = number(factor), number(1 / factor)
    is_down = abs(factor) < 1 and len(down) < len(up)
    line = f"{up} \N{MULTIPLICATION SIGN} training"
    return {
        "times": f"{down} times as small" if is_down else f"{up} times as large",
        "sign": f"\N{DIVISION SIGN}{down}" if is_down else f"\N{MULTIPLICATION SIGN}{up}",
        "line": line + (f" {'+' if offset > 0 else '-'} {number(abs(offset))}" if offset else ""),
    }


def _pairs(pairs: Mapping[str, Any], is_from_training: bool) -> str:
    """Return pairs of levels as "sent for training's"."""
    said = [(old, new) if not is_from_training else (new, old) for old, new in pairs.items()]
    texts = [f"{quoted(sent)} for {quoted(meant) if str(meant) else 'a missing value'}" for sent, meant in said]
    return _joined(texts, MOST_LEVELS)


def _digits(decimals: int) -> str:
    if decimals < 0:
        return f"multiples of {10**-decimals}"
    return "whole numbers" if decimals == 0 else count(decimals, "decimal")


def _value(value: Any, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(float(value), digits)


def _time(value: Any) -> str:
    """Return seconds since 1970 as ISO 8601 has them, anything else as it is.

    >>> _time(1750720000.0), _time("epoch_s")
    ('2025-06-23T23:06:40Z', 'epoch_s')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LAST_S:
        return _value(value, 6)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(max(value, -62_135_596_800)))
    return f"{when.replace(tzinfo=None).isoformat()}Z"


def number(value: float, digits: int = 6) -> str:
    """Return a number with so many digits at most."""
    return f"{value:.{digits}g}"


def quoted(level: Any) -> str:
    """Return a level in quotes, cut where it is long."""
    text = str(level)
    return f"'{text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + '…'}'"


def percent(share: float) -> str:
    """Return a share of one in per cent, with a decimal where it is small.

    >>> percent(0.31), percent(0.004)
    ('31 %', '0.4 %')
    """
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def span(seconds: float) -> str:
    """Return a span of time in the largest unit that it has two of, or one exactly.

    >>> span(86400), span(-3600), span(5400), span(90000), span(0.25)
    ('1 day', '-1 hour', '90 minutes', '25 hours', '0.25 seconds')
    """
    for unit, word in ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        size = abs(seconds) / unit
        if size == 1 or size >= 2:
            return f"{number(seconds / unit, 3)} {word}{'' if size == 1 else 's'}"
    return f"{number(seconds, 3)} second{'' if abs(seconds) == 1 else 's'}"


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return names as a list in words; in quotes where the words around them would not tell them apart.

    >>> listed(["a", "b", "c"]), listed(list("abcdef")), listed(["-", "wind, gusts"])
    ('a, b and c', 'a, b, c, d and 2 more', "'-' and 'wind, gusts'")
    """
    return _joined([named(name) for name in names], most)


def _joined(texts: Sequence[str], most: int) -> str:
    if len(texts) > most + 1:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return " and ".join((", ".join(texts[:-1]), texts[-1])) if len(texts) > 1 else "".join(texts)
