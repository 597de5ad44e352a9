"""`tallystick diagnose`: why live rows of an endpoint, or of a table, differ from training."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.parity_words import first_seen, moment
from tallystick.commands.session import Session, print_table, print_text, with_session
from tallystick.commands.table import parse_since
from tallystick.printable import listed_names
from tallystick.tables import is_location

#: As wide as verdicts are.
MOST_COLUMNS = 100
#: Kinds whose columns were left out of the body: an example has no value of them, not even null.
NOT_SENT = ("missing_column", "renamed_column")


@with_session
def diagnose(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="ENDPOINT|TABLE", help="Endpoint, or a table's path or URL.", show_default=False)
    ],
    served_entity: Annotated[
        str,
        typer.Option(
            "--served-entity", "--entity", metavar="NAME", help="Served entity: its name or version. Default: all."
        ),
    ] = "",
    since: Annotated[
        str | None,
        typer.Option(metavar="2h|DATE", help="Rows not older: 2h, 7d, or 2026-01-31T12:00. Default: the newest ones."),
    ] = None,
    incident: Annotated[int | None, typer.Option(metavar="N", help="Show this incident, as it was found.")] = None,
    incidents: Annotated[bool, typer.Option("--incidents", help="List the endpoint's incidents.")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="Show affected rows, as sent and as expected.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as a page.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="For a table: the model's folder or URI (models:/churn/3). Needs no server."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="What says whom a row is about: a column that is sent, or usage_context.NAME. Repeatable for a table.",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For a table: the features' source: keys, a time, features; .parquet, .csv."),
    ] = None,
    history_time: Annotated[
        str, typer.Option("--history-time", metavar="COLUMN", help="Its column of times. Default: the only one.")
    ] = "",
) -> None:
    """Say why live predictions are odd: the cause, who sends it, since when, the evidence, and what mends it.

    Rows that were recorded are compared with the reference that training left in the model. With --reference it works
    on a table alone: tallystick diagnose tables/churn_payload --reference models:/churn/3
    """
    keys = tuple(key or ())
    is_kept = incidents or incident is not None
    if html is not None:
        _check_html(html, is_kept)
    if history_time and history is None:
        raise BadUsage("--history-time is a column of --history; give that, too.")
    if reference is not None or is_location(name):
        _refuse({"--served-entity": served_entity, "--incident": incident is not None, "--incidents": incidents},
                "of endpoints: a table alone has none")  # fmt: skip
        _of_table(session, name, reference, since, rows, html, _Source(keys, history, history_time))
        return
    if history is not None:
        raise BadUsage("--history is read here: give the table and --reference MODEL in place of the endpoint.")
    if len(keys) > 1:
        raise BadUsage("One --key for an endpoint; several are of tables.")
    if is_kept:
        _refuse({"--since": since, "--served-entity": served_entity, "--key": keys, "--rows": rows and incidents},
                "of a diagnosis, and incidents are shown as they were found")  # fmt: skip
    if incidents:
        _list(session, name)
        return
    if incident is not None:
        _show_incident(session, name, incident, rows)
        return
    since_s = None if since is None else _age(since).total_seconds()
    if served_entity:
        config = session.client.get_endpoint(name).get("config") or {}
        served_entity = config_edit.find_entity(config, served_entity)
    with session.progress() as say:
        say("diagnosing")
        found = session.client.diagnose(
            name, served_entity=served_entity, since_s=since_s, rows=rows, html=html is not None, key="".join(keys)
        )
    _tell(session, name, found, html)


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Raise BadUsage for options that would change nothing, so that nobody takes the answer for one to them."""
    unused = [option for option, value in given.items() if value]
    if unused:
        raise BadUsage(f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} {why}.")


def _check_html(html: Path, is_kept: bool) -> None:
    """Refuse a page that could not be written, before there is a diagnosis to lose. Raises BadUsage."""
    if is_kept:
        raise BadUsage("--html is of a diagnosis: an incident keeps its text and three rows, and nothing to draw.")
    file = html.expanduser()
    try:
        is_folder, has_folder = file.is_dir(), file.parent.is_dir()
    except OSError as error:
        raise BadUsage(f"--html {html} cannot be written: {error.strerror}.") from error
    if is_folder:
        raise BadUsage(f"--html {html} is a folder; name a file in it.")
    if not has_folder:
        raise BadUsage(f"--html {html} cannot be written: there is no folder {file.parent}.")


