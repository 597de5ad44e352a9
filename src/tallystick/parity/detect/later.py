"""Live rows that come after training's, where training itself moves along its rows.

A counter runs on, a month follows, prices rise. That such a column lies elsewhere than in training, or goes with the
others as it never did, is what comes next, and no fault. False negatives: a fault in such a column, in rows of another
time, that leaves values a population could give; it is then told as a change of the population.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tallystick.parity.columns import Mask, Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.streamed import are_requested
from tallystick.parity.distribution import cdf
from tallystick.parity.live import Live
from tallystick.parity.profile import has_decimals
from tallystick.parity.yardsticks import CLAIM_NATS, EXACT_DECIMALS, binomial_nats, ks_of, unseen_bound

#: Part of a column's variance between blocks of training from which it tells the time of its rows, and the rank
#: correlation with the order of a counter.
TELLS_TIME, COUNTS = 0.2, 0.9
#: Distance to training from which such a column is elsewhere; part of those columns that must be.
ELSEWHERE, MOST = 0.3, 0.5
#: Share of rows that must lie at a counter's end or beyond it: from this rank on, and by so many spans at most.
NEARLY_ALL, END_RANK, SPANS_ON = 0.9, 0.95, 3.0
#: Times the share of names that arrived in training which live rows may have: they may be of a later time.
TIMES_ARRIVED = 3.0
#: Columns without new names that tell the time of rows; part of the variance of a column that its table is sorted by,
#: and rows with names that training had.
FEWEST_SOUND, SORTED, FEWEST_NAMED = 2, 0.5, 30
#: Share of arrived names from which they tell the time.
FEW_ARRIVED = 0.02
#: Kinds that another distribution, or another dependence, of a population looks like.
_LOOKS_MOVED = frozenset({"affine", "unit", "window_changed", "category_relabelled", "columns_swapped", "sign_flip"})
_ONE_VALUE = frozenset({"constant", "default_fill", "clipped"})
#: Kinds that values no population gives do prove: of sums and scales, those may be of another time.
_BY_SIGN_OR_PLACE = frozenset({"sign_flip", "columns_swapped"})
#: Rank correlation with the order from which a column leads somewhere, and spans that others may go beyond training.
LEADS, SPANS_ASIDE = 0.3, 0.5
#: Values of a column of which no stretch of time has one alone.
MANY_VALUES = 50
#: Factors beyond which a unit with a name is no movement.
FAR_FACTOR = 3.0


def are_later(live: Live) -> bool:
    """Whether the rows are of another time than training's: most columns that tell the time are elsewhere."""
    if newcomers(live):
        return True
    telling = [j for j in range(len(live.reference.columns)) if j not in live.absent and _tells_time(live, j)]
    moved = [j for j in telling if _is_elsewhere(live, j)]
    runs = any(runs_on(live, j) for j in moved)
    return (len(moved) >= MOST * len(telling) and (len(moved) > 1 or runs)) or (len(moved) > 1 and runs)


def newcomers(live: Live) -> frozenset[int]:
    """Return the columns whose names come and go in training, where live rows have more new ones than by chance."""
    found: set[int] = set()
    if live.of_rows("same time", lambda: _are_of_same_time(live)):
        return frozenset()
    for j, profile in enumerate(live.reference.columns):
        course = live.reference.course.get(profile.name)
        if course is None or course.arrived < FEW_ARRIVED or profile.levels is None or j in live.absent:
            continue
        known = live.known(j)
        unseen = int(np.sum(live.cells(j)[known] >= profile.cell_count))
        if binomial_nats(unseen, int(known.sum()), min(0.5, unseen_bound(profile.levels) + 0.003)) > CLAIM_NATS:
            found.add(j)
    return frozenset(found)


