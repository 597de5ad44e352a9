"""Keeps live profiles over a restart: one msgpack file an endpoint, replaced whole. It holds counts, no values of rows.

What cannot be read, or belongs to another reference, is begun anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tallystick.monitor.counters import BETS, Counters, Violation, width_of
from tallystick.monitor.rings import LENGTHS, SEGMENT_LENGTHS, Rings
from tallystick.monitor.routes import PROFILE_FILE as FILE
from tallystick.parity.reference import Reference
from tallystick.private_file import replace_private

if TYPE_CHECKING:
    from tallystick.monitor.watch import EntityWatch

_FORMAT = 1


class KeptCounters(msgspec.Struct, frozen=True, array_like=True):
    """Counters of one window, as bytes."""

    number: int
    rows: int
    cells: bytes
    contract: bytes
    fit: bytes
    requests: int = 0
    refused: int = 0


class KeptEntity(msgspec.Struct, frozen=True):
    """What is kept of one served entity. `shape` is columns and cells."""

    digest: str
    shape: tuple[int, int]
    rows: int
    passed_over: int
    total: KeptCounters | None
    #: Width of the windows -> windows.
    rings: dict[int, list[KeptCounters]]
    segments: list[tuple[str, str, dict[int, list[KeptCounters]]]]
    #: Column and value of segments that are counted, with their counts and the errors of these, and up to which day.
    frequent: list[tuple[str, str, int, int]] = []
    day: int = 0


class Kept(msgspec.Struct, frozen=True):
    """What is kept of one endpoint: how far its table was read, and the profiles."""

    table_id: str = ""
    version: int = -1
    entities: dict[str, KeptEntity] = {}
    format: int = _FORMAT


def load(folder: Path) -> Kept:
    """Return what was kept; nothing when there is nothing that can be read."""
    try:
        kept = msgspec.msgpack.decode((folder / FILE).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return Kept()
    return kept if kept.format == _FORMAT else Kept()


def save(folder: Path, kept: Kept) -> None:
    """Write it beside, then put it in its place. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(folder / FILE, msgspec.msgpack.encode(kept))


def to_kept(watch: EntityWatch) -> KeptEntity:
    """Return what is kept of a watch."""
    assert watch.reference is not None
    return KeptEntity(
        watch.digest,
        (len(watch.reference.columns), width_of(watch.reference)),
        watch.rows,
        watch.passed_over,
        None if watch.total is None else _counters(0, watch.total),
        _rings(watch.rings),
        [(column, value, _rings(rings)) for (column, value), rings in watch.segments.items()],
        [(*key, count, watch.frequent.errors[key]) for key, count in watch.frequent.counts.items()],
        watch.day,
    )


def without_column(kept: KeptEntity, column: str) -> KeptEntity:
    """Return what is kept without the segments of a column; the same object where it has none."""
    segments = [each for each in kept.segments if each[0] != column]
    frequent = [each for each in kept.frequent if each[0] != column]
    if len(segments) == len(kept.segments) and len(frequent) == len(kept.frequent):
        return kept
    return msgspec.structs.replace(kept, segments=segments, frequent=frequent)


def restore(watch: EntityWatch, reference: Reference, kept: KeptEntity) -> None:
    """Put what was kept into a watch, if it is of the same reference."""
    shape = len(reference.columns), width_of(reference)
    if kept.digest != watch.digest or tuple(kept.shape) != shape:
        return
    watch.rows, watch.passed_over = kept.rows, kept.passed_over
    watch.total = None if kept.total is None else _restored(kept.total, shape)
    watch.rings = _restored_rings(kept.rings, LENGTHS, shape)
    watch.segments = {
        (column, value): _restored_rings(rings, SEGMENT_LENGTHS, shape) for column, value, rings in kept.segments
    }
    watch.day = kept.day
    for column, value, count, error in kept.frequent:
        watch.frequent.counts[column, value], watch.frequent.errors[column, value] = count, error


def _rings(rings: Rings) -> dict[int, list[KeptCounters]]:
    return {
        width: [_counters(number, counters) for number, counters in ring.windows.items()]
        for width, ring in rings.by_width.items()
    }


def _counters(number: int, counters: Counters) -> KeptCounters:
    return KeptCounters(
        number,
        counters.rows,
        counters.cells.tobytes(),
        counters.contract.tobytes(),
        counters.fit.tobytes(),
        counters.requests,
        counters.refused,
    )


def _restored_rings(kept: dict[int, list[KeptCounters]], lengths: Any, shape: tuple[int, int]) -> Rings:
    rings = Rings.empty(lengths)
    for width, ring in rings.by_width.items():
        for each in kept.get(width, ()):
            ring.windows[each.number] = _restored(each, shape)
    return rings


def _restored(kept: KeptCounters, shape: tuple[int, int]) -> Counters:
    columns, width = shape
    return Counters(
        kept.rows,
        np.frombuffer(kept.cells, np.int32).reshape(columns, width),
        np.frombuffer(kept.contract, np.int32).reshape(columns, len(Violation)),
        np.frombuffer(kept.fit, np.float64).reshape(columns, len(BETS)),
        kept.requests,
        kept.refused,
    )
