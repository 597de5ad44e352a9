"""Headers of answers."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tallystick.gateway.answers import render_coercions


def by_name(coercions: dict[str, dict[str, int]]) -> bytes:
    """The header, each of its names quoted by itself."""
    parts, size = list[str](), 0
    for column, kinds in coercions.items():
        parts.append(";".join([quote(column[:100], safe=""), *(f"{kind}={count}" for kind, count in kinds.items())]))
        size += len(parts[-1]) + 2
        if size > 1024:
            return ", ".join([*parts[:-1], "..."]).encode()
    return ", ".join(parts).encode()


KINDS = {"fraction_dropped": 2, "number_from_text": 10}


@pytest.mark.parametrize("names", [
    ["age"], ["a-b.c_d~e", "Z9"], ["a b"], ["age", "größe"], ["a;b", "c=d", "e,f", "g%h", "i/j"], ["é", "K"],
    ["x" * 101], ["x" * 100 + "ö"], ["x" * 2000, "y"], ["😀"], ["a\x00b"], [""],
    [f"column_{number}" for number in range(80)], [f"spalte {number}" for number in range(80)],
])  # fmt: skip
def test_names_of_changed_columns_are_quoted_where_a_header_cannot_hold_them(names: list[str]) -> None:
    coercions = dict.fromkeys(names, KINDS)
    assert render_coercions(coercions) == by_name(coercions)
