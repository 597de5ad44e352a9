"""`tallystick parity profile`: what live rows look like beside training, for a person who wonders about one column."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from tallystick.commands import config_edit
from tallystick.commands.config_edit import Json
from tallystick.commands.parity_words import violation_words
from tallystick.commands.session import Session, print_table, print_text, with_session
from tallystick.printable import listed_names, listed_texts
from tallystick.protocol.monitoring import Window

#: Levels and quantiles of a column in one line; levels of one that is shown alone.
_LEVELS_IN_LINE, _IN_LINE = 3, ("p5", "p50", "p95")
_MOST_CHARS = 16
_UNKNOWN = "-"
#: Characters of the bar of the largest share, live or in training.
_BAR = 20
#: Whole numbers beyond this are written with a power of ten.
_LONGEST = 1e15


@with_session
def profile(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)],
    entity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Served entity: its name or version. Default: all.")
    ] = None,
    window: Annotated[Window, typer.Option(help="Of the current hour or day, UTC.")] = Window.DAY,
    ago: Annotated[int, typer.Option(metavar="N", min=0, help="So many hours or days before that.")] = 0,
    segment: Annotated[
        str,
        typer.Option(metavar="COLUMN=VALUE", help="Rows of one sender: client=ios/4.2, requester=ann, usage_context.…"),
    ] = "",
    column: Annotated[str, typer.Option(metavar="NAME", help="One column, with all that is known of it.")] = "",
) -> None:
    """Show what live rows look like beside training, column by column.

    Columns that are far from training come first. Why they are says tallystick diagnose.
    """
    served = "" if entity is None else config_edit.find_entity(_config(session, name), entity)
    with session.progress() as say:
        say("counting")
        found = session.client.parity_profile(
            name, served_entity=served, window=window.value, ago=ago, segment=segment, column=column
        )
    if session.as_json:
        session.result({"profiles": found})
        return
    for each in found:
        _tell(name, each, alone=bool(column))


def _config(session: Session, name: str) -> Json:
    config: Json = session.client.get_endpoint(name).get("config") or {}
    return config


def _tell(name: str, found: Json, *, alone: bool) -> None:
    print_text(heading(name, found))
    for line in asides(found):
        print_text(line)
    if not found["rows"]:
        return
    if alone:
        for column in found["columns"]:
            _tell_column(column)
    else:
        rows = [row_of(column) for column in far_first(found["columns"])]
        if sys.stdout.isatty():
            print_table(_STACKED_HEADER, [stacked(row) for row in rows])
        else:
            print_table(_HEADER, rows)
    for line in summary(name, found["columns"]):
        print_text(line)


def heading(name: str, found: Mapping[str, Any]) -> str:
    """Return what a profile is of.

    >>> heading("churn", {"served_entity": "m-3", "window": "hour", "start": "2026-11-26T08:00:00Z", "rows": 1,
    ...     "end": "2026-11-26T09:00:00Z", "is_current": True, "segment": "client=ios/4.2"})
    'churn/m-3, hour from 2026-11-26 08:00 UTC until now, client=ios/4.2: 1 row'
    """
    until = "until now" if found["is_current"] else f"to {_time(found['end'])}"
    rows = found["rows"]
    of = f", {found['segment']}" if found["segment"] else ""
    when = f"{found['window']} from {_time(found['start'])} UTC {until}"
    return f"{name}/{found['served_entity']}, {when}{of}: {rows:,} row{'' if rows == 1 else 's'}"


def summary(name: str, columns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield which columns are far from training: below the table, where the eye rests when a long one has scrolled by.

    >>> list(summary("churn", [{"name": "temp", "is_far": True}, {"name": "wind", "is_far": False}]))
    ['Far from training: temp. Why: tallystick diagnose churn']
    """
    compared = [column for column in columns if "is_far" in column]
    far = [column["name"] for column in compared if column["is_far"]]
    if far:
        yield f"Far from training: {listed_names(far)}. Why: tallystick diagnose {name}"
    elif compared:
        yield "Not far from training." if len(columns) == 1 else "No column is far from training."


