"""From what a tool said to the scores of ParityBench: any alarm, the right column, the exact kind.

Tools speak in sentences. A fixed map of words says which kinds a sentence names; a sentence that only says "drift"
names none. The map is generous: a sentence that fits several kinds earns each of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.parity.peers.files import PLAIN, Written
from tallystick.parity.kinds import FAMILY_OF

_TEXT_FOR_NUMBER = ("numeric_as_text", "decimal_comma", "boolean_as_text")
# Words in lower case, and the kinds they name.
WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"string mismatch", ("letter_case", "whitespace")),
    (r"new categor|unseen value|unexpected string value|examples contain values missing", ("new_level",)),
    (r"missing value|fewer examples|not present in any example|an empty column", ("nulls",)),
    (r"mixed nulls", ("null_token",)),
    (r"mixed data types|unexpected data type|of type: (int|float|double).* got", _TEXT_FOR_NUMBER),
    (r"could not convert string to float|must be numerical|not supported for the input types", _TEXT_FOR_NUMBER),
    (r"special characters", ("encoding_damage",)),
    (r"single value", ("constant",)),
    (
        r"column is completely missing|missing (required )?column|partially present|keyerror",
        ("missing_column",),
    ),
    (r"new column", ("extra_column",)),
)


def kinds_named(text: str) -> set[str]:
    """Return the kinds that a sentence names; one that is itself the id of a kind names that kind.

    >>> sorted(kinds_named("String Mismatch Comparison: found 1 new variant"))
    ['letter_case', 'whitespace']
    >>> kinds_named("Wasserstein distance 0.4, drift detected")
    set()
    """
    if text in FAMILY_OF:
        return {text}
    return {kind for pattern, kinds in WORDS if re.search(pattern, text.lower()) for kind in kinds}


@dataclass(frozen=True)
class Scored:
    tool: str
    setting: str
    id: str
    dataset: str
    half: str
    case: str
    share: float
    is_fault: bool
    is_plain: bool
    alarm: bool
    columns: int
    is_column: bool
    is_only_column: bool
    is_exact: bool
    failed: str
    seconds: float
    said: str


def score(tool: str, record: dict[str, Any], truth: Written, columns: Iterable[str]) -> Scored:
    """Return the scores of one finding.

    `columns` are those of the reference. A tool that raises counts as an alarm, as a job that fails is noticed; its
    words are those of the error, its columns those that the error quotes. A fault of several columns has the right
    column when one of them is named. The kind counts only from a sentence about such a column, or about none.
    """
    says = [(list(names), text) for names, text in record["says"]]
    if record["failed"]:
        quoted = [name for name in columns if re.search(rf"['\"`(]{re.escape(name)}['\"`)]", record["failed"])]
        says = [(quoted, record["failed"])]
    alarm = bool(record["alarm"] or record["failed"])
    named = {name for names, _ in says for name in names} if alarm else set()
    features = set(truth.features)
    kinds = {kind for names, text in says if not names or features & set(names) for kind in kinds_named(text)}
    return Scored(
        tool,
        record["setting"],
        truth.id,
        truth.dataset,
        truth.half,
        truth.case,
        truth.share,
        truth.is_fault,
        truth.case == PLAIN,
        alarm,
        len(named),
        truth.is_fault and bool(named & features),
        truth.is_fault and named == features,
        truth.is_fault and alarm and bool(kinds & set(truth.kinds)),
        record["failed"],
        record["seconds"],
        "; ".join(f"{','.join(names)}: {text}" for names, text in says)[:400],
    )


NUMBERS = ("columns named", "CPU s a case")


def markdown(lines: pd.DataFrame) -> str:
    """Return the table for a README: shares as whole percents, numbers with two digits."""
    head = [f"| {' | '.join(lines.columns)} |", f"|{'---|' * len(lines.columns)}"]
    return "\n".join(head + [f"| {' | '.join(_cell(n, v) for n, v in line.items())} |" for _, line in lines.iterrows()])


def _cell(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.2g}" if name in NUMBERS else f"{value:.0%}"


def table(scored: list[Scored]) -> pd.DataFrame:
    """Return one line a tool and setting, in the order of the findings; shares of cases."""
    frame = pd.DataFrame([vars(line) for line in scored])
    lines = []
    for (tool, setting), part in frame.groupby(["tool", "setting"], sort=False):
        faults, benign = part[part.is_fault], part[~part.is_fault & ~part.is_plain]
        plain = part[part.is_plain]
        lines.append(
            {
                "tool": tool,
                "setting": setting,
                "alarm, faults 100 %": faults[faults.share == 1].alarm.mean(),
                "alarm, faults 30 %": faults[faults.share < 1].alarm.mean(),
                "alarm, benign": benign.alarm.mean(),
                "alarm, plain": plain.alarm.mean(),
                "right column": faults.is_column.mean(),
                "only it": faults.is_only_column.mean(),
                "columns named": faults["columns"].mean(),
                "exact kind": faults.is_exact.mean(),
                "raised": (part.failed != "").mean(),
                "CPU s a case": part.seconds.mean(),
            }
        )
    return pd.DataFrame(lines)
