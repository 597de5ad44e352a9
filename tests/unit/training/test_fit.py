"""A golden file is cut to its room: steps before bodies, bodies before rows, and it says so."""

import numpy as np
import pytest

from tallystick.gate.golden import Column, Golden, Matrix, Quality, Step, Wire, parse, render
from tallystick.training.fit import fit

ROWS = 512


@pytest.fixture
def golden():
    random = np.random.default_rng(0)
    values = random.random(ROWS)
    steps = (Step("scale", tuple("abcdefgh"), Matrix.of(random.random((128, 8)))),)
    wires = (Wire("csv", "text/csv", 128, random.bytes(128 * 40)),)
    return Golden(
        ROWS,
        (Column("x", "float64", tuple(values.tolist())),),
        Matrix.of(values),
        wires,
        steps,
        labels=values.tobytes(),
        quality=Quality("auc", 0.9, 0.8, 1.0, ROWS),
        degraded=("no luck",),
    )


def cut(wire, rows):
    return Wire(wire.encoding, wire.content_type, rows, wire.body[: rows * 40])


def test_what_fits_is_left_as_it_is(golden):
    found, block = fit(golden, 1_000_000, cut)
    assert found == golden
    assert parse(block) == golden


def test_steps_are_cut_first(golden):
    found, block = fit(golden, len(render(golden)) - 1, cut)
    assert (found.steps[0].output.rows, found.wires[0].rows, found.rows) == (64, 128, ROWS)
    assert (found.steps[0].output.values() == golden.steps[0].output.values()[:64]).all()
    assert found.degraded == ("no luck", "outputs of steps are kept for 64 rows, for size")
    assert len(block) < len(render(golden))


def test_few_files_are_made_to_find_the_one_that_fits(golden, monkeypatch):
    made = []
    monkeypatch.setattr("tallystick.training.fit.render", lambda each: made.append(1) or render(each))
    room = len(render(golden)) - 128 * 64 - 2500
    found, block = fit(golden, room, cut)
    assert (found.steps, found.wires[0].rows) == ((), 32)
    assert len(block) <= room
    assert len(made) == 4, "as it was, without steps, and two numbers of bodies' rows"


def test_bodies_then_rows_follow(golden):
    without = len(render(golden)) - 128 * 64
    found, _ = fit(golden, without - 2500, cut)
    assert (found.steps, found.wires[0].rows < 128, found.rows) == ((), True, ROWS)
    found, block = fit(golden, 2500, cut)
    assert found.rows < ROWS
    assert len(found.columns[0].values) == found.predictions.rows == len(found.labels) // 8 == found.rows
    assert found.quality is None, "the metric of all rows is not that of fewer"
    assert parse(block) == found


def test_what_cannot_be_cut_enough_says_so(golden):
    found, _ = fit(golden, 10, cut)
    assert "larger than a megabyte" in found.degraded[-1]
