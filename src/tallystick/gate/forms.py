"""Whether a model takes what each encoding becomes.

With a signature all encodings become the same rows. Without one `inputs` with names becomes a dict of arrays and the
`dataframe_` encodings a frame, and many models take one of the two only: the other is then no encoding of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.gate.golden import Golden, Wire
from tallystick.gate.predictions import answer_of, judge
from tallystick.gate.report import Difference, Outcome, Rung, RungReport
from tallystick.gate.tolerance import Closeness


@dataclass(frozen=True)
class Forms:
    """What became of other forms than the first: encodings that the model refuses, and the first that it mistakes."""

    #: Encoding -> the error that the model raised.
    refused: Mapping[str, str] = field(default_factory=dict)
    mistaken: RungReport | None = None


def form_of(data: Any) -> Hashable:
    """Return what is equal of inputs that a model sees alike: kind, names and types, and not the values.

    >>> form_of({"x": np.zeros(3)}) == form_of({"x": np.ones(5)}), form_of({"x": np.zeros(3)}) == form_of(np.zeros(3))
    (True, False)
    """
    if isinstance(data, pd.DataFrame):
        return "frame", tuple(data.columns.map(str)), tuple(map(str, data.dtypes))
    if isinstance(data, dict):
        return "dict", tuple((str(name), form_of(part)) for name, part in data.items())
    if isinstance(data, np.ndarray):
        return "array", data.dtype.kind, data.shape[1:]
    return type(data).__name__


def refusals(decoded: Sequence[tuple[str, Any]], predict: Callable[[Any], Any]) -> dict[str, str]:
    """Return encoding -> the error that `predict` raises for it, of those in another form than the first.

    `decoded` are encodings with what a decoder made of them. Empty where the first is refused: then it is not the form.
    """
    return _asked(decoded, predict, lambda _encoding, _answer: None)


def ask_forms(
    golden: Golden, decoded: Sequence[tuple[Wire, Any]], predict: Callable[[Any], Any], near: Closeness
) -> Forms:
    """Ask the model for each form that it has not been asked for; the first is the one that all others are held to.

    Where the first gets other predictions than training's, or none, that is for later rungs to tell.
    """
    mistaken: dict[str, RungReport] = {}
    rows = {wire.encoding: wire.rows for wire, _ in decoded}

    def look(encoding: str, answer: Any) -> None:
        found = judge(golden, answer_of(answer), rows[encoding], near)
        if found.outcome is Outcome.FAILED:
            mistaken[encoding] = found

    refused = _asked([(wire.encoding, data) for wire, data in decoded], predict, look)
    first = decoded[0][0].encoding if decoded else ""
    if not mistaken or first in mistaken:
        return Forms(refused)
    encoding, found = next(iter(mistaken.items()))
    where = msgspec.structs.replace(found.difference or Difference(share=1.0), encoding=encoding)
    return Forms(refused, RungReport(Rung.WIRE, Outcome.FAILED, f"{encoding}: {found.text}", where))


def _asked(
    decoded: Sequence[tuple[str, Any]], predict: Callable[[Any], Any], look: Callable[[str, Any], None]
) -> dict[str, str]:
    forms = [form_of(data) for _, data in decoded]
    if len(set(forms)) < 2:
        return {}
    known: dict[Hashable, str] = {}
    for form, (encoding, data) in zip(forms, decoded, strict=True):
        if form in known:
            continue
        known[form] = ""
        try:
            look(encoding, predict(data))
        except Exception as error:  # noqa: BLE001  the model's code: what it raises is the finding
            known[form] = type(error).__name__
            if form == forms[0]:
                return {}
    return {encoding: known[form] for form, (encoding, _) in zip(forms, decoded, strict=True) if known[form]}
