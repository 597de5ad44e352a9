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
from tallystick.parity.columns import read_texts
from tallystick.parity.profile import BUCKET_DIGITS, BUCKETS, MOST_DECIMALS, ColumnProfile, LevelProfile, NumberProfile

if TYPE_CHECKING:
    from tallystick.parity.joint import Joint
    from tallystick.parity.reference import Reference

OPTIONS = ("raw", "hashed", "bucketed", "none")


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


def option_of(options: str | Mapping[str, str], name: str) -> str:
    """Return what may be kept of a column."""
    return options if isinstance(options, str) else options.get(name, "raw")


def redact(reference: Reference, options: str | Mapping[str, str], k_anonymity: int) -> Reference:
    """Return the reference with what privacy forbids taken out, and a line in `degraded` for each column."""
    columns, dropped, notes = [], [], []
    for profile in reference.columns:
        option = option_of(options, profile.name)
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
    if numbers is not None and option != "raw":
        # Of numbers a digest would lose the order: hashed ones are kept in buckets, too.
        numbers = _bucket(numbers)
    if numbers is not None and option == "none":
        nothing = np.zeros(len(numbers.grid))
        numbers = msgspec.structs.replace(numbers, grid=nothing, mean=0.0, sd=0.0, origin=0.0, unit=0.0)
    edges, points = profile.edges, profile.points
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
    """Return a coarse profile with the bounds of its ranges only, even between them."""
    step = (len(numbers.grid) - 1) // BUCKETS
    grid = np.interp(np.arange(len(numbers.grid)) / step, np.arange(BUCKETS + 1), numbers.grid[::step])
    return msgspec.structs.replace(
        numbers,
        grid=np.maximum.accumulate(grid),
        lattice=np.zeros(0),
        counts=np.zeros(0),
        atoms=np.zeros(0),
        heaps=np.zeros(0),
        heap_shares=np.zeros(0),
        atom_shares=np.zeros(0),
        mean=float(numbers.seen(np.array([numbers.mean]))[0]),
        sd=float(f"{numbers.sd:.{BUCKET_DIGITS - 1}e}"),
        decimals=MOST_DECIMALS + 1,
    )
