"""How far an answer may be from training's: tight on the same machine, wide enough for another one, never silent."""

import pytest

from tallystick.gate.tolerance import Closeness, Tolerance, compare, is_discrete, is_single, tolerance_for

SPREAD = [0.1, 1.7, -2.3, 4.4]


@pytest.mark.parametrize(
    ("near", "factor", "passes"),
    [
        (Closeness.SAME, 1 + 1e-13, True),
        (Closeness.SAME, 1 + 1e-9, False),
        (Closeness.THREADS, 1 + 1e-10, True),
        (Closeness.THREADS, 1 + 1e-7, False),
        (Closeness.OTHER, 1 + 1e-7, True),
        (Closeness.OTHER, 1 + 1e-4, False),
    ],
)
def test_the_rule_of_each_closeness_for_a_linear_model(near, factor, passes):
    got = [value * factor for value in SPREAD]
    assert compare(SPREAD, got, 1, tolerance_for(near, "linear", SPREAD)).is_same is passes


def test_a_leaf_flip_on_another_machine_is_counted_by_rows_and_not_by_size():
    expected = [0.5 + row / 7 for row in range(2000)]
    one, many = list(expected), list(expected)
    one[7], many[:3] = 99.0, [99.0] * 3
    other = tolerance_for(Closeness.OTHER, "trees", expected)
    assert compare(expected, one, 1, other).is_same
    assert not compare(expected, many, 1, other).is_same
    assert not compare(expected, one, 1, tolerance_for(Closeness.SAME, "trees", expected)).is_same
    assert not compare(expected, one, 1, tolerance_for(Closeness.OTHER, "linear", expected)).is_same


def test_a_model_that_gives_another_answer_each_time_is_given_its_noise():
    noisy = [value + 0.3 for value in SPREAD]
    assert compare(SPREAD, noisy, 1, tolerance_for(Closeness.SAME, "other", SPREAD, noise=0.1)).is_same
    assert not compare(SPREAD, noisy, 1, tolerance_for(Closeness.SAME, "other", SPREAD, noise=0.001)).is_same


def test_the_first_difference_is_by_column_then_by_row():
    found = compare([1.5, 10.5, 2.5, 20.5], [1.5, 99.0, 3.5, 20.5], 2, Tolerance(1e-9))
    assert (found.column, found.row, found.expected, found.got) == (0, 1, "2.5", "3.5")
    assert (found.differing, found.share, found.largest) == (2, 1.0, 88.5)


def test_what_single_precision_loses_is_told_from_a_fault():
    import struct

    single = [struct.unpack("<f", struct.pack("<f", value))[0] for value in SPREAD]
    assert compare(SPREAD, single, 1, Tolerance(1e-12)).is_of_precision
    assert not compare(SPREAD, [value * 1.01 for value in SPREAD], 1, Tolerance(1e-12)).is_of_precision
    assert is_single(single)
    assert not is_single(SPREAD)


def test_labels_are_told_from_scores():
    assert is_discrete([0.0, 1.0, 1.0])
    assert is_discrete(["a", None])
    assert not is_discrete([0.0, 0.5])
