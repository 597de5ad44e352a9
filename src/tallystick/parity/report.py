"""The verdict as one HTML page that can be sent and kept: no script, no outside resource, light and dark, printable.

It shows what the verdict rests on: training beside live rows as sent and after undoing. Values of columns whose privacy
is not `raw` do not enter it, neither in charts nor in texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.gate.report import GateReport, Outcome, Rung
from tallystick.parity import compared
from tallystick.parity.answer_form import as_stored
from tallystick.parity.columns import Floats
from tallystick.parity.detect.schema import read_live
from tallystick.parity.figures import column_card, company_card, scores_card, small_multiples
from tallystick.parity.hiding import HIDDEN, hidden_columns, without_hidden
from tallystick.parity.kinds import Status
from tallystick.parity.markup import Safe, join, tag
from tallystick.parity.parameters import count, percent
from tallystick.parity.screen import ColumnScreen, screen
from tallystick.parity.style import STYLE
from tallystick.parity.verdict import TITLES, Verdict
from tallystick.parity.words import Subject, headline, name_of, words_of

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Affected columns that get a large figure; the others are among the small ones.
MOST_CARDS = 8
#: Small pictures, so that a wide frame stays a page that can be mailed.
MOST_SMALL = 100
MOST_ROWS = 3
LONGEST_VALUE = 60

_SIGNS = {
    Status.CAUSE_FOUND: "!",
    Status.SUSPECTED: "?",
    Status.CONSISTENT: "\N{CHECK MARK}",
    Status.POPULATION_CHANGED: "~",
    Status.CANNOT_TELL: "…",
}
_AFFECTED = {
    Subject.PREDICTIONS: "predictions",
    Subject.LEVELS: "the rows concerned",
    Subject.GOLDEN: "golden rows",
}
#: Kinds that a column's own distribution need not show.
_TOLD_BY_PARTNERS = frozenset({"time_zone", "category_relabelled", "stale"})
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_OUTCOMES = {Outcome.PASSED: "\N{CHECK MARK} passed", Outcome.FAILED: "\N{MULTIPLICATION SIGN} failed"}


@np.errstate(all="ignore")
def render_html(
    verdict: Verdict,
    reference: Reference,
    live_frame: pd.DataFrame | None = None,
    undone_frame: pd.DataFrame | None = None,
    *,
    title: str = "",
    scores: tuple[Any, Any] | None = None,
    replays: Mapping[str, GateReport] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return a page on one verdict.

    `live_frame` and `undone_frame` are `Examination.sent_frame` and `.undone_frame`; where they go together row by row,
    the affected rows are drawn by themselves. Without them there are no charts. `title` says what was diagnosed (an
    endpoint and its served entity). `scores` are predictions for the rows as sent and with the cause undone, either may
    be None; left out, the reference's own model predicts both frames. `replays` are checks of golden rows by replica;
    `rows` are up to three example rows, of which only columns that may be shown are.
    """
    verdict = without_hidden(verdict, reference)
    sections = [
        _summary(verdict),
        _reasons(verdict),
        *_figures(verdict, reference, live_frame, undone_frame, scores),
        _replay_table(replays or {}, reference),
        _example_rows(rows, verdict, reference),
        _listing("Limits of this verdict", verdict.degraded),
        tag("details", tag("summary", "The verdict as JSON"), tag("pre", _json(verdict))),
    ]
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"{TITLES[verdict.status].capitalize()}{f': {title}' if title else ''}"),
            tag("style", Safe(STYLE)),
        ),
        tag("body", tag("main", _top(title, verdict), *sections)),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _json(verdict: Verdict) -> str:
    # Not msgspec's own JSON: it refuses lone surrogates, which a column's name may hold; the page replaces them.
    return json.dumps(msgspec.to_builtins(verdict), indent=2, ensure_ascii=False)


def _top(title: str, verdict: Verdict) -> Safe:
    cost = f"{count(verdict.rows, 'row')} in {verdict.seconds:.2f} s" if verdict.seconds else count(verdict.rows, "row")
    return tag(
        "div",
        tag("span", f"Training and serving compared{f': {title}' if title else ''}"),
        tag("span", cost),
        class_="top",
    )


def _summary(verdict: Verdict) -> Safe:
    strength = f" ({verdict.strength})" if verdict.strength else ""
    facts = [tag("div", tag("dt", name), tag("dd", *said)) for name, said in _facts(verdict)]
    return tag(
        "section",
        tag("span", f"{_SIGNS[verdict.status]}  {TITLES[verdict.status]}{strength}", class_="badge"),
        tag("h1", headline(verdict).replace(" %", "\N{NO-BREAK SPACE}%")),
        tag("p", name_of(verdict), class_="kind") if verdict.kind else None,
        tag("dl", *facts, class_="facts") if facts else None,
        class_=f"status {verdict.status}",
    )


