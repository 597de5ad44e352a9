"""The rounds of an inquiry: propose causes, undo the strongest, look again, until nothing is proposed.

Side effects of one cause vanish with it, so that they are not told as causes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tallystick.parity.alike import alike
from tallystick.parity.columns import Role
from tallystick.parity.conclude import FEWEST_ROWS, FEWEST_TRAINED, Inquiry, trained_rows
from tallystick.parity.detect.aggregate import detect_aggregate
from tallystick.parity.detect.availability import detect_availability
from tallystick.parity.detect.categorical import detect_relabelled, detect_unseen
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.horizon import detect_horizon, held_windows
from tallystick.parity.detect.hours import detect_cycle
from tallystick.parity.detect.keyed import detect_keyed
from tallystick.parity.detect.later import without_newcomers, without_what_moved
from tallystick.parity.detect.numeric import detect_maps
from tallystick.parity.detect.permutation import detect_permutations, over_training, swapped
from tallystick.parity.detect.precision import detect_precision, is_of_the_mix, is_only_rounded
from tallystick.parity.detect.schema import read_live
from tallystick.parity.detect.source import detect_source, with_lookups
from tallystick.parity.detect.stale import or_stale
from tallystick.parity.detect.thinned import detect_thinned
from tallystick.parity.detect.times import detect_times
from tallystick.parity.detect.window import detect_window, is_rounded_off, keeps_order, stays_whole
from tallystick.parity.history import Asked
from tallystick.parity.live import Live
from tallystick.parity.resolution import coarsened
from tallystick.parity.screen import ColumnScreen, screen, suspects, z_p
from tallystick.parity.yardsticks import BROKEN_P, CLAIM_NATS

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Causes that are undone in turn before the rest is called population.
MOST_ROUNDS = 6
#: Looks of all detectors at one column, over all rounds and in one: what keeps a frame with everything broken
#: affordable. What is found in the worst columns of a round is looked for by itself in the others.
MOST_LOOKS, LOOKS_A_ROUND = 20, 10
#: Kinds that leave a column's own distribution as it was, or nearly: only the other columns tell them.
TOLD_BY_OTHERS = frozenset({"time_zone", "category_relabelled"})
#: These and another that is told by how columns go with each other; and what that was off by, as nats of all of
#: training's rows, in fair samples of more rows.
BY_OTHERS_ONLY, OFF_BY = TOLD_BY_OTHERS | {"columns_swapped"}, 40.0
MOST_RIVALS = 4
#: Findings of one kind up to which each is asked for again without the first.
MOST_CONFIRMED = 4
#: Share from which a cause is in all rows, and how many times training's own share any other must have.
WHOLE, TIMES_TRAINING = 0.9, 3.0
#: Standard errors by which live rows must tell an exchange better than training's rows.
OVER_TRAINING_Z = 2.5
#: How many times as much may speak for a factor with a name before a sum for a mean is out of the question.
MORE_TOLD = 4.0
#: Columns up to which evidence needs no surcharge for having been looked for in many places.
FREE_COLUMNS = 10
#: Chance of a column's own distribution above which it is as in training.
UNCHANGED_P = 1e-3
#: What training's names alone tell, however few rows there were.
_OF_NAMES = frozenset({"missing_column", "extra_column"})


@dataclass(frozen=True)
class _Round:
    """What detectors proposed of some columns, which of it is believed first, and the other columns that differ."""

    proposed: list[Finding]
    best: Finding
    others: list[int]


@dataclass(frozen=True)
class Begun:
    """An inquiry as far as it went: what was `found` and undone (`rows`) in what was `sent`, and the looks `left`.

    `is_over` says that there is nothing more to find. Of a round that is only `begun` the first finding is known; it is
    not undone yet.
    """

    sent: Live
    rows: Live
    asked: Asked
    #: Names of columns that are what they should be, however odd they look.
    held: frozenset[str]
    finer: tuple[str, ...]
    found: tuple[Finding, ...]
    first: tuple[ColumnScreen, ...]
    last: tuple[ColumnScreen, ...]
    left: int = MOST_LOOKS
    looks: int = 0
    rounds: int = 0
    is_over: bool = False
    begun: _Round | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, in order."""
        return self.found if self.begun is None else (*self.found, self.begun.best)

    def told(self) -> Inquiry:
        """Return what was found."""
        told = with_lookups(self.sent, self.asked, list(self.findings))
        return Inquiry(self.sent, self.rows, told, self.first, self.last, self.finer, looks=self.looks)


