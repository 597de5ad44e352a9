"""What an endpoint may be at fault with: its answers, a step, its environment, a replica; and what is no fault of it.

A fact takes fair rows, or rows of another mix, and gives them with what is known beside them.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity.benign import BENIGN
from benchmarks.parity.faults import Truth, numbers
from benchmarks.parity.manyfacts import MANY
from benchmarks.parity.served import FEWEST_ROWS, Fact, Known, Make, Rows, Served
from tallystick.gate.checks import Subject, check
from tallystick.gate.golden import Column, Golden, Matrix, Wire
from tallystick.gate.report import Rung
from tallystick.gate.steps import trace_steps
from tallystick.gate.wires import cells_of
from tallystick.parity.intervene import replay_of


def known_cases(
    served: Served, name: str, rows: int, repeats: int, shares: tuple[float, ...], seed: int, only: str
) -> Iterator[tuple[str, float, Known]]:
    """Yield (case, share, `Known`) of one table; the same arguments give the same."""
    for case, fact in FACTS.items():
        if only and only not in case:
            continue
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, repeat, 11, zlib.crc32(f"{name} {case}".encode())])
            mix = "tilt_-1" if fact.mix and repeat % 2 else "plain"
            live = BENIGN[mix](served.pool, served.y_pool, rng, rows)
            if live is None or len(live) < FEWEST_ROWS // 2:
                continue
            for share in (s for s in fact.shares if s in shares or s == 0.0):
                known = fact.make(served, live, rng, share)
                if known is not None:
                    yield case, share, known


# -- answers -------------------------------------------------------------------------------------------------------


def _scores(model: Any, rows: Rows) -> np.ndarray:
    return np.asarray(model.predict_proba(rows)[:, -1])


def _some(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the rows that a broken replica answered; at least one."""
    if share >= 1:
        return np.ones(count, bool)
    picked = rng.random(count) < share
    picked[rng.integers(count)] = True
    return picked


Answer = Callable[[Any, Served, Rows, np.random.Generator], tuple[np.ndarray, dict[str, float]]]