def arriving_share(live: Live, j: int) -> float:
    """Return the share of rows that may have names which training never had, where names arrived along its rows."""
    course = live.reference.course.get(live.reference.names[j])
    if course is None or not course.arrived or live.of_rows("same time", lambda: _are_of_same_time(live)):
        return 0.0
    return min(1.0, TIMES_ARRIVED * course.arrived)


def _are_of_same_time(live: Live) -> bool:
    """Whether columns that count say so, or else all that tell the time: they are spread as over all of training.

    A table may be sorted by a column, which tells no time.
    """
    courses = live.reference.course
    counters = [
        j
        for j, name in enumerate(live.reference.names)
        if j not in live.absent and name in courses and abs(courses[name].trend) >= COUNTS
    ]
    if counters:
        return not any(_is_elsewhere(live, j) for j in counters)
    telling = [j for j in range(len(live.reference.names)) if j not in live.absent and _tells_time(live, j)]
    sound = [j for j in telling if not _has_new_names(live, j)]
    if len(sound) >= FEWEST_SOUND:
        return not any(_is_elsewhere(live, j) for j in sound)
    # Of rows of a later time, names that are in one stretch only would all be new, or of the last one.
    return any(_tells_time(live, j, SORTED) and _are_as_trained(live, j) for j in telling)


def _has_new_names(live: Live, j: int) -> bool:
    profile = live.reference.columns[j]
    return profile.levels is not None and bool(np.any(live.cells(j)[live.known(j)] >= profile.cell_count))


def _are_as_trained(live: Live, j: int) -> bool:
    """Whether the names that training had are there in its shares."""
    profile = live.reference.columns[j]
    cells = live.cells(j)[live.cells(j) < profile.cell_count]
    if profile.levels is None or len(cells) < FEWEST_NAMED:
        return False
    shares = np.bincount(cells, minlength=profile.cell_count) / len(cells)
    return bool(0.5 * np.abs(shares - profile.cell_shares / profile.cell_shares.sum()).sum() < ELSEWHERE)


def _tells_time(live: Live, j: int, part: float = TELLS_TIME) -> bool:
    course = live.reference.course.get(live.reference.names[j])
    return course is not None and course.part >= part


def _is_elsewhere(live: Live, j: int) -> bool:
    profile = live.reference.columns[j]
    if profile.numbers is not None:
        return ks_of(profile.numbers, live.sample(j)) >= ELSEWHERE
    shares = np.bincount(live.cells(j), minlength=profile.cell_count + 1) / max(1, live.rows)
    return bool(0.5 * np.abs(shares - np.append(profile.cell_shares, 0.0)).sum() >= ELSEWHERE)


def runs_on(live: Live, j: int) -> bool:
    """Whether a column that counts along training's rows goes on where it ended, but not by ages."""
    profile = live.reference.columns[j]
    numbers, course = profile.numbers, live.reference.course.get(profile.name)
    values = live.numbers(j)[live.known(j)] if numbers is not None else np.zeros(0)
    if numbers is None or course is None or not len(values) or abs(course.trend) < COUNTS:
        return False
    span = numbers.maximum - numbers.minimum
    if course.trend > 0:
        goes_on = (cdf(numbers, values) >= END_RANK) & (values <= numbers.maximum + SPANS_ON * span)
    else:
        goes_on = (cdf(numbers, values) <= 1 - END_RANK) & (values >= numbers.minimum - SPANS_ON * span)
    return bool(np.mean(goes_on) >= NEARLY_ALL)


def without_what_moved(live: Live, found: list[Finding]) -> list[Finding]:
    """Leave out what the course of time does to rows that came later."""
    if not found or not live.reference.course or not live.of_rows("later", lambda: are_later(live)):
        return found
    return [each for each in found if not _is_course(live, each)]


