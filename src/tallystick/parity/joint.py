"""How columns agree with each other in training, and how well given values agree with the rest of their row.

Each column gives one or two *scores* (normal scores of ranks; for levels, the directions in which they separate the
other columns). For each cell of a column the means of all scores are kept. The log-likelihood of a row's other scores
given a cell is then that of linear discriminant analysis (Fisher 1936; common within-cell covariance, shrunk), so that
"do the other columns fit the value as sent, or as undone?" is a paired difference over rows. Its mean is judged by its
own standard error: the normal model need not hold for that test to be valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs
from scipy.sparse import csr_matrix
from scipy.special import ndtri

from tallystick.parity.columns import Floats, Role, Texts
from tallystick.parity.distribution import cdf
from tallystick.parity.profile import ColumnProfile, Ints, cells_of

#: Scores are cut here, so that a broken other column cannot outvote the rest.
SCORE_BOUND = 2.5
#: Rows a cell mean is shrunk by towards the overall mean, and the share of the identity in the covariance.
CELL_PRIOR_ROWS = 4.0
RIDGE = 0.05
#: Log-likelihood differences of one row are cut here.
ROW_BOUND = 6.0
#: Wider frames get one score a column, so that the covariance stays estimable.
MAX_SCORES = 80
#: From so many scores on the inverse is approximate where it is not plain.
WIDE = 120
#: Rows of each half that agreement is measured on.
CROSSED_ROWS = 1000
POWERS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)


class Joint(msgspec.Struct, frozen=True):
    """Cell means of scores. `owners[k]` is the column of score k; `means[j]` is cells x scores of column j."""

    owners: Ints
    means: tuple[Floats, ...]
    shares: tuple[Floats, ...]
    covariance: Floats
    #: For level columns: cells x 2, the scores of each cell; empty for others.
    embeddings: tuple[Floats, ...]
    #: Per column: mean and standard deviation of the coherence of training rows (see `coherence`).
    coherence: Floats
    #: Per column, 0 to 1: what part of a log-likelihood is borne out by training rows that it was not fitted on.
    temper: Floats
    spearman: Floats
    rows: int
    folded: bool


Values = Floats | Texts


def fit_joint(profiles: tuple[ColumnProfile, ...], values: list[Values], secret: frozenset[int] = frozenset()) -> Joint:
    """Return the joint of training rows: `values[j]` are the parsed values of column j, all of one length.

    Of columns that are `secret` nothing will be kept: how well the others agree is told without them.
    """
    with one_thread():
        return _fit_joint(profiles, values, secret)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have BLAS use one thread, where threadpoolctl is there to say so (scikit-learn brings it in).

    Matrices are small here: on a busy machine, threads that wait for each other took up to a hundred times the work.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield


def _fit_joint(profiles: tuple[ColumnProfile, ...], values: list[Values], secret: frozenset[int]) -> Joint:
    rows = len(values[0]) if values else 0
    cells = [cells_of(profile, column) for profile, column in zip(profiles, values, strict=True)]
    width = sum(2 if profile.role is not Role.TEXT else 0 for profile in profiles)
    folded = width <= MAX_SCORES
    rank = [_rank_scores(profile, column) for profile, column in zip(profiles, values, strict=True)]
    sides, side_owners = _sides(cells, rank) if any(p.role is Role.LEVEL for p in profiles) else (np.zeros((0, 0)), [])
    embeddings = tuple(
        _embedding(cells[j], profile.cell_count, sides, np.asarray(side_owners) != j)
        if profile.role is Role.LEVEL
        else np.zeros((0, 0))
        for j, profile in enumerate(profiles)
    )
    scores, owners = scores_of(profiles, embeddings, values, cells, folded)
    half = np.arange(rows) % 2 == 0
    sums = [_counted(profiles, [cell[mine] for cell in cells], scores[mine]) for mine in (half, ~half)]
    fitted = _fit(scores, [(one[0] + other[0], one[1] + other[1]) for one, other in zip(*sums, strict=True)])
    coherence_of, temper = np.zeros((len(profiles), 2)), np.zeros(len(profiles))
    if rows >= 20:
        # Means from one half, coherence from the other: otherwise small training sets look too coherent to live rows.
        crossed = []
        for mine, counted in zip((half, ~half), sums, strict=True):
            means, covariance = _fit(scores[mine], counted)
            rest = np.flatnonzero(~mine)[:CROSSED_ROWS]
            crossed.append((rest, scores[rest], means, covariance))
        for j, profile in enumerate(profiles):
            if j in secret:
                continue
            parts = []
            for rest, held_out, means, covariance in crossed:
                table = log_likelihood(means[j], profile.cell_shares, covariance, owners, j, held_out, secret)
                parts.append((table, cells[j][rest]))
            temper[j] = temper_of(parts, profile.cell_shares)
            both = np.concatenate(
                [coherence(tempered(table, temper[j], profile.cell_shares), own) for table, own in parts]
            )
            coherence_of[j] = both.mean(), both.std()
    return Joint(
        owners=owners,
        means=fitted[0],
        shares=tuple(profile.cell_shares for profile in profiles),
        covariance=fitted[1],
        embeddings=embeddings,
        coherence=coherence_of,
        temper=temper,
        spearman=_spearman(rank),
        rows=rows,
        folded=folded,
    )


def _rank_scores(profile: ColumnProfile, values: Values) -> Floats:
    """Return bounded normal scores of training ranks; 0 for nulls, and for columns that are not numbers."""
    numbers = profile.numbers
    if numbers is None:
        return np.zeros(len(values))
    given = np.asarray(values, dtype=np.float64)
    known = np.isfinite(given)
    upper = cdf(numbers, np.where(known, given, numbers.median))
    step = 1e-9 * np.maximum(1.0, np.abs(np.where(known, given, 0.0)))
    lower = cdf(numbers, np.where(known, given, numbers.median) - 3 * step) if numbers.is_lattice else upper
    scores = np.clip(ndtri(np.clip((upper + lower) / 2, 0.005, 0.995)), -SCORE_BOUND, SCORE_BOUND)
    return np.asarray(np.where(known, scores, 0.0))


def scores_of(
    profiles: tuple[ColumnProfile, ...],
    embeddings: tuple[Floats, ...],
    values: list[Values],
    cells: list[Ints],
    folded: bool,
) -> tuple[Floats, Ints]:
    """Return scores (rows x q) and the column that owns each. Needs the same profiles for training and live rows."""
    parts = [column_scores(profile, embeddings[j], values[j], cells[j], folded) for j, profile in enumerate(profiles)]
    owners = [j for j, part in enumerate(parts) for _ in range(part.shape[1])]
    scores = np.hstack(parts) if parts else np.zeros((0, 0))
    return scores, np.array(owners, dtype=np.int64)


def column_scores(profile: ColumnProfile, embedding: Floats, values: Values, cells: Ints, folded: bool) -> Floats:
    """Return the scores of one column: rows x 0, 1 or 2, each row's by its own value."""
    if profile.role is Role.LEVEL:
        return np.asarray(np.vstack((embedding, np.zeros((1, embedding.shape[1]))))[cells])
    if profile.numbers is None or profile.numbers.distinct <= 1:
        return np.zeros((len(values), 0))
    score = _rank_scores(profile, values)
    if folded and profile.numbers.distinct > 2:
        return np.column_stack((score, np.abs(score) - 0.8))
    return score[:, None]


