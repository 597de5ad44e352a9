"""What of a column may be kept: raw, hashed, bucketed or nothing; and no level that fewer than k rows share.

Golden rows hold values of single rows, so columns that are not raw are taken out of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tallystick.errors import InvalidParameter
from tallystick.parity.columns import Floats, read_texts
from tallystick.parity.profile import ColumnProfile, LevelProfile, NumberProfile

if TYPE_CHECKING:
    from tallystick.parity.joint import Joint
    from tallystick.parity.reference import Reference

OPTIONS = ("raw", "hashed", "bucketed", "none")
#: Significant digits of the quantiles of a bucketed column, and how many of them are kept.
BUCKET_DIGITS = 2
BUCKETS = 16


def check(options: str | Mapping[str, str], names: tuple[str, ...]) -> None:
    """Raise InvalidParameter, with every fault, when an option or a column is unknown."""
    if not isinstance(options, str | Mapping):
        told = f"expected one of {', '.join(OPTIONS)}, or a dict of them by column"
        raise InvalidParameter(f"privacy: {told}, got {type(options).__name__}")
    given = {"": options} if isinstance(options, str) else options
    faults = [f"{value!r} is not one of {', '.join(OPTIONS)}" for value in given.values() if value not in OPTIONS]
    if not isinstance(options, str):
        faults += [f"there is no column {name!r}" for name in options if name not in names]
    if faults:
        raise InvalidParameter("privacy: " + "; ".join(faults))


def digest(key: bytes, text: str) -> str:
    """Return the keyed digest of a level (BLAKE2, RFC 7693)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=8).hexdigest()


def redact(reference: Reference, options: str | Mapping[str, str], k_anonymity: int) -> Reference:
    """Return the reference with what privacy forbids taken out, and a line in `degraded` for each column."""
    columns, dropped, notes = [], [], []
    for profile in reference.columns:
        option = options if isinstance(options, str) else options.get(profile.name, "raw")
        redacted = redact_column(profile, option, k_anonymity, reference.hash_key)
        columns.append(redacted)
        if option != "raw":
            dropped.append(profile.name)
            notes.append(f"column {profile.name}: privacy {option}")
    shown = _without_rare(reference, columns) if k_anonymity > 1 else np.ones(len(reference.rows), dtype=bool)
    if not shown.all():
        notes.append(f"{int((~shown).sum())} golden rows left out: they hold levels of fewer than {k_anonymity} rows")
    rows = reference.rows.loc[shown].drop(columns=dropped).reset_index(drop=True)
    predictions = reference.predictions[shown] if len(reference.predictions) and not dropped else np.zeros(0)
    table = reference.golden_probabilities
    if dropped and len(reference.predictions):
        notes.append("golden rows lack columns that privacy takes out: they cannot be replayed")
    hidden = {column.name for column in columns if column.privacy == "none"}
    secret = [j for j, column in enumerate(columns) if column.privacy == "none"]
    return msgspec.structs.replace(
        reference,
        joint=_without(reference.joint, secret),
        columns=tuple(columns),
        rows=rows,
        predictions=predictions,
        probabilities=np.zeros(0) if table is None or dropped else table[shown].ravel(),
        labels=reference.labels[shown] if len(reference.labels) else reference.labels,
        timing={name: timing for name, timing in reference.timing.items() if name not in hidden},
        degraded=reference.degraded + tuple(notes),
        k_anonymity=k_anonymity,
    )


def _without_rare(reference: Reference, columns: list[ColumnProfile]) -> np.ndarray:
    """Return which golden rows hold no level that the profile does not name."""
    shown = np.ones(len(reference.rows), dtype=bool)
    for before, after in zip(reference.columns, columns, strict=True):
        if after.privacy != "raw" or before.levels is None or after.levels is None:
            continue
        named = set(after.levels.levels)
        texts = read_texts(reference.rows[before.name])
        shown &= np.array([text is None or text in named for text in texts], dtype=bool)
    return shown


