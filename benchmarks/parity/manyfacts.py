"""Models of three classes or more, whose probabilities come in another order; and those that do not."""

from __future__ import annotations

import msgspec
import numpy as np

from benchmarks.parity.faults import Truth
from benchmarks.parity.served import Fact, Known, Make, Rows, Served
from tallystick.parity import Reference


def order_changed(how: str) -> Make:
    """Return the fact that probabilities are in another order: `live` with the model, `stored` without, `replay`."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        if s.many is None:
            return None
        model, reference = s.many
        names = [str(name) for name in model.classes_]
        order = rng.permutation(len(names))
        if (order == np.arange(len(names))).all():
            order = np.roll(order, 1)
        moved = {names[sent]: names[place] for place, sent in enumerate(order) if place != sent}
        truth = Truth(("class_order",), (), {"map": moved})
        seed = int(rng.integers(1 << 30))

        def answer(frame: Rows) -> np.ndarray:
            sound = model.predict_proba(frame)
            wrong = np.random.default_rng(seed).random(len(frame)) < share
            return np.where(wrong[:, None], sound[:, order], sound)

        stored = _without_model(reference)
        if how == "replay":
            return Known(stored, rows, {"rescore": answer}, truth)
        return Known(stored if how == "stored" else reference, rows, {"predictions": answer(rows)}, truth)

    return make


def sound(is_stored: bool) -> Make:
    """Return the fact that probabilities are in training's order."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        if s.many is None:
            return None
        model, reference = s.many
        given = {"predictions": model.predict_proba(rows)}
        return Known(_without_model(reference) if is_stored else reference, rows, given)

    return make


def _without_model(reference: Reference) -> Reference:
    return msgspec.structs.replace(reference, model=None)


MANY: dict[str, Fact] = {
    "class_order_many_live": Fact(order_changed("live")),
    "class_order_many_stored": Fact(order_changed("stored"), (1.0,)),
    "class_order_many_replay": Fact(order_changed("replay")),
    "benign:many_live": Fact(sound(is_stored=False), (0.0,)),
    "benign:many_stored": Fact(sound(is_stored=True), (0.0,)),
}