def inquire(reference: Reference, frame: pd.DataFrame, asked: Asked | None = None) -> Inquiry:
    """Return all causes that the rows show, each undone before the next is looked for.

    `asked` says whom each row is about and when it was asked for, as far as that is known.
    """
    return carried_on(begun(reference, frame, asked)).told()


def begun(reference: Reference, frame: pd.DataFrame, asked: Asked | None = None, whole: Live | None = None) -> Begun:
    """Return an inquiry before its first round: rows read, what their form and their source show, and the screen.

    Of `whole`, the rows that these are some of, it is taken over what the reference alone says.
    """
    sent, findings = read_live(reference, frame)
    is_tiny = trained_rows(reference) < FEWEST_TRAINED
    if is_tiny:
        findings = [finding for finding in findings if finding.kind in _OF_NAMES]
    asked = asked or Asked()
    sent = replace(sent if whole is None else sent.sharing(whole), requests=asked.times, asked=asked)
    # Before digits are taken off: the source has them too.
    replayed = [] if is_tiny else [*detect_source(sent, asked), *detect_horizon(sent, asked)]
    held = held_windows(sent, asked)
    sent, finer = coarsened(sent)
    sent = sent.with_suspects(suspects(sent))
    rows, first = sent, tuple(screen(sent))
    last = first
    if replayed:
        findings += replayed
        rows = _undone(rows, replayed)
        last = tuple(screen(rows))
    return Begun(sent, rows, asked, frozenset(held), finer, tuple(findings), first, last)


def carried_on(so_far: Begun, enough_nats: float = np.inf) -> Begun:
    """Return an inquiry carried on to its end.

    Nothing more is looked for once a cause has more than `enough_nats`: those that were found are then the first ones,
    the same as without. Nor when detectors have looked at as many columns as are left.
    """
    while not so_far.is_over and not any(finding.nats > enough_nats for finding in so_far.findings):
        if so_far.begun is not None:
            so_far = _round_ended(so_far, so_far.begun)
        elif so_far.rounds < MOST_ROUNDS:
            so_far = _round_begun(so_far)
        else:
            break
    return so_far


def _round_begun(so_far: Begun) -> Begun:
    """Return the inquiry with one more round begun: what explains most is found."""
    rows, held = so_far.rows, so_far.held
    order = _looked_at(so_far.last)
    chosen = frozenset(order[: min(so_far.left, LOOKS_A_ROUND)])
    is_tiny = trained_rows(so_far.sent.reference) < FEWEST_TRAINED
    proposed = _propose(rows, so_far.last, chosen) if so_far.left > 0 and not is_tiny else []
    # Counts that come out the same when counted again are right, however odd their distribution is.
    proposed = [each for each in proposed if not each.features or not held.issuperset(each.features)]
    so_far = replace(so_far, left=so_far.left - len(chosen), looks=so_far.looks + len(chosen), rounds=so_far.rounds + 1)
    if not proposed:
        return replace(so_far, is_over=True)
    others = [j for j in order[len(chosen) :] if rows.reference.names[j] not in held]
    return replace(so_far, begun=_Round(proposed, _survivor(rows, proposed), others))


def _round_ended(so_far: Begun, begun: _Round) -> Begun:
    """Return the inquiry with a round ended: what was found, and the same in other columns, is undone."""
    rows, best = so_far.rows, begun.best
    # What the others tell is told of a cause's partners too, until it is undone.
    same = [best]
    if best.kind not in TOLD_BY_OTHERS:
        same = _confirmed(rows, _of_one_kind(best, begun.proposed))
        same += alike(rows, best, begun.others)
    rows = _undone(rows, same)
    return replace(so_far, rows=rows, found=(*so_far.found, *same), last=tuple(screen(rows)), begun=None)


def _looked_at(screened: Sequence[ColumnScreen]) -> list[int]:
    """Return the columns that are worth a look, those with the least chance first."""
    # A broken column takes agreement from its partners: what it shows itself outdoes all loss of that.
    told = {part.column: max(z_p(part.coherence_z), BROKEN_P) for part in screened}
    order = sorted(
        screened, key=lambda part: (min(part.p, part.null_p, part.odd_p, told[part.column]), part.coherence_z)
    )
    return [part.column for part in order if part.is_looked_at]


