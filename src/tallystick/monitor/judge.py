"""Which rows are examined, and with which columns: a column that one sender leaves out is not one of nulls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.monitor.rows import LiveRows
from tallystick.monitor.sent import Sent
from tallystick.parity.advice import fix_for
from tallystick.parity.columns import Floats, Mask, with_columns
from tallystick.parity.detect.schema import read_live
from tallystick.parity.diagnose import Examination
from tallystick.parity.kinds import Family, Status
from tallystick.parity.reference import Reference

#: Part of a sender's rows from which it leaves a column out, or sends one more, and how much rarer that is elsewhere.
ALL_BUT, TIMES_THE_REST = 0.95, 2.0
#: Rows that a sender must have, at least and as a part of all; part from which it is looked at before all rows.
FEWEST, FEWEST_SHARE, FIRST_SHARE = 3, 0.01, 0.05
#: Values of one way to tell senders apart that are looked at, the most frequent ones.
MOST_SENDERS = 50
#: Rows of the reference that tell how columns go with each other without those that are not recorded.
FEWEST_KEPT = 50
OF_NAMES = frozenset({"missing_column", "renamed_column", "extra_column"})

Look = Callable[[Reference, LiveRows], Examination]


@dataclass(frozen=True)
class Sender:
    """Rows of one sender, whose bodies have other columns than those of the rest."""

    column: str
    value: str
    rows: Mask
    lost: tuple[str, ...]
    more: tuple[str, ...]
    inside: float
    outside: float


def judge(reference: Reference, sent: Sent, look: Look) -> Examination:
    """Return what `look` finds in the rows: names of columns by sender, then all rows. Positions are those of `sent`.

    `look` gets rows whose frame has the columns that were sent, and a reference that knows nothing of columns which
    are not recorded. Called one to four times.
    """
    return _left_out(_judged(reference, sent, look), sent)


def _judged(reference: Reference, sent: Sent, look: Look) -> Examination:
    known = _without_withheld(reference, sent.withheld)
    sender = other_columns(reference, sent)
    if sender is None:
        return _of_all(known, sent, look)
    if sender.lost and sender.rows.mean() >= FIRST_SHARE:
        return _of_sender(known, sent, sender, look) or _of_all(known, sent, look)
    rest = np.flatnonzero(~sender.rows) if sender.lost else np.arange(len(sent))
    found = _placed(_of_all(known, sent.taken(rest), look), rest)
    if _is_claim(found):
        return found
    return _of_sender(known, sent, sender, look) or found


def other_columns(reference: Reference, sent: Sent) -> Sender | None:
    """Return the sender that leaves columns out, or sends more, which others do not; None when there is none."""
    best: Sender | None = None
    segments = sent.rows.segments
    absent = {
        name: mask
        for name, mask in sent.absent.items()
        if name not in sent.withheld and _matters(reference, name, mask)
    }
    for column in segments.columns:
        values = segments[column].astype(str)
        for value in values.value_counts().index[:MOST_SENDERS]:
            rows = (values == value).to_numpy()
            if rows.all() or rows.sum() < max(FEWEST, FEWEST_SHARE * len(rows)):
                continue
            lost, more = _standing_out(absent, rows), _standing_out(sent.extra, rows)
            told = lost or more
            if not told:
                continue
            inside, outside = next(iter(told.values()))
            found = Sender(str(column), str(value), rows, tuple(lost), tuple(more), inside, outside)
            if best is None or _weight(found) > _weight(best):
                best = found
    return best


def _weight(sender: Sender) -> tuple[bool, float]:
    return bool(sender.lost), sender.inside - sender.outside


def _standing_out(masks: Any, rows: Mask) -> dict[str, tuple[float, float]]:
    found = {}
    for name, mask in masks.items():
        inside, outside = float(mask[rows].mean()), float(mask[~rows].mean())
        if inside >= ALL_BUT and outside * TIMES_THE_REST <= inside:
            found[name] = inside, outside
    return found


def _matters(reference: Reference, name: str, absent: Mask) -> bool:
    """Whether training had more values than that: an optional column that some leave out was so in training."""
    share = float(absent.mean()) if len(absent) else 0.0
    return share > 0 and reference.column(name).null_share < share / 2


def _without_withheld(reference: Reference, names: tuple[str, ...]) -> Reference:
    """Return the reference with nothing known of these columns, so that nothing is compared."""
    if not names:
        return reference
    columns = tuple(
        msgspec.structs.replace(profile, privacy="none") if profile.name in names else profile
        for profile in reference.columns
    )
    known = msgspec.structs.replace(reference, columns=columns)
    # Columns go with each other less when some of their partners are not there.
    means, parts = (_coherence(each) for each in (reference, known))
    left = np.clip(np.where(means > 0, parts / np.where(means > 0, means, 1.0), 0.0), 0.0, 1.0)
    coherence = reference.joint.coherence * np.column_stack([left, np.ones(len(left))])
    return msgspec.structs.replace(known, joint=msgspec.structs.replace(reference.joint, coherence=coherence))


def _coherence(reference: Reference) -> Floats:
    """Return how well each column of the rows that the reference has goes with the others, in nats a row."""
    found: Floats = np.zeros(len(reference.columns), dtype=np.float64)
    if len(reference.rows) < FEWEST_KEPT:
        return found
    live, _ = read_live(reference, reference.rows.reset_index(drop=True))
    for j, profile in enumerate(reference.columns):
        table, cells = live.table(j), live.cells(j)
        inside = cells < profile.cell_count
        if j not in live.absent and inside.any():
            found[j] = table[np.arange(live.rows), np.minimum(cells, table.shape[1] - 1)][inside].mean()
    return found


def _frame(sent: Sent, without: set[str]) -> pd.DataFrame:
    frame = sent.rows.frame.drop(columns=[name for name in sent.rows.frame if name in without])
    nothing: pd.Series[Any] = pd.Series([None] * len(frame), dtype=object, index=frame.index)
    return with_columns(frame, dict.fromkeys(sent.withheld, nothing))


def _of_sender(reference: Reference, sent: Sent, sender: Sender, look: Look) -> Examination | None:
    """Return what the sender's rows show of names of columns; None when they show something else."""
    places = np.flatnonzero(sender.rows)
    some = sent.taken(places)
    frame = _frame(some, {*sender.lost, *(set(sent.extra) - {*sender.more})})
    rows = replace(some.rows, frame=frame, refused=some.is_refused)
    # One sender by itself: who it is need not be found again.
    found = look(reference, replace(rows, predictions=None, segments=rows.segments.iloc[:, :0]))
    if found.verdict.kind not in OF_NAMES:
        return None
    segment = {
        "column": sender.column,
        "value": sender.value,
        "share_of_rows": float(sender.rows.mean()),
        "affected_inside": sender.inside,
        "affected_outside": sender.outside,
    }
    verdict = msgspec.structs.replace(found.verdict, segment=segment, share=float(sender.rows.mean()))
    return _placed(replace(found, verdict=verdict), places)