def _sides(cells: list[Ints], rank: list[Floats]) -> tuple[Floats, list[int]]:
    """Return what levels are told apart by, standardised, and whose it is: rank scores, and frequent cells of others.

    rows x sides. Made once for all columns, as it is most of the work.
    """
    parts: list[Floats] = []
    owners: list[int] = []
    for k, scores in enumerate(rank):
        if scores.any():
            parts.append(scores)
            owners.append(k)
    for k, other in enumerate(cells):
        if not rank[k].any():
            top = np.argsort(-np.bincount(other))[:6]
            parts.extend((other == cell).astype(np.float64) for cell in top)
            owners.extend([k] * len(top))
    for place, side in enumerate(parts):
        parts[place] = (side - side.mean()) / max(float(side.std()), 1e-9)
    return np.column_stack(parts) if parts else np.zeros((len(cells[0]) if cells else 0, 0)), owners


def _embedding(cells: Ints, count: int, sides: Floats, is_other: NDArray[np.bool_]) -> Floats:
    """Return cells x 2 scores for levels: the two directions in which they separate the other columns most.

    Left singular vectors of the weighted table of mean scores and level shares per cell (correspondence analysis).
    """
    rows = len(cells)
    weight = np.bincount(cells, minlength=count + 1)[:count].astype(np.float64)
    if not is_other.any() or not rows:
        return np.zeros((count, 2))
    means = cell_means(cells, sides, count)[:, is_other]
    left, _, _ = np.linalg.svd(np.sqrt(weight)[:, None] * means, full_matrices=False)
    embedding = left[:, :2] / np.sqrt(np.maximum(weight, 1.0))[:, None] * np.sqrt(rows)
    embedding[weight == 0] = 0.0
    if embedding.shape[1] < 2:
        embedding = np.hstack((embedding, np.zeros((count, 2 - embedding.shape[1]))))
    return np.asarray(np.clip(embedding, -SCORE_BOUND, SCORE_BOUND))


