"""Parameters of findings as a verdict has them: of one cause, by column, with the roles that words need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tallystick.parity.columns import Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.parameters import TIMES

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference


def parameters_of(reference: Reference, same: Sequence[Finding]) -> dict[str, Any]:
    """Return the parameters of findings of one kind: those of the first, and by column where there are several."""
    found = _with_role(reference, same[0])
    if len(same) > 1:
        found["each"] = {each.features[0]: _with_role(reference, each) for each in same if each.features}
    return found


def _with_role(reference: Reference, finding: Finding) -> dict[str, Any]:
    given = dict(finding.transformation)
    if len(finding.features) != 1 or finding.features[0] not in reference.names:
        return given
    role = reference.column(finding.features[0]).role
    if finding.kind == "new_level":
        # Text that is no number is another thing than a level that is new.
        return given | ({"role": str(role)} if role in (Role.NUMBER, Role.TIME) else {})
    return with_time(role, given)


def with_time(role: Role, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the role `time` where some of them are seconds since 1970."""
    is_time = role is Role.TIME and any(isinstance(given.get(key), int | float) for key in TIMES)
    return {**given, "role": str(role)} if is_time else dict(given)
