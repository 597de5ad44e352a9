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


class Senders:
    """Who sent each row, by each column of a frame, read once for all the causes that are traced."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._coded = [(column, *pd.factorize(frame[column])) for column in frame.columns]
        self._tries = sum(len(values) for _, _, values in self._coded)
        self._blamed: dict[bytes, dict[str, Any]] = {}

    def blame(self, affected: Mask) -> dict[str, Any]:
        """Return the segment that sends these rows: column, value, its share of rows, shares inside and outside."""
        key = affected.tobytes()
        if key not in self._blamed:
            self._blamed[key] = self._blame(affected)
        return self._blamed[key]

    def _blame(self, affected: Mask) -> dict[str, Any]:
        best: tuple[float, dict[str, Any]] | None = None
        total, rows = int(affected.sum()), len(affected)
        if not total or total == rows:
            return {}
        for column, codes, values in self._coded:
            is_known = codes >= 0
            sizes = np.bincount(codes[is_known], minlength=len(values))
            sent = np.bincount(codes[is_known & affected], minlength=len(values))
            inside, outside = sent / np.maximum(1, sizes), (total - sent) / np.maximum(1, rows - sizes)
            for k in np.flatnonzero((sent >= COVERS * total) & (inside >= TIMES_THE_REST * outside)).tolist():
                hits, share, rate_in, rate_out = int(sent[k]), int(sizes[k]) / rows, float(inside[k]), float(outside[k])
                chance = float(bdtrc(hits - 1, total, share)) * self._tries
                if chance <= ALPHA and (best is None or rate_in - rate_out > best[0]):
                    found = {
                        "column": column,
                        "value": values[k],
                        "share_of_rows": share,
                        "affected_inside": rate_in,
                        "affected_outside": rate_out,
                    }
                    best = rate_in - rate_out, found
        return {} if best is None else best[1]


def blame(frame: pd.DataFrame, affected: Mask) -> dict[str, Any]:
    """Return the segment that sends the affected rows, as `Senders.blame` does."""
    return Senders(frame).blame(affected)


def are_apart(first: Mask, other: Mask, senders: Senders | None) -> bool:
    """Whether two faults are in other rows: in both far fewer than chance gives, or each one sender's own."""
    both, either = int((first & other).sum()), int((first | other).sum())
    if not first.any() or not other.any() or both >= OVERLAPS * either:
        return False
    expected = float(first.sum()) * float(other.sum()) / len(first)
    if expected >= FEWEST_EXPECTED and both < APART * expected:
        return True
    if senders is None:
        return False
    mine = senders.blame(first)
    theirs = senders.blame(other) if mine else {}
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