def cell_means(cells: Ints, scores: Floats, count: int) -> Floats:
    """Return cells x scores means, shrunk towards the mean of all rows."""
    return _shrunk(*_sums(cells, scores, count), _overall(scores))


def _sums(cells: Ints, scores: Floats, count: int) -> tuple[Floats, Floats]:
    """Return cells x scores sums, and cells x 1 numbers of rows; those of two halves add up."""
    rows = np.arange(len(cells))
    member = csr_matrix((np.ones(len(cells)), (cells, rows)), shape=(int(cells.max(initial=count)) + 1, len(cells)))
    sizes = np.bincount(cells, minlength=count + 1)[:count, None].astype(np.float64)
    return np.asarray(member @ scores)[:count], sizes


def _counted(profiles: tuple[ColumnProfile, ...], cells: list[Ints], scores: Floats) -> list[tuple[Floats, Floats]]:
    return [_sums(cell, scores, profile.cell_count) for profile, cell in zip(profiles, cells, strict=True)]


def _shrunk(sums: Floats, sizes: Floats, overall: Floats) -> Floats:
    return np.asarray((sums + CELL_PRIOR_ROWS * overall) / (sizes + CELL_PRIOR_ROWS))


def _overall(scores: Floats) -> Floats:
    return np.asarray(scores.mean(axis=0) if len(scores) else np.zeros(scores.shape[1]))


def _fit(scores: Floats, counted: list[tuple[Floats, Floats]]) -> tuple[tuple[Floats, ...], Floats]:
    overall = _overall(scores)
    covariance = np.atleast_2d(np.cov(scores, rowvar=False)) if len(scores) > 1 else np.eye(scores.shape[1])
    return tuple(_shrunk(sums, sizes, overall) for sums, sizes in counted), covariance


def log_likelihood(
    means: Floats,
    shares: Floats,
    covariance: Floats,
    owners: Ints,
    column: int,
    scores: Floats,
    excluded: frozenset[int] = frozenset(),
) -> Floats:
    """Return rows x (cells + 1): log-likelihood of the other scores of each row given each cell of `column`.

    The last entry is the mixture over all cells: what an unknown value says, namely nothing. `excluded` are columns
    that are known to be broken and take no part.
    """
    given = discriminant(means, shares, covariance, owners, column, excluded)
    return table_of(given, shares, scores)


@dataclass(frozen=True)
class Discriminant:
    """How the other scores tell the cells of a column: `weights` and `offset` are those of Fisher's functions."""

    kept: Ints
    centre: Floats
    weights: Floats
    offset: Floats


def discriminant(
    means: Floats, shares: Floats, covariance: Floats, owners: Ints, column: int, excluded: frozenset[int]
) -> Discriminant:
    """Return the functions that `log_likelihood` is of, which are the same for any rows."""
    is_left_out = np.zeros(max(int(owners.max(initial=0)), column, *excluded) + 1, dtype=bool)
    is_left_out[[column, *excluded]] = True
    kept = np.flatnonzero(~is_left_out[owners])
    means = means[:, kept]
    centre = shares @ means
    offset = means - centre
    if not len(kept) or not len(shares):
        return Discriminant(kept, centre, offset, np.zeros(len(shares)))
    between = (offset * shares[:, None]).T @ offset
    total = covariance[np.ix_(kept, kept)]
    size = max(float(np.trace(total)) / len(kept), 1e-9)
    within = (1 - RIDGE) * total
    within.flat[:: len(kept) + 1] += RIDGE * size
    within -= (1 - RIDGE) * between
    projected = _divided(offset, within, RIDGE * size)
    return Discriminant(kept, centre, projected, 0.5 * np.einsum("ij,ij->i", projected, offset))


