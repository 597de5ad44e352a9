"""Keeps live profiles over a restart: two msgpack files an endpoint, each replaced whole.

One has counts and how far the table was read, and no values of rows: no row counts twice, or not at all. The other has
sketches, which are larger and written less often: after a crash they lack some minutes of rows. What cannot be read,
or belongs to another reference, is begun anew, in each file for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import msgspec
import numpy as np

from tallystick.monitor.counters import BETS, Counters, Violation, width_of
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.rings import Rings
from tallystick.monitor.routes import PROFILE_FILE as FILE
from tallystick.monitor.routes import SKETCHES_FILE
from tallystick.monitor.sketches import Sketches, forgotten, kept_levels
from tallystick.parity.reference import Reference
from tallystick.private_file import replace_private

_FORMAT = 2
#: Other sizes of sketches are another format.
_SKETCHES_FORMAT = 2
_DIGEST_BYTES = 16

#: Number of a window -> sketches, by width of the windows.
KeptRings = dict[int, dict[int, Sketches]]


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
    latest: tuple[str, str] = "", ""


class KeptSketches(msgspec.Struct, frozen=True):
    """Sketches of one served entity, of these columns in this order, and of its segments."""

    digest: str
    columns: tuple[str, ...]
    rings: KeptRings
    segments: list[tuple[str, str, KeptRings]] = []


class _SketchesFile(msgspec.Struct, frozen=True):
    """All sketches of one endpoint, by served entity id."""

    format: int
    entities: dict[str, KeptSketches]


class Kept(msgspec.Struct, frozen=True):
    """What is kept of one endpoint: how far its table was read, and the profiles."""

    table_id: str = ""
    version: int = -1
    entities: dict[str, KeptEntity] = {}
    format: int = _FORMAT
    #: Columns without values in both files, and the time of the oldest rows that have sketches.
    withheld: frozenset[str] = frozenset()
    oldest_s: int = 0


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


def forgetting(kept: Kept, withheld: frozenset[str], oldest_s: int) -> Kept:
    """Return it with what both files do not have."""
    return msgspec.structs.replace(kept, withheld=withheld, oldest_s=oldest_s)


def load_sketches(folder: Path) -> dict[str, KeptSketches]:
    """Return the sketches that were kept, by served entity id; none when the file is not as it was written."""
    try:
        whole = (folder / SKETCHES_FILE).read_bytes()
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        # The library takes bytes as they come: what the disk changed is not given to it.
        if digest != _digest(content):
            return {}
        found = msgspec.msgpack.decode(content, type=_SketchesFile)
    except (OSError, msgspec.MsgspecError):
        return {}
    return found.entities if found.format == _SKETCHES_FORMAT else {}


def save_sketches(folder: Path, entities: dict[str, KeptSketches]) -> None:
    """Write it beside, then put it in its place; without any sketch there is no file. Raises OSError."""
    if not any(_has_sketches(each) for each in entities.values()):
        (folder / SKETCHES_FILE).unlink(missing_ok=True)
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = msgspec.msgpack.encode(_SketchesFile(_SKETCHES_FORMAT, entities))
    replace_private(folder / SKETCHES_FILE, _digest(content) + content)


def _has_sketches(kept: KeptSketches) -> bool:
    return any(ring for rings in (kept.rings, *(each[2] for each in kept.segments)) for ring in rings.values())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def to_kept_sketches(watch: EntityWatch) -> KeptSketches:
    """Return what is kept of a watch's sketches: no level that fewer rows have than the reference wants."""
    reference = watch.reference
    assert reference is not None

    def kept(rings: Rings) -> KeptRings:
        return {
            width: {number: kept_levels(each, reference.live_floor) for number, each in ring.sketches.items()}
            for width, ring in rings.by_width.items()
            if ring.sketches
        }

    segments = [(*key, kept(rings)) for key, rings in watch.segments.items()]
    return KeptSketches(watch.digest, reference.names, kept(watch.rings), [each for each in segments if each[2]])


def without_sketches(kept: KeptSketches, names: Collection[str], oldest_s: int = 0) -> KeptSketches:
    """Return what is kept without sketches of columns and segments of these names, and of windows over by `oldest_s`.

    It is equal to what was given where there were none.
    """
    places = [place for place, name in enumerate(kept.columns) if name in names]

    def rest(rings: KeptRings) -> KeptRings:
        return {
            width: {n: forgotten(each, places) for n, each in ring.items() if (n + 1) * width > oldest_s}
            for width, ring in rings.items()
        }

    segments = [(column, value, rest(rings)) for column, value, rings in kept.segments if column not in names]
    return msgspec.structs.replace(kept, rings=rest(kept.rings), segments=segments)


def restore_sketches(watch: EntityWatch, kept: KeptSketches) -> None:
    """Put sketches into a watch that has its counts, if they are of the same reference."""
    if watch.reference is None or (kept.digest, kept.columns) != (watch.digest, watch.reference.names):
        return
    given = {(column, value): rings for column, value, rings in kept.segments}
    for rings, found in (
        (watch.rings, kept.rings),
        *((each, given.get(key, {})) for key, each in watch.segments.items()),
    ):
        for width, ring in rings.by_width.items():
            if ring.sketched:
                ring.sketches = dict(sorted(found.get(width, {}).items())[-ring.sketched :])


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
        watch.latest,
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
    watch.rings = _restored_rings(kept.rings, Rings.empty(), shape)
    watch.segments = {
        (column, value): _restored_rings(rings, Rings.of_segment(), shape) for column, value, rings in kept.segments
    }
    watch.day, watch.latest = kept.day, kept.latest
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


def _restored_rings(kept: dict[int, list[KeptCounters]], rings: Rings, shape: tuple[int, int]) -> Rings:
    for width, ring in rings.by_width.items():
        for each in kept.get(width, ()):
            ring.windows[each.number] = _restored(each, shape)
    return rings


def _restored(kept: KeptCounters, shape: tuple[int, int]) -> Counters:
    columns, width = shape
    return Counters(
        kept.rows,
        np.frombuffer(kept.cells, np.int64).reshape(columns, width),
        np.frombuffer(kept.contract, np.int64).reshape(columns, len(Violation)),
        np.frombuffer(kept.fit, np.float64).reshape(columns, len(BETS)),
        kept.requests,
        kept.refused,
    )