def _flipped(scores: Any, s: Served, rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    return 1 - scores, {}


def _sampled(scores: Any, s: Served, rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Scores of a model trained with one class kept at a rate, which nobody undid: odds are off by it."""
    rate = float(rng.choice([0.05, 0.1, 0.2, 0.5, 2.0, 5.0, 10.0]))
    odds = scores / np.maximum(1 - scores, 1e-15) * rate
    return odds / (1 + odds), {"rate": rate}


def _of_another(scores: Any, s: Served, rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    return _scores(s.other, rows), {}


def _rounded(scores: Any, s: Served, rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Inputs lose all but three digits inside the endpoint."""
    kept = rows.assign(**{n: _three_digits(rows[n]) for n in rows if rows[n].dtype.kind == "f"})
    return _scores(s.model, kept), {}


def _single(scores: Any, s: Served, rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Inputs are 32-bit floats inside the endpoint, as in an ONNX session."""
    kept = rows.assign(**{n: rows[n].astype(np.float32).astype(float) for n in numbers(rows)})
    return _scores(s.model, kept), {}


def _three_digits(column: pd.Series) -> pd.Series:
    values = column.to_numpy(float)
    with np.errstate(all="ignore"):
        size = 10.0 ** (2 - np.floor(np.log10(np.abs(values))))
        return pd.Series(np.where(values == 0, 0.0, np.round(values * size) / size), index=column.index)


def live(kind: str, answer: Answer, stored: bool = False) -> Make:
    """Return the fact that a share of live rows was answered so; without the model at hand where only files are."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        sound = _scores(s.model, rows)
        wrong, parameters = answer(sound, s, rows, rng)
        given = np.where(_some(len(rows), share, rng), wrong, sound)
        # Without the model a rate is an estimate.
        truth = _if_different(Truth((kind,), (), {} if stored else parameters), given, sound)
        if _is_in_doubt(given, sound) or (stored and _hardly_differs(s, given, sound)):
            return None
        return Known(s.stored if stored else s.reference, rows, {"predictions": given}, truth)

    return make


def _if_different(truth: Truth, given: np.ndarray, sound: np.ndarray) -> Truth | None:
    """Return the truth; none where no row is answered otherwise: then nothing is wrong."""
    return truth if np.any(np.abs(given - sound) > 1e-9) else None


def _is_in_doubt(given: np.ndarray, sound: np.ndarray) -> bool:
    """Whether so few rows or so late a digit differ that either verdict is right."""
    return np.mean(np.abs(given - sound) > 1e-9) > 0 and np.mean(np.abs(given - sound) > 1e-5) <= 0.01


def _hardly_differs(s: Served, given: np.ndarray, sound: np.ndarray) -> bool:
    """Whether scores as a whole are nearly what they would be: no one who has only these could see it."""
    ranks = np.sort(np.concatenate([given, sound]))
    apart = np.abs(np.searchsorted(np.sort(given), ranks, "right") - np.searchsorted(np.sort(sound), ranks, "right"))
    return float(apart.max()) / len(given) < 0.1


def replayed(kind: str, answer: Answer, environment: Mapping[str, Any] | None = None) -> Make:
    """Return the fact that a share of rows sent again is answered so (one replica of several)."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        seed = int(rng.integers(1 << 30))

        def rescore(frame: Rows) -> np.ndarray:
            again = np.random.default_rng(seed)
            sound = _scores(s.model, frame)
            wrong, _ = answer(sound, s, frame, np.random.default_rng(seed))
            return np.where(_some(len(frame), share, again), wrong, sound)

        sound = _scores(s.model, s.reference.rows)
        _, parameters = answer(sound, s, s.reference.rows, np.random.default_rng(seed))
        again = rescore(s.reference.rows)
        truth = None if _is_in_doubt(again, sound) else _if_different(Truth((kind,), (), parameters), again, sound)
        given = {"rescore": rescore, **({} if environment is None else {"environment": environment})}
        return Known(s.stored, rows, given, truth) if truth else None

    return make


def _labels(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
    """Class labels are served, each in the other's place: to all, or to one client, as single rows do not tell."""
    sound = pd.Series(s.model.predict(rows))
    first, second = sorted(s.y_pool.unique())[:2]
    if sound.value_counts(normalize=True).min() < 0.02 or sound.nunique() < 2:
        return None
    turned = sound.map({first: second, second: first})
    picked = _some(len(rows), share, rng)
    given: dict[str, Any] = {"predictions": turned.where(picked, sound).to_numpy()}
    if share < 1:
        given["segments"] = pd.Series(np.where(picked, "ios", "web"), name="client")
    return Known(s.of_labels, rows, given, Truth(("class_order",), ()))


# -- environments ----------------------------------------------------------------------------------------------------

LIBRARIES = {
    "package:scikit-learn": ("1.4.2", "1.7.0"),
    "package:numpy": ("1.26.4", "2.1.0"),
    "package:pip": ("24.0", "25.1"),
    "threads": ("4", "2"),
}
TOOLS = {"package:pip": ("24.0", "25.1"), "package:pytest": ("8.0", "8.3"), "threads": ("4", "2")}


def environment_live(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
    """Another library gives other predictions for live rows."""
    known = live("environment_differs", _of_another)(s, rows, rng, share)
    return None if known is None or known.truth is None else _with(known, environment=LIBRARIES)


def _with(known: Known, **more: Any) -> Known:
    return Known(known.reference, known.live, {**known.given, **more}, known.truth)


def environment_same(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known:
    """The environment differs, and predictions do not: no fault, whatever the rows."""
    given = {"environment": LIBRARIES, "rescore": lambda frame: _scores(s.model, frame)}
    return Known(s.reference, rows, {**given, "predictions": _scores(s.model, rows)})


# -- steps -----------------------------------------------------------------------------------------------------------


def step(environment: Mapping[str, Any] | None = None) -> Make:
    """Return the fact that golden rows come out of one step otherwise, as a replica's own check tells it."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        broken, column = _broken_step(s.model, rng)
        some = s.reference.rows
        if broken is None or np.mean(np.abs(_scores(broken, some) - _scores(s.model, some)) > 1e-4) <= 0.01:
            return None
        report = check(
            golden_of(s.model, some),
            Subject("a", "a", lambda body, form: some, broken.predict_proba, lambda f: trace_steps(broken, f)),
            rungs=(Rung.WIRE, Rung.STEPS),
        ).report
        kind = "step_differs" if environment is None else "environment_differs"
        truth = Truth((kind,), (column,) if environment is None else ())
        given = {"replayed": replay_of(report), **({} if environment is None else {"environment": environment})}
        return Known(s.stored, rows, given, truth)

    return make


def _broken_step(model: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """Return the model with one column's constant of its scaler moved, and that column."""
    broken = copy.deepcopy(model)
    parts = broken.named_steps["prepare"].named_transformers_
    taken = list(broken.named_steps["prepare"].transformers_[0][2])
    if not taken:
        return None, ""
    place = int(rng.integers(len(taken)))
    scale = parts["num"].named_steps["scale"]
    scale.mean_ = scale.mean_.copy()
    scale.mean_[place] += 0.5 * scale.scale_[place]
    return broken, str(taken[place])


def golden_of(model: Any, rows: Rows) -> Golden:
    """Return golden rows as a capture makes them, with the steps of the model."""
    return Golden(
        len(rows),
        tuple(Column(str(n), str(rows[n].dtype), tuple(cells_of(rows[n]))) for n in rows),
        Matrix.of(model.predict_proba(rows)),
        (Wire("dataframe_split", "application/json", len(rows), b"{}"),),
        tuple(trace_steps(model, rows)),
        model_kind="tree",
    )


# -- replicas --------------------------------------------------------------------------------------------------------

RIGHT = {"1": ("aa11", "aa11"), "2": ("aa11", "aa11"), "3": ("aa11", "aa11")}
WRONG = {**RIGHT, "2": ("aa11", "bb22")}


def _unit(rows: Rows, rng: np.random.Generator) -> tuple[Rows, str] | None:
    names = [n for n in numbers(rows) if rows[n].median() != 0]
    if not names:
        return None
    column = str(rng.choice(names))
    return rows.assign(**{column: rows[column] * 100.0}), column


def routing(beside: str) -> Make:
    """Return the fact that a third of rows is answered by a wrong version; `beside` it, nothing, a shift or a fault."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        if beside == "client":
            broken = _unit(rows, rng)
            if broken is None:
                return None
            rows = broken[0]
        elif beside == "population":
            shifted = BENIGN["reweighted"](s.pool, s.y_pool, rng, len(rows))
            rows = rows if shifted is None else shifted
        sound = _scores(s.model, rows)
        given = np.where(_some(len(rows), share, rng), _scores(s.other, rows), sound)
        return Known(s.reference, rows, {"predictions": given, "identity": WRONG}, Truth(("wrong_version",), ()))

    return make


def not_routing(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
    """A client's fault beside replicas that are all right: routing is not blamed, the client is."""
    broken = _unit(rows, rng)
    if broken is None:
        return None
    given = {"predictions": _scores(s.model, broken[0]), "identity": RIGHT}
    return Known(s.reference, broken[0], given, Truth(("unit",), (broken[1],), {"factor": 100.0}))


def replicas_right(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known:
    """All replicas are right, one does not say; the rows are of another mix."""
    shifted = BENIGN["reweighted"](s.pool, s.y_pool, rng, len(rows))
    rows = rows if shifted is None else shifted
    return Known(s.reference, rows, {"predictions": _scores(s.model, rows), "identity": {**RIGHT, "4": ("aa11", "")}})


# -- classes -----------------------------------------------------------------------------------------------------------


def label_shift(labels: bool) -> Make:
    """Return rows of which the classes have another mix, each class's rows as ever; with labels, or with scores."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        picked = _other_mix(s, rng, len(rows))
        if picked is None:
            return None
        some = s.pool.iloc[picked].reset_index(drop=True)
        given: dict[str, Any] = {"predictions": _scores(s.model, some)}
        if labels:
            given["labels"] = s.y_pool.iloc[picked].to_numpy()
        return Known(s.reference, some, given, Truth(("label_shift",), ()))

    return make


def _other_mix(s: Served, rng: np.random.Generator, rows: int) -> np.ndarray | None:
    codes = pd.factorize(s.y_pool, sort=True)[0]
    share = codes.mean()
    wanted = float(np.clip(share + rng.choice([-1, 1]) * rng.uniform(0.25, 0.4), 0.05, 0.95))
    if abs(wanted - share) < 0.2:
        wanted = 1 - wanted
    weight = np.where(codes == 1, wanted / share, (1 - wanted) / (1 - share))
    rows = min(rows, len(codes) // 3)
    return None if rows < 40 else rng.choice(len(codes), rows, replace=False, p=weight / weight.sum())


def other_mix_sound(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
    """Classes have another mix, and only scores are there and no model: no fault of the endpoint."""
    picked = _other_mix(s, rng, len(rows))
    if picked is None:
        return None
    some = s.pool.iloc[picked].reset_index(drop=True)
    return Known(s.stored, some, {"predictions": _scores(s.model, some)})


def recalibrated(strength: float) -> Make:
    """Return rows drawn by their score: as risky a population as a moved prior would look, with sound scores."""

    def make(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known | None:
        score = np.clip(_scores(s.model, s.pool), 1e-3, 1 - 1e-3)
        weight = np.exp(strength * np.log(score / (1 - score)))
        count = min(len(rows), len(s.pool) // 3)
        if count < 40:
            return None
        picked = rng.choice(len(s.pool), count, replace=False, p=weight / weight.sum())
        some = s.pool.iloc[picked].reset_index(drop=True)
        return Known(s.stored, some, {"predictions": _scores(s.model, some)})

    return make


def concept(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known:
    """Outcomes come otherwise than they did, rows and predictions are as ever."""
    picked = rng.choice(len(s.pool), min(len(rows), len(s.pool)), replace=False)
    some = s.pool.iloc[picked].reset_index(drop=True)
    labels = s.y_pool.iloc[picked].sample(frac=1.0, random_state=int(rng.integers(1 << 30))).to_numpy()
    return Known(s.reference, some, {"predictions": _scores(s.model, some), "labels": labels})


def last_digits(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known:
    """Another processor: predictions differ in the last digits."""
    sound = _scores(s.model, rows)
    noisy = sound * (1 + 1e-9 * rng.normal(size=len(rows)))
    return Known(s.reference, rows, {"predictions": noisy, "rescore": lambda frame: _scores(s.model, frame)})


def fair(s: Served, rows: Rows, rng: np.random.Generator, share: float) -> Known:
    """Nothing is wrong, and everything is given but the model."""
    given = {"predictions": _scores(s.model, rows), "environment": {}, "identity": RIGHT}
    return Known(s.stored, rows, given)


_HALVES, _NONE = (1.0, 0.3), (0.0,)
FACTS: dict[str, Fact] = {
    "class_order_live": Fact(live("class_order", _flipped)),
    "class_order_stored": Fact(live("class_order", _flipped, stored=True), _HALVES, mix=False),
    "class_order_replay": Fact(replayed("class_order", _flipped)),
    "class_order_labels": Fact(_labels),
    "sampling_prior_live": Fact(live("sampling_prior", _sampled)),
    "sampling_prior_stored": Fact(live("sampling_prior", _sampled, stored=True), _HALVES, mix=False),
    "sampling_prior_replay": Fact(replayed("sampling_prior", _sampled)),
    "other_model_live": Fact(live("prediction_differs", _of_another)),
    "other_model_stored": Fact(live("prediction_differs", _of_another, stored=True), (1.0,), mix=False),
    "other_model_replay": Fact(replayed("prediction_differs", _of_another)),
    "rounded_inside": Fact(live("prediction_differs", _rounded)),
    "float32_inside": Fact(live("prediction_differs", _single), (1.0,)),
    "step": Fact(step(), (1.0,)),
    "environment_step": Fact(step(LIBRARIES), (1.0,)),
    "environment_replay": Fact(replayed("environment_differs", _of_another, LIBRARIES)),
    "environment_live": Fact(environment_live),
    "environment_of_tools": Fact(replayed("prediction_differs", _of_another, TOOLS), _HALVES),
    "routing_alone": Fact(routing(""), (0.3,)),
    "routing_and_population": Fact(routing("population"), (0.3,)),
    "routing_and_client": Fact(routing("client"), (0.3,)),
    "client_not_routing": Fact(not_routing, (1.0,)),
    "label_shift_labels": Fact(label_shift(labels=True), (1.0,), mix=False),
    "label_shift_scores": Fact(label_shift(labels=False), (1.0,), mix=False),
    **MANY,
    "benign:replicas_right": Fact(replicas_right, _NONE),
    "benign:environment_same": Fact(environment_same, _NONE),
    "benign:other_mix_sound": Fact(other_mix_sound, _NONE, mix=False),
    "benign:riskier": Fact(recalibrated(0.4), _NONE, mix=False),
    "benign:safer": Fact(recalibrated(-0.4), _NONE, mix=False),
    "benign:concept": Fact(concept, _NONE, mix=False),
    "benign:last_digits": Fact(last_digits, _NONE),
    "benign:plain": Fact(fair, _NONE, mix=False),
}
