"""Looking after each row must not raise more alarms than stated; 400 streams, fixed seed."""

import numpy as np

from tallystick.parity.anytime import distance_bound, rate_e_value


def test_looking_after_each_row_keeps_the_false_alarm_rate():
    """Stated rate 5 %; of 400 fair streams at most 5 % + 3 standard errors may ever alarm."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        hits = np.cumsum(rng.random(400) < 0.05)
        alarms += any(rate_e_value(int(hits[k]), k + 1, 0.05) > 20 for k in range(0, 400, 5))
    assert alarms / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_unseen_levels_are_noticed_within_ten_rows():
    assert rate_e_value(3, 10, 0.001) > 1000


def test_a_rate_below_the_bound_gives_no_evidence():
    assert rate_e_value(1, 1000, 0.05) < 1


def test_the_distribution_stays_within_its_bound_at_every_look():
    rng = np.random.default_rng(1)
    outside = 0
    for _ in range(100):
        values = rng.random(2000)
        for rows in (10, 50, 200, 1000, 2000):
            seen = np.sort(values[:rows])
            outside += np.abs(np.arange(1, rows + 1) / rows - seen).max() > distance_bound(rows, 0.05)
    assert outside == 0