def _undone(rows: Live, findings: list[Finding]) -> Live:
    changed = {column: values for finding in findings for column, values in finding.undo.items()}
    left = [finding for finding in findings if not finding.undo or finding.is_partly_undone]
    broken = {rows.reference.names.index(name) for finding in left for name in finding.features}
    rows = rows.with_values(changed).with_broken(frozenset(broken))
    return rows.with_suspects(suspects(rows))


def _survivor(live: Live, proposed: list[Finding]) -> Finding:
    """Return the finding to believe first: the largest gain, or, where the others' word is all there is, the cause.

    A broken column makes its partners look broken. Judged without its rivals' columns, a cause is still found, and
    a victim is not.
    """
    best = max(proposed, key=lambda finding: finding.gain)
    rivals: dict[int, Finding] = {}
    for finding in sorted(proposed, key=lambda finding: -finding.gain):
        if finding.kind in TOLD_BY_OTHERS and len(finding.features) == 1 and len(rivals) < MOST_RIVALS:
            rivals.setdefault(live.reference.names.index(finding.features[0]), finding)
    if best.kind not in TOLD_BY_OTHERS or len(rivals) < 2:
        return best
    alone: list[tuple[float, Finding]] = []
    for column in rivals:
        rest = live.with_broken(frozenset(rivals) - {column})
        again = by_role(rest, column, live.reference.columns[column].role)
        told = [found for found in again if found.kind in TOLD_BY_OTHERS]
        # Within a column by gain, which counts what a map was fitted with: a shift is one of 23, an exchange of many.
        if told:
            likely = max(told, key=lambda finding: finding.gain)
            alone.append((likely.nats, likely))
    return max(alone, key=lambda pair: pair[0])[1] if alone else best


def _of_one_kind(best: Finding, proposed: list[Finding]) -> list[Finding]:
    """Return the best finding and those of its kind in other columns: one cause often hits several."""
    taken, found = set(best.features), [best]
    for finding in sorted(proposed, key=lambda finding: -finding.gain):
        rival = max((f.gain for f in proposed if set(f.features) & set(finding.features)), default=0.0)
        if finding.kind == best.kind and not taken & set(finding.features) and finding.gain >= rival:
            found.append(finding)
            taken |= set(finding.features)
    return found


def _confirmed(rows: Live, same: list[Finding]) -> list[Finding]:
    """Return the first finding and those of the others that are still there when it is undone.

    A broken column makes its partners look broken. Many columns with one fault confirm each other.
    """
    if not 1 < len(same) <= MOST_CONFIRMED:
        return same
    rest, kept = _undone(rows, same[:1]), same[:1]
    for finding in same[1:]:
        column = rows.reference.names.index(finding.features[0])
        again = [] if finding.exact else by_role(rest, column, rows.reference.columns[column].role)
        if finding.exact or len(finding.features) > 1 or any(other.kind == finding.kind for other in again):
            kept.append(finding)
    return kept


def _propose(live: Live, screened: Sequence[ColumnScreen], chosen: frozenset[int]) -> list[Finding]:
    """Return what detectors propose of the columns that are chosen for a look, and quick ones of all that differ."""
    if live.rows < FEWEST_ROWS:
        return []
    flagged = [part.column for part in screened if part.is_looked_at]
    found: list[Finding] = []
    for part in screened:
        j = part.column
        if j in live.absent or j in live.broken:
            continue
        role = live.reference.columns[j].role
        if part.is_looked_at:
            found += detect_availability(live, j)
        if j in chosen:
            found += by_role(live, j, role)
        elif role is Role.TIME and j not in live.absent:
            # The screen knows hours only; months and the request's time are looked at here.
            found += detect_times(live, j)
        if role is Role.NUMBER:
            found += [each for each in detect_precision(live, j) if not is_of_the_mix(live, j, each)]
    found += detect_permutations(live, flagged)
    # Asked last, and only when nothing explains the loss of agreement by values themselves.
    # Of what is inferred from a part of the rows, a key's own later values may tell the truth.
    is_told = any(finding.exact or _is_whole(finding) for finding in found)
    keyed = [] if is_told else detect_keyed(live, screened)
    found = keyed or (found if is_told else or_stale(live, screened, found, by_role))
    found = without_what_moved(live, _without_victims(live, screened, found))
    found = without_newcomers(live, found, TOLD_BY_OTHERS, by_role)
    surcharge = np.log(max(1.0, len(live.reference.columns) / FREE_COLUMNS))
    doubt = _doubt(live)
    found = [each for each in found if each.nats >= CLAIM_NATS / 2 + surcharge + doubt * (each.kind in BY_OTHERS_ONLY)]
    return _not_in_training(live, found)


