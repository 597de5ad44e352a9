"""What is known of the endpoint before any row is looked at: which artifact answers, and in which environment.

Both come from the caller, who can ask replicas; a frame holds neither. Routing is convicted by digests and by nothing
else. An environment is convicted only where golden rows give other predictions: versions that differ are no fault as
long as the predictions do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tallystick.errors import InvalidParameter
from tallystick.gate.environment import PACKAGE, canonical_name
from tallystick.parity.detect.finding import Finding
from tallystick.parity.intervene import Replay

#: Packages whose versions decide predictions, the likeliest first: those that fit and predict, those that reckon for
#: them, and those that read a model back.
_RANKED = (
    "scikit-learn xgboost lightgbm catboost torch tensorflow keras onnxruntime statsmodels transformers prophet spacy "
    "river sktime category-encoders imbalanced-learn",
    "numpy scipy pandas polars pyarrow numba jax jaxlib openblas mkl threadpoolctl",
    "joblib cloudpickle skops mlflow mlflow-skinny skl2onnx",
)
#: What differs between any two environments and reckons nothing.
_TOOLS = (
    "pip setuptools wheel uv build pytest ruff mypy ipython jupyter notebook tallystick tzdata threads hostname pid"
)
#: Ranks up to which a difference outweighs a step that was seen to differ.
_DECIDING = 3
_IRRELEVANT = 9


@dataclass(frozen=True)
class Difference:
    """One key of the environment that serving has otherwise; `rank` 0 is the likeliest to change predictions."""

    name: str
    training: str
    serving: str
    rank: int

    @property
    def is_relevant(self) -> bool:
        """Whether it may change a prediction at all."""
        return self.rank < _IRRELEVANT

    def __str__(self) -> str:
        """Return `numpy 1.26.4 → 2.1.0`."""
        return f"{self.name} {self.training or 'none'} → {self.serving or 'none'}"


@dataclass(frozen=True)
class Environment:
    """The differences, ranked; `guilty` and `is_cleared` are what an ablation showed, where one was run."""

    differences: tuple[Difference, ...] = ()
    guilty: tuple[str, ...] = ()
    is_cleared: bool = False
    #: What an ablation came to, in a sentence.
    ruling: str = ""

    @property
    def relevant(self) -> tuple[Difference, ...]:
        """The differences that may change a prediction."""
        return tuple(found for found in self.differences if found.is_relevant)


@dataclass(frozen=True)
class Routing:
    """Replicas by whether they serve the digest that was asked for; `wrong` is replica -> (wanted, served)."""

    right: tuple[str, ...] = ()
    wrong: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    @property
    def is_cleared(self) -> bool:
        """Whether every replica said what it serves, and it is what was asked for."""
        return bool(self.right) and not self.wrong and not self.silent


def read_environment(environment: Any) -> Environment | None:
    """Return the ranked differences of a mapping key -> (training, serving); None for None.

    Keys are those of a golden file: `python`, `platform`, `package:numpy` … A bare package name will do. Equal pairs
    are left out. An `Environment` is passed through. Raises InvalidParameter for anything else.
    """
    if environment is None or isinstance(environment, Environment):
        return environment
    found = []
    for key, pair in _pairs("environment", environment).items():
        training, serving = pair
        if training != serving:
            found.append(Difference(key.removeprefix(PACKAGE), training, serving, _rank(key)))
    return Environment(tuple(sorted(found, key=lambda each: (each.rank, -_jump(each), each.name))))


def read_identity(identity: Any) -> Routing | None:
    """Return which replicas serve what was asked for, of a mapping replica -> (wanted digest, served digest).

    A replica that did not say (an empty digest) neither convicts nor clears. Raises InvalidParameter for anything else.
    """
    if identity is None:
        return None
    pairs = _pairs("identity", identity)
    silent = tuple(name for name, pair in pairs.items() if not all(pair))
    wrong = {name: pair for name, pair in pairs.items() if all(pair) and pair[0] != pair[1]}
    return Routing(tuple(name for name, pair in pairs.items() if all(pair) and pair[0] == pair[1]), wrong, silent)


def _pairs(what: str, given: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"{what}: expected a mapping of names to pairs, got {type(given).__name__}")
    wrong = [str(name) for name, pair in given.items() if isinstance(pair, str) or not _is_pair(pair)]
    if wrong:
        raise InvalidParameter(
            f"{what}: expected a pair (wanted, found) for each name; {', '.join(wrong[:5])} has none"
        )
    return {str(name): (str(pair[0] or ""), str(pair[1] or "")) for name, pair in given.items()}


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2


def _rank(key: str) -> int:
    name = canonical_name(key.removeprefix(PACKAGE))
    for rank, names in enumerate(_RANKED):
        if name in names.split():
            return rank
    if name in _TOOLS.split():
        return _IRRELEVANT
    if name == "python":
        return _DECIDING
    # A package of no list may be the model's own code; what is no package is the machine.
    return 4 if key.startswith(PACKAGE) else 5


def _jump(difference: Difference) -> int:
    """Return 3 for another major version, 2 for another minor one, 1 for another patch."""
    was, now = (re.findall(r"\d+", text)[:3] for text in (difference.training, difference.serving))
    place = next((k for k, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 2)
    return 3 - place


def wrong_version(routing: Routing | None, rows: int) -> Finding | None:
    """Return the conviction of routing; None where each replica that said so serves what was asked for."""
    if routing is None or not routing.wrong:
        return None
    named = {name: {"wanted": wanted, "served": served} for name, (wanted, served) in routing.wrong.items()}
    said = len(routing.wrong) + len(routing.right)
    evidence = tuple(
        f"replica {name} serves {_short(served)}, asked for was {_short(wanted)}"
        for name, (wanted, served) in list(routing.wrong.items())[:3]
    )
    everything = np.ones(rows, dtype=bool)
    share = len(routing.wrong) / said
    return Finding(
        "wrong_version",
        (),
        {"replicas": named, "of": said},
        share,
        200.0,
        True,
        evidence,
        everything,
        gain=1e9,
        at_endpoint=True,
    )


def environment_differs(
    environment: Environment | None, replayed: Replay | None, differing: Finding | None
) -> Finding | None:
    """Return the conviction of the environment in the place of `differing`, which says that predictions differ.

    Classes exchanged, log-odds off by a constant and values that the wire changed have nothing to do with versions.
    """
    if environment is None or environment.is_cleared or differing is None:
        return None
    if differing.kind not in ("prediction_differs", "step_differs") or (replayed is not None and replayed.encoding):
        return None
    suspected = environment.relevant
    is_seen_in_step = replayed is not None and bool(replayed.step)
    if not suspected or (is_seen_in_step and not environment.guilty and suspected[0].rank > _DECIDING):
        return None
    first = [each for each in suspected if each.name in environment.guilty] or list(suspected)
    parameters: dict[str, Any] = {
        "packages": [each.name for each in first[:10]],
        "training": {each.name: each.training for each in first[:10]},
        "serving": {each.name: each.serving for each in first[:10]},
    }
    if replayed is not None and replayed.step:
        parameters["step"] = replayed.step
    shown = ", ".join(str(each) for each in first[:4])
    evidence = [*differing.evidence, f"{len(suspected)} relevant differences to training's environment, first: {shown}"]
    if environment.guilty:
        evidence.append(f"training's version of {', '.join(environment.guilty)} gives training's predictions again")
    return Finding(
        "environment_differs",
        (),
        parameters,
        differing.share,
        differing.nats if environment.guilty else 14.0,
        bool(environment.guilty),
        tuple(evidence),
        differing.rows,
        gain=differing.gain,
        at_endpoint=True,
    )


def cleared(environment: Environment | None, routing: Routing | None, replayed: Replay | None) -> list[str]:
    """Return what may be ruled out, in words."""
    lines = []
    if routing is not None and routing.is_cleared:
        count = len(routing.right)
        lines.append(f"routing ({count}/{count} replicas serve the digest that was asked for)")
    if environment is not None:
        if not environment.relevant:
            lines.append("environment (no relevant difference)")
        elif environment.is_cleared:
            lines.append("environment (built again, it makes no difference to golden rows)")
        elif replayed is not None and replayed.is_equal:
            lines.append(f"environment ({environment.relevant[0]} changes no prediction)")
    return lines


def _short(digest: str) -> str:
    return digest if len(digest) <= 16 else digest[:12] + "…"


__all__ = [
    "Difference",
    "Environment",
    "Routing",
    "cleared",
    "environment_differs",
    "read_environment",
    "read_identity",
]
