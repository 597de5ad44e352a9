"""Labels of feedback in the words that training had for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def labels_as_trained(labels: Any, shares: Mapping[str, float], classes: Sequence[str] = ()) -> Any:
    """Return labels in training's words: feedback has numbers where training may have had 1, 1.0 or True.

    `classes` are training's where they are texts; None when no label is one of them.

    >>> labels_as_trained(np.array([1.0, 0.0]), {"True": 0.5, "False": 0.5}).tolist()
    ['True', 'False']
    """
    if labels is None or not (shares or classes):
        return labels
    names = list(classes or shares)
    words = {number: name for name in names if (number := _number_of(name)) is not None}
    known = [None if pd.isna(value) else _in_words(value, words) for value in labels.tolist()]
    if classes:
        return np.array(known, dtype=object) if set(known) & set(classes) else None
    if len(words) < len(names):
        return labels
    if all(_is_integer(name) for name in shares):
        numbers = [np.nan if name is None or _number_of(name) is None else float(name) for name in known]
        return np.array(numbers)
    return np.array(known, dtype=object)


def _in_words(value: Any, words: Mapping[float, str]) -> str:
    number = _number_of(str(value))
    return str(value) if number is None else words.get(number, str(value))


def _number_of(text: str) -> float | None:
    try:
        return float({"true": "1", "false": "0"}.get(text.lower(), text))
    except ValueError:
        return None


def _is_integer(text: str) -> bool:
    return text.lstrip("-").isdecimal()