def _doubt(live: Live) -> float:
    """Return the nats that training's own chance may give to an exchange, where there are more live rows than its own.

    How columns go with each other was estimated from training; what that is off by is told again with each live row.
    """
    trained = trained_rows(live.reference)
    return OFF_BY * max(0, live.rows - trained) / max(1, trained)


def _not_in_training(live: Live, found: list[Finding]) -> list[Finding]:
    """Leave out what a share of training's own rows shows as well: a holiday is no exchange of two columns.

    Golden rows are asked as the live ones were. Only causes in a share of the rows that are no proof are in question.
    """
    doubted = [finding for finding in found if finding.share < WHOLE and not finding.exact and finding.features]
    doubted = [finding for finding in doubted if finding.kind in BY_OTHERS_ONLY]
    if not doubted:
        return found
    control = live.golden()
    if control is None:
        return found
    kept = []
    for finding in found:
        columns = [live.reference.names.index(name) for name in finding.features] if finding in doubted else []
        again: list[Finding] = []
        if len(columns) == 2:
            if over_training(live, control, min(columns), max(columns), finding.share) < OVER_TRAINING_Z:
                continue
            again = [swap for swap in [swapped(control, min(columns), max(columns))] if swap is not None]
        elif columns:
            again = by_role(control, columns[0], live.reference.columns[columns[0]].role)
        if not any(other.kind == finding.kind and other.share > finding.share / TIMES_TRAINING for other in again):
            kept.append(finding)
    return kept


def _without_victims(live: Live, screened: Sequence[ColumnScreen], found: list[Finding]) -> list[Finding]:
    """Leave out what only the others tell, of a column that is as in training, where another one is not.

    Such a column, or one that lost values, makes its partners look exchanged; without it they are as they were.
    """
    names = live.reference.names
    broken = {part.column for part in screened if part.p < BROKEN_P}
    broken |= {names.index(finding.features[0]) for finding in found if finding.kind == "nulls"}
    kept = []
    for finding in found:
        column = names.index(finding.features[0]) if finding.kind in TOLD_BY_OTHERS else -1
        if broken and column >= 0 and screened[column].p > UNCHANGED_P:
            rest = live.with_broken(frozenset(broken))
            again = by_role(rest, column, live.reference.columns[column].role)
            if not any(other.kind == finding.kind for other in again):
                continue
        kept.append(finding)
    return kept


def _is_whole(finding: Finding) -> bool:
    return finding.share >= WHOLE and finding.kind not in TOLD_BY_OTHERS


def by_role(live: Live, column: int, role: Role) -> list[Finding]:
    """Return what the detectors of a role propose for one column."""
    if role is Role.TIME:
        return detect_times(live, column)
    if role is Role.LEVEL:
        return [*detect_unseen(live, column), *detect_relabelled(live, column)]
    if role is Role.NUMBER:
        maps = [found for found in detect_maps(live, column) if not is_rounded_off(live, column, found)]
        maps = [found for found in maps if not is_only_rounded(live, column, found)]
        maps += detect_cycle(live, column)
        exchanged = detect_relabelled(live, column)
        drawn = detect_thinned(live, column)
        windows = drawn or detect_window(live, column)
        if windows:
            maps = [finding for finding in maps if stays_whole(live, column, finding)]
            exchanged = [finding for finding in exchanged if not keeps_order(live, column, finding)]
        maps += exchanged
        told = max((found.nats for found in maps if _has_name(found)), default=0.0)
        sums = [found for found in detect_aggregate(live, column) if told < MORE_TOLD * found.nats]
        # A factor with a name says more than a window does that only ranks tell; the others are weighed as maps are.
        named = any(finding.exact for finding in maps)
        return [*maps, *drawn, *sums] if named else [*maps, *windows, *sums]
    return []


def _has_name(found: Finding) -> bool:
    return str(found.transformation.get("name", "unnamed")) != "unnamed"