def _without(joint: Joint, secret: list[int]) -> Joint:
    """Return the joint with nothing in it of some columns."""
    if not secret:
        return joint
    owned = np.isin(joint.owners, secret)
    means = tuple(np.where(owned, 0.0, np.zeros_like(m) if j in secret else m) for j, m in enumerate(joint.means))
    covariance = np.where(owned[:, None] | owned[None, :], np.eye(len(owned)), joint.covariance)
    embeddings = tuple(np.zeros_like(e) if j in secret else e for j, e in enumerate(joint.embeddings))
    spearman = joint.spearman.copy()
    spearman[secret, :] = spearman[:, secret] = 0.0
    return msgspec.structs.replace(joint, means=means, covariance=covariance, embeddings=embeddings, spearman=spearman)


def redact_column(profile: ColumnProfile, option: str, k_anonymity: int, key: bytes) -> ColumnProfile:
    """Return one column's profile under an option."""
    numbers, levels = profile.numbers, profile.levels
    if levels is not None:
        named = levels.counts >= k_anonymity if option == "raw" else np.zeros(len(levels.levels), dtype=bool)
        levels = _hide(levels, named, option, key)
    if numbers is not None and option in ("bucketed", "none"):
        numbers = _bucket(numbers)
    if numbers is not None and option == "none":
        numbers = msgspec.structs.replace(numbers, grid=np.zeros(len(numbers.grid)), mean=0.0, sd=0.0)
    elif numbers is not None and option == "hashed":
        # Numbers have an order that a digest would lose; the coarser form is the next best thing.
        numbers = _bucket(numbers)
    edges, points = profile.edges, profile.points
    if numbers is not None and option != "raw":
        # Edges and frequent values are raw ones; their number stays, for the joint is counted by them.
        edges, points = _significant(edges), _significant(points)
    if option == "none":
        edges, points = np.zeros(len(edges)), np.zeros(len(points))
    return msgspec.structs.replace(profile, numbers=numbers, levels=levels, privacy=option, edges=edges, points=points)


def _hide(levels: LevelProfile, named: np.ndarray, option: str, key: bytes) -> LevelProfile:
    shown = tuple(level if keep else f"#{digest(key, level)}" for level, keep in zip(levels.levels, named, strict=True))
    hidden = tuple(level[1:] for level, keep in zip(shown, named, strict=True) if not keep)
    if option == "none":
        return msgspec.structs.replace(levels, levels=(), counts=np.zeros(0), order=(), hidden=())
    order = levels.order if bool(named.all()) else ()
    return msgspec.structs.replace(levels, levels=shown, order=order, hidden=hidden)


def _bucket(numbers: NumberProfile) -> NumberProfile:
    step = (len(numbers.grid) - 1) // BUCKETS
    coarse = _significant(numbers.grid[::step])
    grid = np.maximum.accumulate(np.interp(np.arange(len(numbers.grid)) / step, np.arange(BUCKETS + 1), coarse))
    return msgspec.structs.replace(
        numbers,
        grid=grid,
        lattice=np.zeros(0),
        counts=np.zeros(0),
        atoms=np.zeros(0),
        atom_shares=np.zeros(0),
        mean=float(_significant(np.array([numbers.mean]))[0]),
        sd=float(_significant(np.array([numbers.sd]))[0]),
        decimals=10,
    )


def rounded_for_privacy(value: float) -> float:
    """Return a number as a reference has it that keeps no exact ones.

    >>> rounded_for_privacy(77123.456)
    77000.0
    """
    return float(_significant(np.array([float(value)]))[0])


def _significant(values: Floats) -> Floats:
    size = np.where(values == 0, 1.0, np.abs(values))
    unit = 10.0 ** (np.floor(np.log10(size)) - BUCKET_DIGITS + 1)
    return np.asarray(np.round(values / unit) * unit)
