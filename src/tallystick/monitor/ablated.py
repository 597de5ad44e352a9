"""What building training's environment again showed, in a verdict on golden rows that differ. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from tallystick.monitor.ablation_records import Ablated, Standing
from tallystick.monitor.alike import OF_GOLDEN_ROWS
from tallystick.parity.advice import fix_for
from tallystick.parity.endpoint import Difference, cleared
from tallystick.parity.verdict import Evidence, Verdict, family_of

#: Packages that are named.
_MOST_NAMED = 10
_NOT_VERSIONS = "compare the model's files and code with what was trained: versions are not the reason"
_COMMAND = (
    "tallystick parity check MODEL --ablate, where this server runs: it names the package that changes golden rows"
)


def with_ablation(verdict: Verdict, ablated: Ablated) -> Verdict:
    """Return a verdict on a replica with what is known of its environment: proven, ruled out, or still to come."""
    if verdict.kind not in OF_GOLDEN_ROWS:
        # That classes are exchanged, for one, is no package's doing.
        return verdict
    match ablated.standing:
        case Standing.DONE:
            return _answered(verdict, ablated)
        case Standing.DUE | Standing.UNDER_WAY:
            step = (
                "training's environment, which is being built, to name the package that changes golden rows: "
                "ask again in some minutes"
            )
            return _with(verdict, settle=step)
        case Standing.FAILED:
            limit = f"training's environment could not be compared: {ablated.reason}; it is tried again after "
            return _with(verdict, settle=_COMMAND, limit=limit + ablated.again_at)
        case Standing.OFF:
            return _with(
                verdict,
                settle=_COMMAND,
                limit="this server does not build training's environment to compare it: --no-ablation",
            )
        case Standing.NO_LEVER:
            return _with(verdict, limit=ablated.environment.ruling)
        case _:
            assert_never(ablated.standing)


def _answered(verdict: Verdict, ablated: Ablated) -> Verdict:
    environment = ablated.environment
    if environment.is_cleared:
        return msgspec.structs.replace(
            _with(verdict, evidence=environment.ruling),
            ruled_out=(*verdict.ruled_out, *cleared(environment, None, None)),
            fix=_NOT_VERSIONS if verdict.kind == "prediction_differs" else verdict.fix,
        )
    if not environment.guilty:
        return _with(verdict, evidence=environment.ruling, limit=environment.ruling)
    guilty = [each for each in environment.relevant if each.name in environment.guilty]
    kept = {
        key: value for key, value in verdict.transformation.items() if key not in ("packages", "training", "serving")
    }
    proven = msgspec.structs.replace(
        verdict,
        family=family_of("environment_differs"),
        kind="environment_differs",
        features=(),
        transformation=kept | _versions(guilty),
        strength="proof",
        confidence=0.97,
        fix=f"{fix_for('environment_differs')} ({_pins(guilty)})",
    )
    return _with(proven, evidence=f"environments were built again ({ablated.builds}): {environment.ruling}")


def _pins(guilty: Sequence[Difference]) -> str:
    named = [f"Python {each.training}" if each.name == "python" else f"{each.name}=={each.training}" for each in guilty]
    return ", ".join(named[:_MOST_NAMED])


def _versions(guilty: Sequence[Difference]) -> dict[str, Any]:
    named = guilty[:_MOST_NAMED]
    return {
        "packages": [each.name for each in named],
        "training": {each.name: each.training for each in named},
        "serving": {each.name: each.serving for each in named},
    }


def _with(verdict: Verdict, evidence: str = "", settle: str = "", limit: str = "") -> Verdict:
    """Return a verdict that says something more."""
    more = (Evidence(len(verdict.evidence) + 1, evidence, "intervention"),) if evidence else ()
    return msgspec.structs.replace(
        verdict,
        evidence=(*verdict.evidence, *more),
        settle=(*verdict.settle, settle) if settle else verdict.settle,
        degraded=(*verdict.degraded, limit) if limit else verdict.degraded,
    )