def without_newcomers(
    live: Live,
    found: list[Finding],
    told_by_others: frozenset[str],
    by_role: Callable[[Live, int, Role], list[Finding]],
) -> list[Finding]:
    """Leave out what only names tell that come and go, where there are new ones: whom they go with is not known yet."""
    new = newcomers(live) if live.reference.course else frozenset()
    if not new:
        return found
    rest, kept = live.with_broken(new), []
    for finding in found:
        if finding.kind in told_by_others:
            column = live.reference.names.index(finding.features[0])
            again = by_role(rest, column, live.reference.columns[column].role)
            if not any(other.kind == finding.kind for other in again):
                continue
        kept.append(finding)
    return kept


def _is_course(live: Live, finding: Finding) -> bool:
    names = [name for name in finding.features if name in live.reference.course]
    if finding.kind not in _LOOKS_MOVED | _ONE_VALUE or not names:
        return False
    if len(names) < len(finding.features):
        return finding.kind == "columns_swapped" and not finding.exact
    columns = [live.reference.names.index(name) for name in names]
    if finding.kind in _ONE_VALUE and not _is_of_requests(live, columns[0]):
        return False
    if all(runs_on(live, j) for j in columns):
        return finding.kind != "default_fill" or live.reference.columns[columns[0]].role is not Role.TIME
    if finding.kind in _ONE_VALUE:
        is_usual = not finding.exact or _goes_on(live, columns[0], finding)
        return is_usual and not _is_stuck(live, columns[0], finding)
    if finding.kind in _BY_SIGN_OR_PLACE:
        return not finding.exact
    return not _is_named(finding) and not any(_is_off(live, j, finding.rows) for j in columns)


def _is_of_requests(live: Live, j: int) -> bool:
    """Whether times are about those of the requests, where those are known: one that is not did not come next."""
    if live.reference.columns[j].role is not Role.TIME or live.requests is None:
        return True
    return are_requested(live, live.numbers(j), live.known(j))


def _is_stuck(live: Live, j: int, finding: Finding) -> bool:
    """Whether all rows have one value, of many that never came alone for long."""
    profile = live.reference.columns[j]
    many = profile.numbers is not None and profile.numbers.distinct > MANY_VALUES
    return many and finding.share >= 1 and live.reference.course[profile.name].part < COUNTS


def _is_off(live: Live, j: int, rows: Mask) -> bool:
    """Whether values are where no course leads: far beyond training's, on that side, or of another resolution."""
    profile = live.reference.columns[j]
    numbers = profile.numbers
    if numbers is None:
        return False
    values = live.numbers(j)[rows & live.known(j)]
    span, trend = numbers.maximum - numbers.minimum, live.reference.course[profile.name].trend
    above = SPANS_ON if trend >= LEADS else SPANS_ASIDE
    below = SPANS_ON if trend <= -LEADS else SPANS_ASIDE
    off = (values > numbers.maximum + above * span) | (values < numbers.minimum - below * span)
    if profile.role is Role.NUMBER and numbers.decimals <= EXACT_DECIMALS:
        off |= ~has_decimals(values, numbers.decimals)
    return bool(len(values) and np.mean(off) >= MOST)


def _goes_on(live: Live, j: int, finding: Finding) -> bool:
    """Whether the one value is where training's were going: beyond their range, but not by ages."""
    numbers, value = live.reference.columns[j].numbers, finding.transformation.get("value")
    if numbers is None or not isinstance(value, int | float) or "is" in finding.transformation:
        return False
    beyond = (
        (value - numbers.maximum) if live.reference.course[finding.features[0]].trend > 0 else (numbers.minimum - value)
    )
    return bool(0 < beyond <= SPANS_ON * (numbers.maximum - numbers.minimum))


def _is_named(finding: Finding) -> bool:
    """Whether a map has a name and is so far that no movement is like it, or has an offset of its own."""
    given = finding.transformation
    if finding.kind != "unit" or str(given.get("name", "unnamed")) == "unnamed":
        return False
    factor = abs(float(given.get("factor", 1.0)))
    return bool(given.get("offset")) or factor > FAR_FACTOR or factor < 1 / FAR_FACTOR
