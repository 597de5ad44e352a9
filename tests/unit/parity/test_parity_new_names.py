"""Lists of new names for levels: told by what stands around them, by how they begin, by how many there are."""

import numpy as np
import pytest

from tallystick.parity.columns import is_null_word
from tallystick.parity.detect.levels import is_fill_word
from tallystick.parity.detect.naming import by_name, by_number

LEVELS = ["white", "black", "other"]


def test_one_text_around_each_level_tells_which_it_is():
    assert by_name({'"white"': 9, '"black"': 3}, LEVELS) == {'"white"': "white", '"black"': "black"}
    assert by_name({"race=other": 2, "race=black": 3}, LEVELS) == {"race=other": "other", "race=black": "black"}


def test_names_that_begin_a_level_tell_which_it_is_where_no_two_do():
    assert by_name({"w": 9, "b": 3}, LEVELS) == {"w": "white", "b": "black"}
    assert by_name({"b": 9, "w": 3}, [*LEVELS, "brown"]) == {}
    assert by_name({"w": 9, "wh": 3}, LEVELS) == {}


@pytest.mark.parametrize("unseen", [{"white plus": 30}, {"red": 9, "green": 3}, {"white plus": 5, "red": 9}])
def test_one_name_alone_or_names_of_their_own_tell_nothing(unseen):
    assert by_name(unseen, LEVELS) == {}


def test_as_many_names_as_levels_with_their_counts_are_their_names():
    shares, silent = np.array([0.6, 0.3, 0.1]), np.zeros((3, 3))
    found = by_number({"1": 122, "2": 57, "3": 21}, LEVELS, shares, 1.0, silent)
    assert found == {"1": "white", "2": "black", "3": "other"}
    assert by_number({"1": 20, "2": 20, "3": 20}, LEVELS, shares, 0.3, silent) == {}
    assert by_number({"1": 122, "2": 78}, LEVELS, shares, 1.0, silent[:2]) == {}


def test_other_columns_say_which_of_two_even_levels_a_name_is():
    shares, heard = np.array([0.5, 0.5]), np.array([[-9.0, 9.0], [9.0, -9.0]])
    assert by_number({"1": 50, "2": 50}, ["f", "m"], shares, 1.0, heard) == {"1": "m", "2": "f"}


def test_words_for_nothing_are_known_whatever_is_put_around_them():
    assert all(is_null_word(word) for word in ("(null)", "[N/A]", ".", "---", "#REF!", " None "))
    assert all(is_fill_word(word) for word in ("__missing__", "Not_Available", "<UNK>", "[Unknown]"))
    assert not any(is_null_word(word) or is_fill_word(word) for word in ("nap", "-1", "+", "missouri", "a.", "no"))
