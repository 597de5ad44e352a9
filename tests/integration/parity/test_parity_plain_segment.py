"""One client whose rows are wrong in many columns: where the others are sound, its rows are judged before all rows."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, diagnose, locate
from tallystick.parity.detect.finding import Finding
from tallystick.parity.history import Asked
from tallystick.parity.inquire import begun, carried_on

ROWS, COLUMNS = 600, 14


def _wide(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 3))
    return pd.DataFrame({f"x{k}": 10 + 3 * hidden[:, k % 3] + rng.normal(size=count) for k in range(COLUMNS)})


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.from_frame(_wide(4000, 0))


@pytest.fixture
def carried(monkeypatch) -> list[int]:
    """Return the numbers of rows of the inquiries that were carried on."""
    counts: list[int] = []
    monkeypatch.setattr(locate, "carried_on", lambda *given: counts.append(given[0].sent.rows) or carried_on(*given))
    return counts


CLIENT = pd.Series(np.where(np.arange(ROWS) % 10 < 3, "ios/4.2", "web"), name="client")
IS_IOS = (CLIENT == "ios/4.2").to_numpy()


def _with_ios(live: pd.DataFrame) -> pd.DataFrame:
    return live.apply(lambda column: column.where(~IS_IOS, 2.54 * column + 40))


def test_many_columns_of_one_client_are_judged_by_its_rows_alone(reference, carried):
    verdict = diagnose(reference, _with_ios(_wide(ROWS, 1)), segments=CLIENT)
    assert (verdict.kind, verdict.segment["value"]) == ("affine", "ios/4.2")
    assert verdict.segment["affected_inside"] > 0.9
    assert (verdict.rows, round(verdict.share, 2)) == (ROWS, 0.3)
    assert len(verdict.features) > COLUMNS / 2
    assert ROWS not in carried


def test_what_everybody_has_is_told_first_though_one_client_has_much_more(reference, carried):
    live = _wide(ROWS, 2)
    verdict = diagnose(reference, _with_ios(live).assign(x0=100 * live.x0), segments=CLIENT)
    assert (verdict.kind, verdict.features, verdict.segment) == ("unit", ("x0",), {})
    assert ROWS in carried


def test_many_columns_of_one_client_are_no_plain_case_where_the_others_go_together_otherwise(reference, carried):
    """The other rows' own values are training's, and each column's are in another order."""
    live = _wide(ROWS, 3)
    rng = np.random.default_rng(3)
    mixed = live.assign(**{name: live[name].where(IS_IOS, rng.permutation(live[name])) for name in ("x1", "x4", "x7")})
    diagnose(reference, _with_ios(mixed), segments=CLIENT)
    assert ROWS in carried


def test_the_broken_version_of_a_client_is_told_rather_than_the_client(reference):
    """The client stands out as much: the chance of each is as good as none, so that names would decide."""
    rows = np.arange(2000) % 10
    is_client, is_broken = rows < 4, rows < 3
    live = _wide(2000, 4).apply(lambda column: column.where(~is_broken, 2.54 * column + 40))
    version = np.where(is_broken, "4.2", np.where(is_client, "4.1", "none"))
    segments = pd.DataFrame({"app": np.where(is_client, "ios", "web"), "version": version})
    verdict = diagnose(reference, live, segments=segments)
    assert (verdict.kind, verdict.segment["column"], verdict.segment["value"]) == ("affine", "version", "4.2")
    assert verdict.segment["affected_inside"] > 0.9
    assert round(verdict.share, 2) == 0.3


def test_a_broken_version_of_too_few_rows_to_stand_out_is_told_rather_than_its_client(reference):
    rows = np.arange(300)
    is_client, is_broken = rows % 10 == 0, (rows % 10 == 0) & (rows < 210)
    live = _wide(300, 6).apply(lambda column: column.mask(is_broken))
    version = np.where(is_broken, "4.2", np.where(is_client, "4.1", "none"))
    segments = pd.DataFrame({"app": np.where(is_client, "ios", "web"), "version": version})
    verdict = diagnose(reference, live, segments=segments)
    assert (verdict.kind, verdict.segment["column"], verdict.segment["value"]) == ("nulls", "version", "4.2")
    assert verdict.segment["affected_inside"] == 1.0


@pytest.mark.parametrize(
    ("odd", "share", "is_of_others"), [("ios", 0.3, True), ("ios", 1.0, False), ("all", 0.3, False)]
)
def test_a_cause_in_a_part_of_a_segment_may_be_the_rows_of_another_that_has_none(reference, odd, share, is_of_others):
    """A region of other customers is a part of each shop's rows, where it looks like a map of some of them."""
    live, shop = _wide(ROWS, 5), np.arange(ROWS) % 3 == 0
    moved = live.apply(lambda column: column + np.where(IS_IOS | (odd == "all"), 6.0, 0.0))
    found = Finding("affine", ("x0",), {}, share, 20.0, False, (), shop)
    whole = begun(reference, moved, Asked()).sent
    assert locate._is_of_others(whole, found, shop, IS_IOS) is is_of_others