def _of_all(reference: Reference, sent: Sent, look: Look) -> Examination:
    """Return what all rows show. Rows without an answer count when they show a fault; else the others are judged."""
    found = _at_once(reference, sent, look)
    if not sent.is_refused.any() or sent.is_refused.all():
        return found
    if _is_claim(found) and sent.is_refused[found.affected].any():
        return found
    places = np.flatnonzero(~sent.is_refused)
    return _placed(_at_once(reference, sent.taken(places), look), places)


def _at_once(reference: Reference, sent: Sent, look: Look) -> Examination:
    if not len(sent):
        return look(reference, sent.rows)
    lost = {name for name, mask in sent.absent.items() if mask.mean() >= ALL_BUT and name not in sent.withheld}
    common = {name for name, mask in sent.extra.items() if mask.mean() >= ALL_BUT}
    is_some = sent.is_refused.any()
    rows = replace(sent.rows, predictions=None, refused=sent.is_refused) if is_some else sent.rows
    # The model does not read what training did not have, so it explains nothing while there is another cause.
    without = lost | (set(sent.extra) if not lost else set(sent.extra) - common)
    found = look(reference, replace(rows, frame=_frame(sent, without)))
    if common and not lost and not _is_claim(found):
        more = look(reference, replace(rows, frame=_frame(sent, set(sent.extra) - common)))
        return more if more.verdict.kind in OF_NAMES else found
    return found


def _is_claim(found: Examination) -> bool:
    return found.verdict.status in (Status.CAUSE_FOUND, Status.SUSPECTED)


def _left_out(found: Examination, sent: Sent) -> Examination:
    """Return nulls that are columns which the bodies did not have as what they are, whoever left them out."""
    verdict, none = found.verdict, np.zeros(len(sent), dtype=bool)
    masks = [sent.absent.get(name, none)[found.affected] for name in verdict.features]
    if verdict.kind != "nulls" or not len(found.affected) or not all(mask.all() for mask in masks):
        return found
    told = msgspec.structs.replace(
        verdict,
        family=Family.SCHEMA,
        kind="missing_column",
        transformation={"columns": list(verdict.features)},
        fix=fix_for("missing_column"),
    )
    return replace(found, verdict=told)


def _placed(found: Examination, places: np.ndarray) -> Examination:
    """Return an examination of some of the rows with the positions of all."""
    return replace(found, judged=places[found.judged], affected=places[found.affected])