def _facts(verdict: Verdict) -> list[tuple[str, tuple[object, ...]]]:
    facts: list[tuple[str, tuple[object, ...]]] = []
    subject = words_of(verdict).subject if verdict.kind else Subject.SENTENCE
    if verdict.status in (Status.CAUSE_FOUND, Status.SUSPECTED) and subject is not Subject.SENTENCE:
        what = _AFFECTED.get(subject, "rows")
        facts.append(("Affected", (f"{percent(verdict.share)} of {what}",)))
    if verdict.segment:
        inside, outside = (verdict.segment.get(key) for key in ("affected_inside", "affected_outside"))
        detail = (
            ""
            if inside is None or outside is None
            else f"{percent(inside)} of its rows, {percent(outside)} of the others"
        )
        facts.append(("Sent by", (f"{verdict.segment['column']} {verdict.segment['value']}", tag("small", detail))))
    if verdict.first_seen and subject is Subject.SENTENCE:
        facts.append(("Since", (verdict.first_seen,)))
    if verdict.explained is not None:
        facts.append(("Loss of quality explained", (percent(verdict.explained),)))
    if verdict.stage:
        facts.append(("Where", (verdict.stage,)))
    if verdict.confidence:
        facts.append(("Confidence", (percent(verdict.confidence),)))
    return facts


def _reasons(verdict: Verdict) -> Safe:
    pieces = [
        tag("li", tag("b", piece.number), piece.text, tag("small", f" ({piece.question})") if piece.question else None)
        for piece in verdict.evidence
    ]
    evidence = tag("div", tag("h2", "Evidence"), tag("ol", *pieces, class_="evidence")) if pieces else tag("div")
    beside = tag(
        "div",
        join((tag("h2", "Fix"), tag("p", verdict.fix, class_="fix"))) if verdict.fix else None,
        _listing("What would settle it", verdict.settle),
        join((tag("h2", "Reproduce"), tag("p", tag("code", verdict.reproduce)))) if verdict.reproduce else None,
        _listing("Ruled out", verdict.ruled_out),
        _listing("Also seen", verdict.also),
    )
    return tag("div", evidence, beside, class_="columns") if pieces else beside


def _listing(name: str, entries: Sequence[str]) -> Safe | None:
    if not entries:
        return None
    return join((tag("h2", name), tag("ul", *(tag("li", entry) for entry in entries))))


def _figures(
    verdict: Verdict,
    reference: Reference,
    live: pd.DataFrame | None,
    undone: pd.DataFrame | None,
    scores: tuple[Any, Any] | None,
) -> list[Safe | None]:
    if live is None or not len(live):
        return []
    live = live.set_axis([str(name) for name in live.columns], axis=1)
    claimed = verdict.status in (Status.CAUSE_FOUND, Status.SUSPECTED)
    known = [name for name in verdict.features if name in reference.names]
    shown = known[:MOST_CARDS]
    mended = undone if claimed else None
    affected = [
        compared.compare(reference, reference.column(name), _as_sent(live, name, verdict), _column(mended, name))
        for name in shown
    ]
    # A column in which nothing could be undone has no say about the others.
    broken = [column.profile.name for column in affected if column.undone is None] if claimed else []
    is_undone = claimed and undone is not None and len(broken) < len(affected)
    read = read_live(reference, live)[0]
    after = None if undone is None else compared.mended(reference, undone, broken)
    cards: list[Safe | None] = []
    for column in affected:
        cards.append(column_card(column, verdict.kind, verdict.transformation))
        if verdict.kind in _TOLD_BY_PARTNERS:
            place = reference.names.index(column.profile.name)
            cards.append(company_card(place, read, after if column.undone is not None else None))
    cards.append(_scores(verdict, reference, live, mended if is_undone else None, scores))
    heading = "Predictions" if not shown else "Affected columns" if claimed else "Columns that differ"
    drawn = live if undone is None else undone
    return [
        _card_section(heading, [card for card in cards if card is not None], is_undone, len(known) - len(shown)),
        _others(reference, drawn, screen(after or read), shown, is_undone),
    ]


def _card_section(heading: str, cards: Sequence[Safe], is_undone: bool, more: int) -> Safe | None:
    if not cards:
        return None
    rest = f" {more} more of them are among the small pictures." if more else ""
    lead = f"Training beside live rows{', as sent and after the cause is undone' if is_undone else ''}.{rest}"
    return join((tag("h2", heading), tag("p", lead, class_="lead"), tag("div", *cards, class_="cards")))


def _column(frame: pd.DataFrame | None, name: str) -> pd.Series[Any] | None:
    return frame[name] if frame is not None and name in frame.columns else None


def _as_sent(live: pd.DataFrame, name: str, verdict: Verdict) -> pd.Series[Any] | None:
    """Return a column as it was sent, under whatever name."""
    if verdict.kind == "renamed_column" and name not in live.columns:
        each = verdict.transformation.get("each") or {}
        return _column(live, str(each.get(name, verdict.transformation).get("to", "")))
    return _column(live, name)


