"""Who sends the affected rows, and since when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtrc

from tallystick.parity.columns import Mask
from tallystick.parity.history import seconds_of

#: Part of the affected rows that a segment must send, and its own affected share over that of the rest, to be named.
COVERS = 0.8
TIMES_THE_REST = 3.0
#: Overlap of two faults' rows, as a part of all rows of either, from which they are one cause.
OVERLAPS = 0.5
#: Rows that chance puts in both of two faults from which few are telling, and the part of these that is few.
FEWEST_EXPECTED, APART = 10, 0.25
#: Chance at which a segment is named, before correction for the number of segments.
ALPHA = 1e-3


def segment_frame(segments: Any, rows: int) -> pd.DataFrame | None:
    """Return segments as a frame of text columns; None when there are none or their length is another."""
    if segments is None:
        return None
    frame = segments if isinstance(segments, pd.DataFrame) else pd.DataFrame({_name(segments): np.asarray(segments)})
    return frame.reset_index(drop=True).astype(str) if len(frame) == rows else None


def _name(segments: Any) -> str:
    name = getattr(segments, "name", None)
    return str(name) if name is not None else "segment"


def blame(frame: pd.DataFrame, affected: Mask) -> dict[str, Any]:
    """Return the segment that sends the affected rows: column, value, its share of rows, shares inside and outside."""
    best: tuple[float, dict[str, Any]] | None = None
    total = int(affected.sum())
    if not total or total == len(affected):
        return {}
    tries = sum(frame[column].nunique(dropna=False) for column in frame.columns)
    for column in frame.columns:
        codes, values = pd.factorize(frame[column])
        is_known = codes >= 0
        sizes = np.bincount(codes[is_known], minlength=len(values))
        sent = np.bincount(codes[is_known & affected], minlength=len(values))
        for value, size, hits in zip(values, sizes.tolist(), sent.tolist(), strict=True):
            rate_in, rate_out = hits / max(1, size), (total - hits) / max(1, len(affected) - size)
            if hits < COVERS * total or rate_in < TIMES_THE_REST * rate_out:
                continue
            chance = float(bdtrc(hits - 1, total, size / len(affected))) * tries
            if chance <= ALPHA and (best is None or rate_in - rate_out > best[0]):
                found = {
                    "column": column,
                    "value": value,
                    "share_of_rows": size / len(affected),
                    "affected_inside": rate_in,
                    "affected_outside": rate_out,
                }
                best = rate_in - rate_out, found
    return {} if best is None else best[1]


def are_apart(first: Mask, other: Mask, frame: pd.DataFrame | None) -> bool:
    """Whether two faults are in other rows: in both far fewer than chance gives, or each one sender's own."""
    both, either = int((first & other).sum()), int((first | other).sum())
    if not first.any() or not other.any() or both >= OVERLAPS * either:
        return False
    expected = float(first.sum()) * float(other.sum()) / len(first)
    if expected >= FEWEST_EXPECTED and both < APART * expected:
        return True
    if frame is None or len(frame) != len(first):
        return False
    mine = blame(frame, first)
    theirs = blame(frame, other) if mine else {}
    return bool(mine and theirs) and (mine["column"], mine["value"]) != (theirs["column"], theirs["value"])


def onset(timestamps: Any, affected: Mask) -> tuple[str, bool]:
    """Return when the first of the affected rows came, and whether it was a step: few before, most after.

    Rows without a time are left out.
    """
    if timestamps is None or len(timestamps) != len(affected):
        return "", False
    stamps = _stamps(timestamps)
    known = stamps.notna().to_numpy()
    stamps, affected = stamps[known].reset_index(drop=True), affected[known]
    if not affected.any():
        return "", False
    order = np.argsort(stamps.to_numpy(), kind="stable")
    hits = affected[order].astype(np.float64)
    count = len(hits)
    if count < 10:
        return str(stamps[affected].min()), False
    before = np.cumsum(hits) / np.arange(1, count + 1)
    total = hits.sum()
    # The split with the largest difference of shares, weighted by its size.
    split = np.arange(1, count)
    after = (total - np.cumsum(hits)[:-1]) / (count - split)
    gap = (after - before[:-1]) * np.sqrt(split * (count - split)) / count
    place = int(np.argmax(gap))
    is_step = bool(place > 2 and before[place] < 0.1 * after[place] and hits.mean() < 0.97)
    first = stamps.iloc[order[place + 1]] if is_step else stamps[affected].min()
    return str(first), is_step


def _stamps(given: Any) -> pd.Series[Any]:
    """Return times in the zone that they have, NaT for what is none."""
    series = pd.Series(np.asarray(given)).infer_objects()
    if pd.api.types.is_numeric_dtype(series.dtype):
        return pd.to_datetime(pd.Series(np.round(1e3 * seconds_of(series))).astype("Int64"), unit="ms")
    try:
        return pd.to_datetime(series, errors="coerce", format="mixed")
    except ValueError:
        # Of several zones: there is no other that they have in common.
        return pd.to_datetime(series, errors="coerce", format="mixed", utc=True)