@dataclass(frozen=True)
class _Source:
    """What says whom rows are about, and the file of the features' source."""

    keys: tuple[str, ...]
    file: Path | None
    time: str

    def read(self) -> Any:
        """Return the history in the file, whose keys are named as those of the rows are; None without one."""
        from tallystick.training.files import read_history

        if self.file is None:
            return None
        if not self.keys:
            raise BadUsage("--history needs --key: what says whom a row is about.")
        return read_history(
            self.file.expanduser(), [key.removeprefix("usage_context.") for key in self.keys], self.time
        )


def _of_table(
    session: Session,
    name: str,
    reference: str | None,
    since: str | None,
    rows: bool,
    html: Path | None,
    source: _Source,
) -> None:
    if reference is None:
        raise BadUsage("A table alone does not say what training looked like; give --reference MODEL_FOLDER_OR_URI.")
    from tallystick.monitor.explain import load_reference
    from tallystick.monitor.ondemand import Asked, as_document, diagnose_table
    from tallystick.tables import find_table

    place = find_table(
        name,
        environ=session.environ,
        host=session.host,
        token=session.token,
        data_dir=session.data_dir,
    )
    asked = Asked(None if since is None else _age(since), rows, html is not None, source.keys, source.read())
    folder = _model_folder(reference)
    loaded = load_reference(folder)
    found = [
        as_document(explained, served, None, loaded, asked)
        for served, explained in diagnose_table(place.location, str(folder), asked)
    ]
    _tell(session, place.name or name, found, html)


def _model_folder(reference: str) -> Path:
    """Return the folder of a model that is given as a folder or by its URI in MLflow."""
    if not reference.startswith(("models:", "runs:")):
        return Path(reference).expanduser()
    from tallystick.monitor.fetch import fetch_reference

    # A slip in a URI is told as elsewhere; what MLflow makes of one is no help.
    config_edit.parse_model(reference, is_model=lambda _: False, absolute=str)
    return fetch_reference(reference)


def _age(text: str) -> timedelta:
    now = datetime.now(UTC)
    return now - parse_since(text, now)


def _tell(session: Session, name: str, found: list[Json], html: Path | None) -> None:
    if session.as_json:
        session.result({"verdicts": [{key: value for key, value in each.items() if key != "html"} for each in found]})
    else:
        _tell_each(name, found)
    if html is not None:
        _write_html(session, found, html)


def _tell_each(name: str, found: list[Json]) -> None:
    for number, each in enumerate(found):
        if number:
            print()
        if len(found) > 1 or each["served_entity"]:
            print_text(f"{name} · {each['served_entity']}" + _incident_words(each))
        print_text(each["text"])
        _tell_rows(each.get("rows"), each["verdict"])


def _incident_words(each: Json) -> str:
    return f" · incident {each['incident_id']}" if each.get("incident_id") else ""


def _tell_rows(rows: list[Json] | None, verdict: Json) -> None:
    if rows is None:
        return
    if not rows:
        print("\nRows      none to show: no single rows are affected")
        return
    print()
    absent = "not sent" if verdict.get("kind") in NOT_SENT else "null"
    if sys.stdout.isatty():
        # Ids are to be copied, and no table of them fits a terminal.
        for row in rows:
            print_text(f"Request   {row['request_id']}")
            client = f" from {row['client']}" if row["client"] else ""
            print_text(f"{'':<10}{row['request_time']}{client}")
            for name in row["sent"]:
                print_text(f"{'':<10}{name}: {_change(row, name, absent)}")
        print("\nValues are as sent → as expected.")
        return
    columns = list(dict.fromkeys(name for row in rows for name in row["sent"]))
    shown = [
        [row["request_time"], row["client"], *(_change(row, name, absent) for name in columns), row["request_id"]]
        for row in rows
    ]
    print_table(["time", "client", *(f"{name}: sent → expected" for name in columns), "request id"], shown)


def _change(row: Json, name: str, absent: str) -> str:
    sent, expected = row["sent"].get(name), row["expected"].get(name)
    shown = absent if sent is None else _short(sent)
    return shown if expected is None or _is_same(expected, sent) else f"{shown} → {_short(expected)}"


