"""Which diagnosis is about which incident: the same kind, in the same place, with a column in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.monitor.incidents import Book, Diagnosis, Incident

#: Kinds that say that a replica gives other answers for golden rows.
OF_GOLDEN_ROWS = frozenset({"environment_differs", "step_differs", "prediction_differs"})
#: Sender of a cause that names none.
NOBODY = ("", "")


def incidents_of(book: Book, diagnoses: Sequence[Diagnosis]) -> list[Incident | None]:
    """Return the open incident that each diagnosis of one look is about; no two are about one.

    Who names the sender of an incident goes before who names none.
    """
    found: list[Incident | None] = [None] * len(diagnoses)
    for is_exact in (True, False):
        for place, diagnosis in enumerate(diagnoses):
            if found[place] is None and diagnosis.is_claim:
                taken = {each.id for each in found if each is not None}
                found[place] = next(
                    (
                        each
                        for each in book.open
                        if each.id not in taken
                        and is_same(each, diagnosis)
                        and (not is_exact or sender_of(each.verdict) == sender_of(diagnosis.verdict))
                    ),
                    None,
                )
    return found


def is_same(incident: Incident, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis found the cause of an incident again, as its first.

    That golden rows differ is one cause, whatever is known of the reason by now: a step, a package, or nothing yet.
    """
    if not _is_of_sender(incident, diagnosis):
        return False
    both = incident.verdict, diagnosis.verdict
    if both[0]["kind"] != both[1]["kind"] and all(map(_is_of_golden_rows, both)):
        return True
    return are_alike(cause_of(both[0]), cause_of(both[1]))


def is_beside(incident: Incident, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis found the cause of an incident again, beside another."""
    mine = cause_of(incident.verdict)
    return _is_of_sender(incident, diagnosis) and any(are_alike(mine, each) for each in causes_of(diagnosis)[1:])


def told_beside(incident: Incident, diagnosis: Diagnosis) -> dict[str, Any] | None:
    """Return what an incident tells of a diagnosis' first cause beside its own; None where it does not."""
    first = cause_of(diagnosis.verdict)
    if not _is_of_sender(incident, diagnosis):
        return None
    return next((each for each in incident.verdict.get("others", ()) if are_alike(cause_of(each), first)), None)


def _is_of_sender(incident: Incident, diagnosis: Diagnosis) -> bool:
    if incident.served_entity_id != diagnosis.served_entity_id:
        return False
    senders = sender_of(incident.verdict), sender_of(diagnosis.verdict)
    return senders[0] == senders[1] or NOBODY in senders


def _is_of_golden_rows(verdict: Mapping[str, Any]) -> bool:
    # Clients' rows may come from another step too: that is another cause, at another stage.
    return verdict["kind"] in OF_GOLDEN_ROWS and str(verdict["stage"]).startswith("endpoint")


def sender_of(verdict: Mapping[str, Any]) -> tuple[str, str]:
    """Return column and value of the segment that a verdict blames."""
    segment = verdict["segment"]
    return str(segment.get("column", "")), str(segment.get("value", ""))


def cause_of(verdict: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return kind and columns of a verdict, or of another cause in it."""
    return verdict["kind"], tuple(verdict["features"])


def causes_of(diagnosis: Diagnosis) -> list[tuple[str, tuple[str, ...]]]:
    """Return kind and columns of all causes of a diagnosis, the first one first."""
    return [cause_of(each) for each in (diagnosis.verdict, *diagnosis.verdict.get("others", ()))]


def are_alike(one: tuple[str, tuple[str, ...]], other: tuple[str, tuple[str, ...]]) -> bool:
    """Whether two causes are of one kind, with a column in common where they have any."""
    columns = set(one[1]), set(other[1])
    return one[0] == other[0] and (bool(columns[0] & columns[1]) or not any(columns))
