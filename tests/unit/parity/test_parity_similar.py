from difflib import SequenceMatcher

import numpy as np
import pytest

from tallystick.parity import similar
from tallystick.parity.similar import blocks_alike, letters_alike


def words(seed: int, letters: str, count: int, longest: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(letters), random.integers(0, longest))) for _ in range(count)]


@pytest.mark.parametrize(("letters", "longest"), [("ab", 12), ("abc_12", 25), ("aß\0é ", 9), ("a", 2)])
@pytest.mark.parametrize("least", [0.0, np.inf], ids=["all at once", "by difflib"])
def test_ratios_are_those_of_difflib(monkeypatch, letters, longest, least):
    monkeypatch.setattr(similar, "PAIRS_A_LETTER", least)
    texts, others = words(1, letters, 12, longest), words(2, letters, 15, longest)
    pairs = np.random.default_rng(3).random((12, 15)) < 0.8
    quick, whole = letters_alike(texts, others), blocks_alike(texts, others, pairs)
    for a, text in enumerate(texts):
        for b, other in enumerate(others):
            matcher = SequenceMatcher(None, text, other)
            assert quick[a, b] == matcher.quick_ratio()
            assert whole[a, b] == (matcher.ratio() if pairs[a, b] else 0.0)


def test_texts_of_hundreds_of_letters_are_compared_as_by_difflib():
    """From 200 letters on, `difflib` leaves out those that are frequent in the second text."""
    texts, others = words(1, "abcdefgh", 5, 60), [each * 40 for each in words(2, "abcdefgh", 5, 12)]
    found = blocks_alike(texts, others, np.ones((5, 5), dtype=bool))
    assert found.tolist() == [[SequenceMatcher(None, text, other).ratio() for other in others] for text in texts]


def test_no_texts_are_alike_in_nothing():
    assert letters_alike([], ["a"]).shape == (0, 1)
    assert blocks_alike(["a"], [], np.zeros((1, 0), dtype=bool)).shape == (1, 0)
