"""Levels under other names, new levels, and codes exchanged among known levels.

Source: for unseen levels, Poisson counts of "this level was renamed" against "rows got a new level"; for known ones,
the assignment of sent levels to true levels (Kuhn 1955) by counts and by what the other columns of their rows say.
False positives: any re-weighting of levels looks like an exchange by counts alone, so an exchange needs the other
columns; a new level may be a new segment of the population, so it is reported as what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.density import fit_share, mixed, mixture_z, posterior
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.later import arriving_share
from tallystick.parity.detect.levels import KnownLevels, is_fill_word
from tallystick.parity.detect.meant import UNSEEN_TIMES, poisson_nats, renames, uncounted
from tallystick.parity.detect.naming import MOST_ROWS, by_code, by_name
from tallystick.parity.joint import Values, paired_z
from tallystick.parity.live import Live
from tallystick.parity.matched import FEW_ALIKE, matched, over_mix
from tallystick.parity.profile import ColumnProfile, Ints
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, trusted_nats, unseen_bound, z_nats

#: Nulls that must be due, and nats, before a new level is taken for what stands in their place.
FEWEST_NULLS, NULL_NATS = 5.0, 2.0
#: Part by which another mix of the population may change how many have no value.
REWEIGHTED = 0.1
MOST_EXCHANGED = 40
#: Gain that an exchange needs: what was found in few rows is as well found where part of the population is missing.
EXCHANGE_GAIN = 15.0
#: How closely other mixes of the population keep to training's shares of levels: as if so many rows were seen.
MIX_CONCENTRATION = 10.0
#: Keys whose rows have to say that levels are exchanged, where rows have keys.
FEWEST_KEYS = 8
#: Nats that the others may say of one row for an exchange.
SURE_NATS = 4.0
#: Shares of exchanged rows for which the best exchange is looked for.
EXCHANGED_PARTS = (0.1, 0.3, 0.6, 0.99)


def detect_unseen(live: Live, column: int) -> list[Finding]:
    """Return renamed, filled and new levels of one level column."""
    profile = live.reference.columns[column]
    if profile.levels is None or profile.role is not Role.LEVEL:
        return []
    known_levels = KnownLevels(live.reference, profile)
    texts = live.texts(column)
    counts = Counter(text for text in texts if text is not None)
    unseen = {text: count for text, count in counts.items() if known_levels.find(text) is None and text[:1] != "#"}
    total = sum(counts.values())
    # Where training saw no level only once, one that it never saw has less than a few rows' share.
    rate = max(UNSEEN_TIMES * profile.levels.unseen_rate, unseen_bound(profile.levels))
    rate = max(rate, profile.levels.unseen_rate * _times_as_rare(profile, counts))
    rate = min(0.5, rate + min(0.003, 3.0 / max(1, profile.levels.rows)))
    nats = binomial_nats(sum(unseen.values()), total, rate)
    if not unseen or nats < CLAIM_NATS / 2:
        return []
    found = []
    absent = _words_for_null(live, column, unseen)
    if absent:
        found.append(_new(live, column, "null_token", absent, texts, nats))
    unseen = {text: count for text, count in unseen.items() if text not in absent}
    arriving = max(rate, arriving_share(live, column))
    is_usual = arriving > rate and binomial_nats(sum(unseen.values()), total, arriving) < CLAIM_NATS
    renamed = _told(live, column, unseen, counts, arriving > rate, is_usual) if unseen else {}
    if renamed:
        # What the others' rows say is theirs.
        amount = binomial_nats(sum(unseen[text] for text in renamed), total, rate)
        if len(renamed) == len(unseen) or amount >= CLAIM_NATS / 2:
            found.append(_renamed(live, column, renamed, texts, amount))
    rest = {text: count for text, count in unseen.items() if text not in renamed}
    fills = {text: count for text, count in rest.items() if is_fill_word(text)}
    fresh = {text: count for text, count in rest.items() if text not in fills}
    for kind, part, usual in (("default_fill", fills, rate), ("new_level", fresh, arriving)):
        amount = binomial_nats(sum(part.values()), total, usual)
        if part and amount >= CLAIM_NATS / 2:
            found.append(_new(live, column, kind, part, texts, amount))
    return found


def _times_as_rare(profile: ColumnProfile, counts: Mapping[str, int]) -> float:
    """Return how many times as often as in training rows have another level than its commonest.

    A part of the population without that one has rare levels only, and as many more that nobody has seen.
    """
    assert profile.levels is not None
    common = float(profile.levels.counts[0]) / max(1.0, float(profile.levels.counts.sum()))
    here = counts.get(profile.levels.levels[0], 0) / max(1, sum(counts.values()))
    return max(1.0, (1 - here) / max(1 - common, 1e-3))


def _told(
    live: Live, column: int, unseen: Mapping[str, int], counts: Mapping[str, int], do_arrive: bool, is_usual: bool
) -> dict[str, str]:
    """Return unseen level -> level that it stands for.

    Where names came and went along training's rows, some are gone and others are there: unless all are, by name only.
    """
    profile = live.reference.columns[column]
    assert profile.levels is not None
    if is_usual or (do_arrive and sum(unseen.values()) < MOST_ROWS * sum(counts.values())):
        names, shares = profile.levels.levels, profile.levels.counts / max(1.0, float(profile.levels.counts.sum()))
        return by_name(unseen, names) or by_code(unseen, names, shares)
    return renames(live, column, unseen, counts)


def _words_for_null(live: Live, column: int, unseen: Mapping[str, int]) -> dict[str, int]:
    """Return the new level that stands for what is missing: nulls are as much fewer as it has rows."""
    profile = live.reference.columns[column]
    nulls, due = live.rows - int(live.known(column).sum()), live.rows * profile.null_share
    text, count = max(unseen.items(), key=lambda each: each[1])
    if due < FEWEST_NULLS or is_fill_word(text) or count < MOST_ROWS * sum(unseen.values()):
        return {}
    token, other = nulls + count, due * (1 - count / live.rows)
    told = float(poisson_nats(token, due) - poisson_nats(nulls, other))
    # Rows that had a level got it where there are as many nulls as before.
    told = min(told, null_nats(token, due, live.rows) - null_nats(nulls, due, live.rows))
    return {text: count} if told - float(uncounted(count)) > NULL_NATS else {}


def null_nats(count: int, due: float, rows: int) -> float:
    """Return the log-likelihood of so many nulls relative to its largest, with room for re-weighting by a tenth.

    Where most rows have none, the few that have one tell.
    """
    few = due * (1 - due / rows)
    return -((count - due) ** 2) / (2 * max(few + (REWEIGHTED * few) ** 2, 0.5))


def _renamed(live: Live, column: int, renamed: Mapping[str, str], texts: Any, nats: float) -> Finding:
    profile = live.reference.columns[column]
    rows = np.array([text in renamed for text in texts], dtype=bool)
    fixed = np.array(texts, dtype=object)
    for row in np.flatnonzero(rows):
        fixed[row] = renamed[texts[row]]
    pairs = ", ".join(f"{new!r} for {old!r}" for new, old in list(renamed.items())[:3])
    known = int(live.known(column).sum())
    evidence = (
        f"{int(rows.sum())} of {known} values are unknown to training: {pairs}; "
        "counts of the new and the old name add up to training's",
    )
    meant = rows | np.isin(np.array([str(text) for text in texts]), list(renamed.values()))
    share = float(rows.sum() / max(1, meant.sum()))
    return Finding(
        "renamed_level",
        (profile.name,),
        {"map": dict(renamed)},
        share,
        nats,
        True,
        evidence,
        rows,
        {column: fixed},
        _relabel_forward(profile.name, {old: new for new, old in renamed.items()}),
        gain=nats + 5,
    )


def _new(live: Live, column: int, kind: str, part: Mapping[str, int], texts: Any, nats: float) -> Finding:
    profile = live.reference.columns[column]
    rows = np.array([text in part for text in texts], dtype=bool)
    fixed = np.array(texts, dtype=object)
    fixed[rows] = None
    known = int(live.known(column).sum())
    names = sorted(part, key=lambda text: -part[text])[:10]
    evidence = (
        f"{int(rows.sum())} of {known} values are levels that training never had: {', '.join(map(repr, names[:4]))}",
    )
    parameters: dict[str, Any] = {"value": names[0]} if kind == "default_fill" else {"levels": names}
    if kind == "null_token":
        parameters = {"map": dict.fromkeys(names, "")}
        evidence = (f"{int(rows.sum())} values are {names[0]!r}, and as many fewer are missing than in training",)
    return Finding(
        kind,
        (profile.name,),
        parameters,
        float(rows.mean()),
        nats,
        True,
        evidence,
        rows,
        {column: fixed},
        lambda columns: {profile.name: np.full(len(columns[profile.name]), names[0], dtype=object)},
        gain=nats,
    )


def _relabel_forward(name: str, pairs: Mapping[str, str]) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.array([pairs.get(str(value), value) for value in columns[name]], dtype=object)}

    return put


def detect_relabelled(live: Live, column: int) -> list[Finding]:
    """Return the exchange of known levels (or small codes) that counts and other columns agree on."""
    profile = live.reference.columns[column]
    names = _cell_names(profile)
    size = len(names)
    cells = live.cells(column)
    inside = cells < size
    if size < 2 or size > MOST_EXCHANGED or inside.sum() < 20:
        return []
    table = live.table(column)[:, :size]
    true = _assigned(profile, cells[inside], table[inside], size)
    if int(np.sum(true != np.arange(size))) < 2:
        return []
    finding = _exchange(live, column, true, names, table, inside)
    return [] if finding is None else [finding]


def _assigned(profile: ColumnProfile, cells: Ints, table: Floats, size: int) -> Ints:
    """Return the true level of each sent level that fits best, over a few shares of rows that are exchanged.

    Rows sent as a are then level a or, with the weight that the share and the levels' counts give it, level b.
    """
    shares = (profile.cell_shares[:size] * profile.rows + 0.5) / (profile.rows + size)
    counts = np.bincount(cells, minlength=size).astype(np.float64)
    best, best_gain = np.arange(size), 0.0
    # How much better the others fit each level than the one sent, as odds less 1. A row cannot be more than so sure.
    sent_as_one = [table[cells == a] for a in range(size)]
    odds = [np.expm1(np.clip(rows - rows[:, [a]], -SURE_NATS, SURE_NATS)) for a, rows in enumerate(sent_as_one)]
    for part in EXCHANGED_PARTS:
        sent = (1 - part) * shares[:, None] + part * shares[None, :]
        weight = part * shares[None, :] / sent
        gain = counts[:, None] * (np.log(sent) - np.log(shares)[:, None])
        for a in np.flatnonzero(counts):
            # As `density.mixed`, of the odds that all parts share.
            gain[a] += np.log1p(np.clip(weight[a], 0.0, 1.0 - 1e-9) * odds[a]).sum(axis=0)
        np.fill_diagonal(gain, 0.0)
        sent_as, true = linear_sum_assignment(-gain)
        total = float(gain[sent_as, true].sum())
        if total > best_gain:
            best, best_gain = np.asarray(true, dtype=np.int64), total
    return best


def _cell_names(profile: ColumnProfile) -> list[Any]:
    """Return the values of the cells that may be exchanged: levels, or the points of a small lattice."""
    if profile.role is Role.LEVEL and profile.levels is not None:
        return list(profile.levels.levels[:30])
    numbers = profile.numbers
    if profile.role is Role.NUMBER and numbers is not None and numbers.is_lattice and not len(profile.edges):
        return [float(point) for point in profile.points] if numbers.decimals == 0 else []
    return []


def _exchange(live: Live, column: int, true: Ints, names: list[Any], table: Floats, inside: Mask) -> Finding | None:
    profile = live.reference.columns[column]
    cells = live.cells(column)
    rows = np.flatnonzero(inside)
    there = true[cells[rows]]
    changed = there != cells[rows]
    if changed.sum() < 8 or len(np.unique(cells[rows][changed])) < 2:
        # One level alone that is another's is a constant or a new name, not an exchange.
        return None
    heard = table[rows, there] - table[rows, cells[rows]]
    shares = np.log((profile.cell_shares[: len(names)] * profile.rows + 0.5) / (profile.rows + len(names)))
    counted = shares[there] - shares[cells[rows]]
    part, gains = fit_share((heard + counted)[None, changed])
    share = float(part[0])
    weight = posterior(counted, max(share, 0.05))[changed]
    here, back = table[rows, cells[rows]][changed], table[rows, there][changed]
    apart = mixed(weight, back - here)
    z = mixture_z(weight, here, back)
    if _filled_nats(profile, cells[rows], table[rows]) > float(apart.sum()):
        return None
    moved = int(np.sum(true != np.arange(len(true))))
    said = _said(live, rows[changed], apart, z)
    if said > 0:
        said = min(said, _over_mix(live, column, true, share, apart))
    # The best of many exchanges fits chance too: as many nats as the logarithm of their number.
    nats = said - float(gammaln(len(names) + 1)) - 1.0
    if said > 0:
        nats += max(0.0, _counted_nats(profile, cells[rows], true, share))
    gain = float(gains[0]) - moved * np.log(max(2, len(names))) * 0.7
    if nats < CLAIM_NATS or gain < EXCHANGE_GAIN:
        return None
    whole = share > 0.8
    affected = np.zeros(live.rows, dtype=bool)
    affected[rows[changed]] = True if whole else posterior((heard + counted)[changed], share) > 0.5
    mapping = {str(_shown(names[int(b)])): str(_shown(names[a])) for a, b in enumerate(true) if a != b}
    undo = _undone(live.values[column], cells, affected, true, names)
    evidence = (
        f"rows sent as one level look like another's: the other columns agree with exchanging them back (z = {z:.1f})",
        f"{moved} of {len(names)} levels are exchanged",
    )
    return Finding(
        "category_relabelled",
        (profile.name,),
        {"map": mapping},
        1.0 if whole else share,
        nats,
        False,
        evidence,
        affected,
        {column: undo},
        _relabel_forward(profile.name, mapping) if profile.levels is not None else None,
        gain=gain,
    )


def _filled_nats(profile: ColumnProfile, cells: Ints, table: Floats) -> float:
    """Return what rows say for another story: part of those of the level that grew most may be of any level."""
    size = table.shape[1]
    shares = (profile.cell_shares[:size] * profile.rows + 0.5) / (profile.rows + 0.5 * size)
    counts = np.bincount(cells, minlength=size)
    excess = (counts / len(cells) - shares) / (1 - shares)
    grown = int(np.argmax(excess))
    holds = cells == grown
    part = float(np.clip(excess[grown] * len(cells) / max(1, counts[grown]), 0.0, 1.0))
    return float(mixed(np.full(int(holds.sum()), part), -table[holds, grown]).sum())


def _said(live: Live, rows: Ints, apart: Floats, z: float) -> float:
    """Return what rows say for an exchange, in nats. Those of one key repeat each other: then keys say it, as one each.

    Source: cluster-robust standard errors (Liang & Zeger 1986), here with one sum a key.
    """
    keys = None if live.asked is None else live.asked.keys
    if keys is None:
        return trusted_nats(z, float(apart.sum()))
    codes = pd.factorize(keys[rows])[0]
    sums: Floats = np.bincount(codes[codes >= 0], weights=apart[codes >= 0]).astype(np.float64)
    if len(sums) < FEWEST_KEYS:
        return 0.0
    return z_nats(min(z, paired_z(sums)))


def _over_mix(live: Live, column: int, true: Ints, share: float, apart: Floats) -> float:
    """Return what rows say for an exchange beyond what the same says of training rows that are like them, in nats.

    Of a part of the population that another column picks, the others may fit one level as another's.
    """
    mix = matched(live, column)
    if mix is None:
        return float("inf")
    profile = live.reference.columns[column]
    size = len(true)
    cells = mix.golden.cells(column)
    there = np.append(true, size)[np.minimum(cells, size)]
    told = np.flatnonzero((cells < size) & (there != cells))
    if not len(told) or not mix.weights[told].sum() > 0:
        return float("inf")
    here, there = cells[told], there[told]
    shares = np.log((profile.cell_shares[:size] * profile.rows + 0.5) / (profile.rows + size))
    table = mix.golden.table(column)
    usual, rows = np.zeros(len(cells)), np.zeros(len(cells), dtype=bool)
    rows[told] = True
    usual[told] = mixed(
        posterior(shares[there] - shares[here], max(share, 0.05)), table[told, there] - table[told, here]
    )
    if mix.size >= FEW_ALIKE * mix.golden.rows and mix.mean(usual, rows)[0] <= 0:
        return float("inf")
    return over_mix(mix, rows, usual, apart)


def _counted_nats(profile: ColumnProfile, cells: Ints, true: Ints, share: float) -> float:
    """Return how much better counts fit the exchange than another mix of the population, in nats.

    The rival is a Dirichlet-multinomial about training's shares: it may give any counts, and so expects none closely.
    """
    size = len(true)
    shares = (profile.cell_shares[:size] * profile.rows + 0.5) / (profile.rows + 0.5 * size)
    counts = np.bincount(cells, minlength=size).astype(np.float64)
    rows = counts.sum()
    prior = MIX_CONCENTRATION * shares
    rival = gammaln(prior.sum()) - gammaln(prior.sum() + rows) + np.sum(gammaln(prior + counts) - gammaln(prior))
    # The share was fitted: half a logarithm of the rows.
    exchanged = np.sum(counts * np.log((1 - share) * shares + share * shares[true])) - 0.5 * np.log(max(rows, 1.0))
    return float(exchanged - rival)


def _shown(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def _undone(values: Values, cells: Ints, affected: Mask, true: Ints, names: list[Any]) -> Values:
    fixed = np.array(values, dtype=np.asarray(values).dtype, copy=True)
    for row in np.flatnonzero(affected):
        fixed[row] = names[int(true[cells[row]])]
    return fixed
