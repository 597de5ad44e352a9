"""Tables of the command line, on terminals of all widths."""

from __future__ import annotations

import pytest

from builders.cli_server import Output
from tallystick.commands.session import print_table

COLUMNS = ("endpoint", "served entity", "state")


def printed(capsys: Output, monkeypatch: pytest.MonkeyPatch, width: int, *rows: tuple[str, ...]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, rows, drawn=True)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_no_terminal_cuts_a_cell_off(capsys: Output, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows = [("größe", f"served-{number}-{'x' * 30}", "ready, and told in a longer sentence") for number in range(3)]
    shown = "".join(printed(capsys, monkeypatch, width, *rows)).replace(" ", "")
    for row in rows:
        assert all(cell.replace(" ", "") in shown for cell in row[:2])
    assert "sentence" in shown


def test_a_table_that_fits_is_drawn(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(capsys, monkeypatch, 60, ("churn", "churn-3", "told in a sentence that is wrapped, as it is prose"))
    assert lines[0].split() == ["endpoint", "served", "entity", "state"]
    assert max(map(len, lines)) <= 60


def test_a_table_that_does_not_fit_is_told_row_by_row(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(capsys, monkeypatch, 40, ("churn", "x" * 40, "ready"), ("b", "c", "d"))
    assert lines[:3] == ["endpoint       churn", f"served entity  {'x' * 40}", "state          ready"]
    assert lines[3:] == ["endpoint       b", "served entity  c", "state          d"]
