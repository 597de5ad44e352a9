"""Names, types and spellings: what can be told from the wire form of single values, from the first row on.

Source: the coercions of MLflow's scoring path and of JSON and CSV clients. False positives: none by distribution, since
nothing here depends on one; a fault is a value whose form training never had. Reading undoes what it reports, so later
detectors see the values meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import (
    FALSE_TOKENS,
    TRUE_TOKENS,
    Mask,
    Role,
    Texts,
    read_numbers,
    read_texts,
)
from tallystick.parity.detect.categorical import FEWEST_NULLS, NULL_NATS, null_nats
from tallystick.parity.detect.exchange import undo_exchange
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.levels import read_levels
from tallystick.parity.detect.misfit import SentColumn, is_elsewhere, misfit
from tallystick.parity.detect.shift import undo_shift
from tallystick.parity.detect.times import read_live_times
from tallystick.parity.joint import Values
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile
from tallystick.printable import listed_names

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Nats of evidence of a single value in a form that training never had.
FORM_NATS = 12.0
#: Rows that must hold one value, and the share of it in training from which that is no news.
FEWEST_ROWS, MOST_OF_ONE = 10, 0.9


def read_live(reference: Reference, frame: pd.DataFrame) -> tuple[Live, list[Finding]]:
    """Return the live rows with wire faults undone, and those faults."""
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    frame, findings = _match_names(reference, frame)
    frame, shifted = undo_shift(reference, frame)
    frame, exchanged = undo_exchange(reference, frame)
    findings += shifted + exchanged
    values: list[Values] = []
    absent = set()
    for j, profile in enumerate(reference.columns):
        if profile.name not in frame.columns:
            absent.add(j)
            values.append(_nothing(profile, frame))
            continue
        if profile.privacy == "none":
            # Nothing is known of it, so nothing can be compared.
            absent.add(j)
        column, found = _read(reference, j, frame[profile.name]) if j not in absent else (_nothing(profile, frame), [])
        values.append(column)
        findings += found
    unread = {name for found in findings if found.kind == "unreadable" for name in found.features}
    # What cannot be read is not missing: nothing more is asked of such a column.
    broken = frozenset(j for j, profile in enumerate(reference.columns) if profile.name in unread)
    return Live(reference, tuple(values), frozenset(absent), broken), findings


def _nothing(profile: ColumnProfile, frame: pd.DataFrame) -> Values:
    if profile.numbers is not None:
        return np.full(len(frame), np.nan, dtype=np.float64)
    return np.full(len(frame), None, dtype=object)


def _match_names(reference: Reference, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    if not len(frame):
        # No row lacks a column.
        return frame, []
    missing = [name for name in reference.names if name not in frame.columns]
    extra = [name for name in frame.columns if name not in reference.names]
    renamed = _pairs(reference, frame, missing, extra)
    spare = [name for name in extra if name not in renamed.values()]
    filled = _pairs(reference, frame, _filled(reference, frame), spare) if spare else {}
    frame, renamed = frame.drop(columns=list(filled)), renamed | filled
    rows = np.ones(len(frame), dtype=bool)
    found = []
    for old, new in renamed.items():
        has = "holds one value, or none, in all rows" if old in filled else "is not sent"
        text = f"column {old!r} {has}; {new!r} is there, and its values are those of {old!r} in training"
        found.append(_exact("renamed_column", (old,), {"from": old, "to": new}, rows, text))
    lost = [name for name in missing if name not in renamed]
    if lost:
        text = f"not sent: {listed_names(lost, 10)}"
        found.append(_exact("missing_column", tuple(lost), {"columns": lost}, rows, text))
    more = [name for name in extra if name not in renamed.values()]
    if more:
        text = f"not in training: {listed_names(more, 10)}"
        found.append(_exact("extra_column", tuple(more), {"columns": more}, rows, text, nats=FORM_NATS / 2))
    return frame.rename(columns={new: old for old, new in renamed.items()}), found


def _filled(reference: Reference, frame: pd.DataFrame) -> list[str]:
    """Return columns that varied in training and hold one value or none: something fills them in before the model."""
    if len(frame) < FEWEST_ROWS:
        return []
    names = [profile.name for profile in reference.columns if profile.name in frame.columns and _varied(profile)]
    return [name for name in names if len(set(read_texts(frame[name])) - {None}) <= 1]


def _varied(profile: ColumnProfile) -> bool:
    return float(profile.cell_shares.max(initial=0.0)) < MOST_OF_ONE


def _pairs(reference: Reference, frame: pd.DataFrame, missing: list[str], extra: list[str]) -> dict[str, str]:
    """Return old name -> new name for columns that are there under another name: by spelling, then by values."""
    pairs: dict[str, str] = {}
    for old in missing:
        same = [new for new in extra if _plain(new) == _plain(old) and new not in pairs.values()]
        if len(same) == 1:
            pairs[old] = same[0]
    costs = []
    left = [reference.column(old) for old in missing if old not in pairs]
    for new in [new for new in extra if new not in pairs.values()]:
        sent = SentColumn(frame[new])
        costs += [(misfit(profile, sent), profile.name, new) for profile in left if not is_elsewhere(profile, sent)]
    for cost, old, new in sorted(costs):
        if cost < 1.0 and old not in pairs and new not in pairs.values():
            pairs[old] = new
    return pairs


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _exact(
    kind: str, features: tuple[str, ...], parameters: Mapping[str, Any], rows: Mask, text: str, nats: float = FORM_NATS
) -> Finding:
    share = float(rows.mean()) if len(rows) else 0.0
    return Finding(kind, features, parameters, share, nats * max(1, int(rows.sum())), True, (text,), rows, gain=1e6)


def _read(reference: Reference, j: int, series: pd.Series[Any]) -> tuple[Values, list[Finding]]:
    profile = reference.columns[j]
    if profile.role is Role.NUMBER:
        return _read_numbers(profile, series)
    if profile.role is Role.TIME:
        return read_live_times(profile, series)
    assert profile.levels is not None
    texts = read_texts(series)
    found: list[Finding] = []
    if profile.levels.is_boolean:
        texts, found = _read_booleans(profile, series, texts)
    elif pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        texts, found = _read_numeric_levels(profile, texts)
    texts, spelled = read_levels(reference, profile, texts)
    return texts, found + spelled


def _read_numbers(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Values, list[Finding]]:
    read = read_numbers(series)
    name = profile.name
    found = []
    if read.comma.any():
        rows = read.comma | read.as_text
        example = _example(series, read.comma)
        count = int(rows.sum())
        text = f"{count} of {len(series)} values are text with another decimal or thousands mark, such as {example}"
        found.append(_exact("decimal_comma", (name,), {"example": example}, rows, text))
    elif read.as_text.any():
        example = _example(series, read.as_text)
        count = int(read.as_text.sum())
        text = f"{count} of {len(series)} values are text, such as {example}; training had {profile.dtype}"
        found.append(_exact("numeric_as_text", (name,), {"example": example}, read.as_text, text))
    if read.boolean.any():
        text = f"{int(read.boolean.sum())} values are words, such as {_example(series, read.boolean)}"
        found.append(_exact("boolean_as_text", (name,), {"map": _token_map(series, read.boolean)}, read.boolean, text))
    if read.token.any():
        tokens = sorted({str(value) for value in series[read.token]})
        words = ", ".join(map(repr, tokens[:4]))
        text = f"{int(read.token.sum())} of {len(series)} values are the words {words} for a missing one"
        found.append(_exact("null_token", (name,), {"tokens": tokens[:10]}, read.token, text))
    if read.junk.any():
        # Left to the permutation detectors, which may know the column these came from.
        junk = sorted({str(value) for value in series[read.junk]})
        text = f"{int(read.junk.sum())} of {len(series)} values are no numbers, such as {junk[0][:40]!r}"
        if _stands_for_null(profile, series, read.junk, junk):
            found.append(_exact("null_token", (name,), {"tokens": junk}, read.junk, text))
        else:
            found.append(_exact("new_level", (name,), {"levels": junk[:10]}, read.junk, text, nats=FORM_NATS / 4))
    infinite = np.isinf(read.values)
    if infinite.any() and profile.null_share == 0:
        # Training's infinities count as missing: a column that had some says nothing of live ones.
        example = _example(series, infinite)
        text = (
            f"{int(infinite.sum())} of {len(series)} values are not finite or too large for a float, such as {example}"
        )
        found.append(_exact("unreadable", (name,), {"example": example}, infinite, text))
    return np.where(infinite, np.nan, read.values), found


def _stands_for_null(profile: ColumnProfile, series: pd.Series[Any], rows: Mask, words: list[str]) -> bool:
    """Whether one word came where nulls went: there are as many fewer as it has rows."""
    nulls, due = int(series.isna().sum()), len(series) * profile.null_share
    if len(words) != 1 or due < FEWEST_NULLS:
        return False
    return null_nats(nulls + int(rows.sum()), due, len(series)) - null_nats(nulls, due, len(series)) > NULL_NATS


def _example(series: pd.Series[Any], rows: Mask) -> str:
    return repr(str(series[rows].iloc[0])[:40])


def _token_map(series: pd.Series[Any], rows: Mask) -> dict[str, str]:
    return {str(value): str(str(value).strip().lower() in TRUE_TOKENS) for value in series[rows].unique()[:6]}


def _read_booleans(profile: ColumnProfile, series: pd.Series[Any], texts: Texts) -> tuple[Texts, list[Finding]]:
    """Read words for truth values; numbers 0 and 1 are taken silently, for that conversion is exact."""
    words = np.array([isinstance(value, str) for value in series.astype(object)], dtype=bool)
    fixed = texts.copy()
    changed = np.zeros(len(texts), dtype=bool)
    for row, text in enumerate(texts):
        bare = "" if text is None else text.strip().lower().removesuffix(".0")
        if bare in TRUE_TOKENS or bare in FALSE_TOKENS:
            fixed[row] = "True" if bare in TRUE_TOKENS else "False"
            changed[row] = words[row] and (profile.dtype in ("bool", "boolean") or fixed[row] != text)
    if not changed.any():
        return fixed, []
    text = f"{int(changed.sum())} of {len(texts)} truth values are words, such as {_example(series, changed)}"
    return fixed, [_exact("boolean_as_text", (profile.name,), {"map": _token_map(series, changed)}, changed, text)]


def _read_numeric_levels(profile: ColumnProfile, texts: Texts) -> tuple[Texts, list[Finding]]:
    """Read numbers where training had text of digits: 7 or 7.0 for '7'."""
    assert profile.levels is not None
    levels = set(profile.levels.levels)
    fixed = texts.copy()
    changed = np.zeros(len(texts), dtype=bool)
    for row, text in enumerate(texts):
        if text is None:
            continue
        bare = text.removesuffix(".0")
        hit = next((level for level in (text, bare, bare.zfill(2)) if level in levels), None)
        if hit is not None:
            fixed[row], changed[row] = hit, True
    if not changed.any():
        return texts, []
    text = f"{int(changed.sum())} of {len(texts)} values are numbers; training had text"
    return fixed, [_exact("numeric_as_text", (profile.name,), {"direction": "number for text"}, changed, text)]