def asides(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to know before the table is read."""
    for note in found["notes"]:
        yield f"  {note}"
    if not found["rows"]:
        return
    if not found["segment"] and found["segments"]:
        told = [f"{each['segment']} ({each['rows']:,})" for each in found["segments"]]
        yield f"  told apart by --segment: {listed_texts(told, 8)}"


_HEADER = ("column", "live (p5 · p50 · p95)", "training", "null live", "null training", "beside training")
_STACKED_HEADER = ("column", "live\nand training (p5 · p50 · p95)", "null", "beside training")


def stacked(row: tuple[str, ...]) -> tuple[str, ...]:
    """Return a line of the table as it is drawn, live above training: it fits a terminal, and is compared at a glance.

    >>> stacked(("temp", "2,060", "20.2", "0 %", "0 %", "FAR"))
    ('temp', '2,060\\n20.2', '0 %\\n0 %', 'FAR')
    """
    name, live, trained, null, null_trained, beside = row
    return (name, f"{live}\n{trained}", f"{null}\n{null_trained}", beside)


def far_first(columns: Sequence[Json]) -> list[Json]:
    """Return the columns with those first that are far from training, else in training's order."""
    return sorted(columns, key=lambda column: not column.get("is_far", False))


def row_of(column: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a column as a line of the table."""
    if "live" not in column:
        return (column["name"], *(_UNKNOWN,) * 4, column["withheld"])
    live, trained = column["live"], column["training"]
    nulls = percent(live["null_share"]), percent(trained["null_share"])
    if column["withheld"]:
        sides = (_UNKNOWN, _UNKNOWN)
    elif "levels" in column:
        sides = _levels_in_line(column)
    else:
        sides = _quantiles(live), _quantiles(trained)
    return (column["name"], *sides, *nulls, "; ".join(remarks(column)))


def remarks(column: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is odd about a column, and why it has no values."""
    if column["is_far"]:
        moved = column["moved_share"]
        yield "FAR" + (f": {100 * moved:.0f} % of rows lie elsewhere" if moved else "")
    rows, new = column["live"]["rows"], column.get("new_levels") or []
    named = listed_texts([f"{_short(each['level'])} {percent(each['live'])}" for each in new], 3)
    for kind, count in column["violations"].items():
        which = f": {named}" if kind == "unseen" and new else ""
        yield f"{percent(count / rows) if rows else count} {violation_words(kind)}{which}"
    if new and "unseen" not in column["violations"]:
        yield f"new: {named}"
    if spikes := column.get("spikes"):
        told = [
            f"{exact(each['value'])} in {percent(each['live'])}, was {percent(each['training'])}" for each in spikes
        ]
        yield "spike: " + listed_texts(told, 3)
    if column["withheld"]:
        yield column["withheld"]


def _quantiles(side: Mapping[str, Any]) -> str:
    values = [side.get("quantiles", {}).get(rank) for rank in _IN_LINE]
    if None in values:
        return _UNKNOWN
    days = {value[:10] for value in values if isinstance(value, str)}
    if len(days) > 1:
        # Times of different days are told by their days; of one day, it is told once.
        return " · ".join(value[:10] for value in values)
    first, *others = (brief(value) for value in values)
    return " · ".join([first, *(each[11:] if days else each for each in others)])


def _levels_in_line(column: Mapping[str, Any]) -> tuple[str, str]:
    levels = sorted(column["levels"], key=lambda each: -(each["live"] or 0.0))[:_LEVELS_IN_LINE]
    live, trained = (
        ", ".join(f"{_short(each['level'])} {percent(each[side])}" for each in levels) for side in ("live", "training")
    )
    return live or _UNKNOWN, trained or _UNKNOWN


def _tell_column(column: Mapping[str, Any]) -> None:
    print_text(f"{column['name']} ({column['role']})")
    if "live" not in column:
        print_text(f"  {column['withheld']}")
        return
    for remark in remarks(column):
        print_text(f"  {remark}")
    print_table(("", "live", "training"), list(lines_of(column)))
    if column.get("cells"):
        print_table(("where rows lie", "live", "training", ""), list(cell_lines(column["cells"])))
    if "levels" in column:
        new = [(each["level"], percent(each["live"]), "new") for each in column["new_levels"]]
        known = [(each["level"], percent(each["live"]), percent(each["training"])) for each in column["levels"]]
        print_table(("level", "live", "training"), new + known)


def lines_of(column: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what is known of a column: what it is, live, and in training."""
    live, trained = column["live"], column["training"]

    def line(word: str, key: str, show: Any) -> Iterator[tuple[str, str, str]]:
        if key in trained:
            yield word, show(live.get(key)), show(trained[key])

    yield from line("rows", "rows", exact)
    yield from line("null", "null_share", percent)
    yield from line("distinct values", "distinct", exact)
    yield from line("smallest", "minimum", exact)
    for rank, value in trained.get("quantiles", {}).items():
        yield rank, exact(live.get("quantiles", {}).get(rank)), exact(value)
    yield from line("largest", "maximum", exact)
    yield from line("decimals", "decimals", _decimals)
    yield from line("whole numbers", "whole_share", percent)


def cell_lines(cells: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield which part of the rows is where, with a bar for the live ones.

    >>> for line in cell_lines([{"from": None, "to": 2.5, "live": 0.1, "training": 0.5},
    ...                         {"value": 7.0, "live": 0.9, "training": 0.5}]):
    ...     print(line)
    ('up to 2.5', '10 %', '50 %', '██')
    ('7', '90 %', '50 %', '████████████████████')
    """
    largest = max((max(cell["live"] or 0.0, cell["training"]) for cell in cells), default=0.0) or 1.0
    for cell in cells:
        if cell.get("elsewhere") and not cell["live"]:
            continue
        bar = "█" * round(_BAR * (cell["live"] or 0.0) / largest)
        yield _where(cell), percent(cell["live"]), percent(cell["training"]), bar


def _where(cell: Mapping[str, Any]) -> str:
    if cell.get("elsewhere"):
        return "outside all of these"
    if "hour" in cell:
        return f"{cell['hour']:02d}:00 to {cell['hour']:02d}:59"
    if "value" in cell:
        return exact(cell["value"])
    if cell["from"] is None:
        return f"up to {exact(cell['to'])}"
    return f"above {exact(cell['from'])}" + ("" if cell["to"] is None else f", up to {exact(cell['to'])}")


def percent(share: float | None) -> str:
    """Return a share in percent, as far as it can be told from nothing and from all.

    >>> percent(0.0), percent(0.0004), percent(0.0423), percent(0.9996), percent(1.0), percent(None)
    ('0 %', '<0.1 %', '4.2 %', '>99.9 %', '100 %', '-')
    """
    if share is None:
        return _UNKNOWN
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def brief(value: float | str) -> str:
    """Return a number or a time in few characters.

    >>> brief(0.30000001), brief(1234.5), brief(1e20), brief("2026-11-26T08:15:00Z")
    ('0.3', '1,234', '1e+20', '2026-11-26 08:15')
    """
    if isinstance(value, str):
        return _time(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < _LONGEST else f"{value:.4g}"


def exact(value: float | str | None) -> str:
    """Return a number with all digits that it has, or a time.

    >>> exact(20230101.0), exact(19.25), exact(None)
    ('20,230,101', '19.25', '-')
    """
    if value is None:
        return _UNKNOWN
    if isinstance(value, str):
        return _time(value)
    return f"{value:,.0f}" if value == int(value) and abs(value) < _LONGEST else f"{value:,.7g}"


def _decimals(count: int | None) -> str:
    return _UNKNOWN if count is None else "more than 9" if count > 9 else str(count)


def _time(text: str) -> str:
    return text[:16].replace("T", " ") if text.endswith("Z") else text


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"