def table_of(given: Discriminant, shares: Floats, scores: Floats) -> Floats:
    """Return rows x (cells + 1) as `log_likelihood` does, of rows with these scores."""
    table = np.zeros((len(shares) + 1, len(scores)))
    if not len(given.kept) or not len(shares):
        return table.T
    # Kept as cells x rows, as sums over so few cells are slow where they are side by side; so it is in `tempered`.
    cells = table[:-1]
    np.matmul(given.weights, scores.T[given.kept], out=cells)
    cells -= (given.weights @ given.centre + given.offset)[:, None]
    top = cells.max(axis=0)
    # Relative to saying nothing, and bounded, so that no single row decides.
    cells -= top + np.log(shares @ np.exp(cells - top) + 1e-300)
    np.clip(cells, -ROW_BOUND, ROW_BOUND, out=cells)
    return table.T


def _divided(rows: Floats, matrix: Floats, floor: float) -> Floats:
    """Return rows @ inverse of a symmetric matrix whose eigenvalues are raised to `floor` where they are below it."""
    size = len(matrix)
    # A tenth of the time of the eigenvalues. Mostly none is below the floor: then it is the same. In wide frames some
    # are, and all are raised instead: eigenvalues of hundreds of columns would take minutes.
    for raised in (0.0, 2 * floor) if size > WIDE else (0.0,):
        lifted, lowered = matrix.copy(), matrix.copy()
        lifted.flat[:: size + 1] += raised
        lowered.flat[:: size + 1] += raised - floor * (1 - 1e-9)
        try:
            np.linalg.cholesky(lowered)
        except np.linalg.LinAlgError:
            continue
        # LAPACK itself, as SciPy's own functions for it take as long again for matrices as small as these.
        factor, failed = dpotrf(lifted, clean=0)
        if not failed:
            return np.asarray(dpotrs(factor, rows.T)[0].T)
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(rows @ ((vectors / np.maximum(values, floor)) @ vectors.T))


def coherence(table: Floats, cells: Ints) -> Floats:
    """Return per row how much better its other columns fit its own cell than a random one, in nats."""
    return np.asarray(table[np.arange(len(cells)), np.minimum(cells, table.shape[1] - 1)])


def temper_of(parts: list[tuple[Floats, Ints]], shares: Floats) -> float:
    """Return the power of the likelihood that predicts cells of rows not fitted on best, out of a few."""
    gains = [
        np.mean([coherence(tempered(table, power, shares), own).mean() for table, own in parts]) for power in POWERS
    ]
    return float(POWERS[int(np.argmax(gains))])


def tempered(table: Floats, power: float, shares: Floats) -> Floats:
    """Return a log-likelihood table to a power, again relative to the mixture over cells (its last column)."""
    scaled = table.T * power
    cells = scaled[:-1]
    # Bounded as they are, they need no room for the exponential.
    cells -= np.log(shares @ np.exp(cells) + 1e-300)
    scaled[-1] = 0.0
    return np.asarray(scaled.T)


def _spearman(rank: list[Floats]) -> Floats:
    block = np.column_stack(rank) if rank else np.zeros((0, 0))
    spread = block.std(axis=0) if len(block) else np.zeros(0)
    if not len(block) or not (spread > 0).any():
        return np.zeros((block.shape[1], block.shape[1]))
    scaled = (block - block.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled.T @ scaled / len(block))


def paired_z(difference: Floats) -> float:
    """Return mean / standard error of paired differences, but for those that are 0; 0 where fewer than five are left.

    >>> paired_z(np.array([1.0, 1.0, 1.1, 0.9, 1.0])) > 20, paired_z(np.array([1.0, 1.0, 1.1, 0.9, 0.0]))
    (True, 0.0)
    """
    used: NDArray[np.float64] = difference[difference != 0]
    if len(used) < 5:
        return 0.0
    spread = float(used.std(ddof=1)) / len(used) ** 0.5
    return float(float(used.mean()) / max(spread, 1e-3))
