"""What is wrong with a table that cannot be read, in words that a client may see: which file of it, and what to do."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError

from tallystick.errors import DamagedTable

#: What delta-rs and Arrow raise for a table that cannot be read.
READ_ERRORS = (DeltaError, pa.ArrowException, OSError)
#: A data file in their messages; the folder before it is its day.
_DATA_FILE = re.compile(r"(?:request_date=(?P<day>[\d-]+)/)?(?P<name>[\w.-]+\.parquet)")


@contextlib.contextmanager
def telling_damage(location: str) -> Iterator[None]:
    """Turn what a damaged table raises while it is read into DamagedTable."""
    try:
        yield
    except READ_ERRORS as error:
        raise damaged_table(location, error) from error


def damaged_table(location: str, error: Exception) -> DamagedTable:
    """Return what is to be told of an error that came of reading a table."""
    found = _DATA_FILE.search(str(error))
    if isinstance(error, PermissionError):
        wrong, right = "the server may not read it", "Let the user that the server runs as read the folder."
    elif found is not None:
        day = f" of {found['day']}" if found["day"] else ""
        is_missing = isinstance(error, FileNotFoundError)
        how = "is missing" if is_missing else "is damaged: it is no whole Parquet file"
        wrong = f"its data file {found['name'][:80]}{day} {how}"
        right = "Put back a copy of this file."
    else:
        wrong = _log_damage(location)
        right = "Put back a copy of its folder _delta_log."
    name = location.rstrip("/").rpartition("/")[2][:80]
    return DamagedTable(
        f"The table '{name}' cannot be read: {wrong}. {right} Without one, stop the server and move the "
        "table's folder away: a new table begins with the next invocation."
    )


def has_lost_its_log(location: str) -> bool:
    """Whether a folder has data files of a table, and no log that says so."""
    if "://" in location:
        return False
    folder = Path(location)
    has_log = any((folder / "_delta_log").glob("*.json")) or any((folder / "_delta_log").glob("*.parquet"))
    return not has_log and any(folder.glob("*/*.parquet"))


def _log_damage(location: str) -> str:
    """Return what is wrong with the log, as far as the names and the form of its entries tell."""
    if "://" in location:
        return "its log (_delta_log) is damaged, or cannot be reached"
    folder = Path(location) / "_delta_log"
    try:
        numbers = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())
        for number in numbers:
            try:
                for line in (folder / f"{number:020}.json").read_text().splitlines():
                    json.loads(line)
            except ValueError:
                return f"entry {number} of its log (_delta_log) is damaged: its lines are no JSON"
        has_checkpoint = any(folder.glob("*.checkpoint*.parquet"))
    except OSError:
        return "its log (_delta_log) cannot be read"
    if not numbers and not has_checkpoint:
        return "its log (_delta_log) is gone, while data files are there"
    first = numbers[0] if has_checkpoint and numbers else 0
    missing = sorted(set(range(first, (numbers or [0])[-1])) - set(numbers))
    if missing:
        return f"entry {missing[0]} of its log (_delta_log) is missing"
    return "its log (_delta_log) is damaged"