def _is_same(expected: Any, sent: Any) -> bool:
    return isinstance(expected, str) == isinstance(sent, str) and bool(expected == sent)


def _short(value: Any) -> str:
    """Return a value in a few characters; a text that reads as something else, or whose ends do not show, is quoted.

    >>> _short("12.5"), _short("summer "), _short("summer"), _short(12.5)
    ('"12.5"', '"summer "', 'summer', '12.5')
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _is_ambiguous(value) else value
    return f"{value:.6g}" if isinstance(value, float) else "null" if value is None else str(value)


def _is_ambiguous(text: str) -> bool:
    if text != text.strip() or text.lower() in ("", "true", "false", "null", "none"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _write_html(session: Session, found: list[Json], html: Path) -> None:
    pages = [each for each in found if each.get("html")]
    if not pages:
        session.note("No page was written: the server's version makes none.")
        return
    names: list[str] = []
    for each in pages:
        # One served entity has a page for each of its incidents.
        entity = each["served_entity"]
        count = names.count(entity)
        names.append(entity)
        ending = (f"-{entity}" if len(names) > 1 else "") + (f"-{count + 1}" if count else "")
        path = html.with_stem(html.stem + ending)
        try:
            path.expanduser().write_text(each["html"], encoding="utf-8")
        except OSError as error:
            raise BadUsage(f"{path} cannot be written: {error.strerror}.") from error
        session.note(f"Wrote {path}.")


def _list(session: Session, name: str) -> None:
    found = session.client.list_incidents(name)
    if found and not session.as_json and sys.stdout.isatty():
        # Eight columns fit no terminal: the number, which is asked for next, would be cut off.
        width = min(MOST_COLUMNS, shutil.get_terminal_size().columns)
        for each in found:
            print_text(incident_heading(each))
            print_text(textwrap.fill(_what(each), width, initial_indent="    ", subsequent_indent="    "))
        print_text(f"\nOne of them whole: tallystick diagnose {name} --incident {found[0]['id']}")
        return
    session.table(
        {"incidents": found},
        ["incident", "state", "served entity", "cause", "columns", "who", "first seen", "last seen"],
        [
            [
                str(each["id"]),
                each["state"],
                each["served_entity"],
                f"{each['family']} · {each['kind']} ({each['strength']})",
                listed_names(each["features"], 8),
                _who(each["segment"]),
                first_seen(each) or moment(each["opened_at"]),
                moment(_last_seen(each)),
            ]
            for each in found
        ],
        empty=f"'{name}' has no incidents.",
    )


def incident_heading(each: Json) -> str:
    """Return which incident it is, how it stands, and when it was seen.

    >>> incident_heading({"id": 7, "state": "open", "served_entity": "m-3", "last_seen": "2026-01-31T15:00:00Z"})
    'incident 7 · open · m-3 · last seen 2026-01-31 15:00:00Z'
    """
    return f"incident {each['id']} · {each['state']} · {each['served_entity']} · last seen {moment(_last_seen(each))}"


def _what(each: Json) -> str:
    # An incident of an earlier version has no sentence.
    told = f"{each['family']} · {each['kind']} ({each['strength']}) {listed_names(each['features'])}"
    return str(each.get("title") or f"{told} {_who(each['segment'])}")


def _who(segment: Json) -> str:
    return f"{segment['column']} {segment['value']}" if segment.get("column") else ""


def _show_incident(session: Session, name: str, number: int, rows: bool) -> None:
    found = session.client.get_incident(name, number)
    if session.as_json:
        session.result(found)
        return
    print_text(f"{name} · {found['served_entity']} · incident {number}, {_state(found)}")
    print_text(found["text"])
    _tell_rows(found["rows"] if rows else None, found["verdict"])


def _last_seen(incident: Json) -> str:
    # Incidents of an earlier version say only when they were found last.
    return incident.get("last_seen") or str(incident["updated_at"])


def _state(found: Json) -> str:
    # Its rows come before a diagnosis opens it: without when the first one did, that would read as a contradiction.
    first, last = first_seen(found["verdict"]), moment(_last_seen(found))
    seen = f"opened {moment(found['opened_at'])}, " + (f"seen from {first} to {last}" if first else f"last seen {last}")
    if found["state"] == "open":
        return f"open; {seen}"
    return f"closed {moment(found['closed_at'])} ({found['closed_because']}); {seen}"