def _scores(
    verdict: Verdict,
    reference: Reference,
    live: pd.DataFrame,
    undone: pd.DataFrame | None,
    scores: tuple[Any, Any] | None,
) -> Safe | None:
    if scores is not None:
        sent, after = (None if given is None else reference.numbers_of(given) for given in scores)
    elif verdict.kind and words_of(verdict).subject in (Subject.PREDICTIONS, Subject.GOLDEN):
        # The reference's model gives training's predictions; what the endpoint gave is not known here.
        return None
    else:
        sent, after = _predicted(reference, live, undone)
    return scores_card(reference, sent, after)


def _predicted(
    reference: Reference, live: pd.DataFrame, undone: pd.DataFrame | None
) -> tuple[Floats | None, Floats | None]:
    """Return predictions of rows as sent and as undone: of both, or where the model refuses one, of the other."""
    if undone is not None:
        both = _answers(reference, (live, undone))
        if both is not None:
            return both[0], both[1]
    sent, after = _answers(reference, (live,)), None if undone is None else _answers(reference, (undone,))
    return None if sent is None else sent[0], None if after is None else after[0]


def _answers(reference: Reference, frames: Sequence[pd.DataFrame]) -> list[Floats] | None:
    if reference.model is None:
        return None
    try:
        # Models take columns by name or by position: training's order suits both.
        return as_stored(reference, reference.model, [frame[list(reference.names)] for frame in frames])
    except Exception:  # noqa: BLE001  the model's code: rows as they were sent are often what it refuses
        return None


def _others(
    reference: Reference, frame: pd.DataFrame, parts: Sequence[ColumnScreen], shown: Sequence[str], is_undone: bool
) -> Safe | None:
    chosen = [j for j, name in enumerate(reference.names) if name not in shown]
    if not chosen:
        return None
    # Those that differ first: of a wide frame not all are drawn.
    chosen = sorted(chosen, key=lambda j: not parts[j].is_flagged)[:MOST_SMALL] if len(chosen) > MOST_SMALL else chosen
    differ = sum(parts[j].is_flagged for j in chosen)
    alike = "All are as in training" if len(chosen) > 1 else "It is as in training"
    said = f"{differ} of {len(chosen)} differ" if differ else alike
    lead = f"{said}, {'with the cause undone' if is_undone else 'as sent'}. Grey is training, orange the live rows."
    heading = "The other columns" if shown else "The columns"
    return join((tag("h2", heading), tag("p", lead, class_="lead"), small_multiples(reference, frame, chosen, parts)))


def _replay_table(replays: Mapping[str, GateReport], reference: Reference) -> Safe | None:
    if not replays:
        return None
    rungs = [rung for rung in Rung if any(part.rung is rung for report in replays.values() for part in report.rungs)]
    head = tag("tr", *(tag("th", name, scope="col") for name in ("replica", "rows", *rungs, "first difference")))
    body = []
    for replica, report in replays.items():
        outcomes = {part.rung: part.outcome for part in report.rungs}
        cells = [
            tag("td", _OUTCOMES.get(found, str(found)), class_=str(found))
            for found in (outcomes.get(rung, Outcome.SKIPPED) for rung in rungs)
        ]
        first = tag("td", _difference(report, hidden_columns(reference)))
        name = tag("th", replica, tag("br"), tag("small", report.digest[:12]), scope="row")
        body.append(tag("tr", name, tag("td", report.rows), *cells, first))
    lead = "Rows of training whose predictions are known, sent through each replica."
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")
    return join((tag("h2", "Golden rows"), tag("p", lead, class_="lead"), table))


def _difference(report: GateReport, hidden: frozenset[str]) -> str:
    failure = report.first_failure
    if failure is None:
        return "none"
    found = failure.difference
    if found is None:
        return failure.text
    if found.column in hidden:
        return f"column {found.column}, row {found.row}: values {HIDDEN}"
    place = ", ".join(part for part in (found.step, found.column and f"column {found.column}") if part)
    return f"{f'{place}: ' if place else ''}expected {_cut(found.expected)}, got {_cut(found.got)}"


def _example_rows(rows: Sequence[Mapping[str, Any]], verdict: Verdict, reference: Reference) -> Safe | None:
    if not rows:
        return None
    taken = [{str(name): value for name, value in row.items()} for row in rows[:MOST_ROWS]]
    visible = set(reference.names) - hidden_columns(reference)
    names = list(dict.fromkeys(name for row in taken for name in row))
    names.sort(key=lambda name: name not in verdict.features)
    lines = []
    for name in names:
        values = [_cut(row.get(name)) if name in visible else HIDDEN for row in taken]
        cells = [tag("th", tag("span", name, class_="name"), scope="row"), *(tag("td", value) for value in values)]
        lines.append(tag("tr", *cells, class_="hit" if name in verdict.features else None))
    head = tag(
        "tr", tag("th", "column", scope="col"), *(tag("th", f"row {k + 1}", scope="col") for k in range(len(taken)))
    )
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="scroll")
    return join((tag("h2", "Example rows, as sent"), table))


def _cut(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
