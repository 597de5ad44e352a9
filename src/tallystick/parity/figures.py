"""Figures of a report: a card for each affected column, the scores, and small pictures of all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity import compared
from tallystick.parity.charts import (
    Bars,
    company_chart,
    day_chart,
    histogram,
    legend,
    level_bars,
    quantile_plot,
    small_bars,
)
from tallystick.parity.columns import Floats, Role
from tallystick.parity.company import company
from tallystick.parity.compared import Compared, missing_share
from tallystick.parity.distribution import quantiles_of
from tallystick.parity.joint import Values
from tallystick.parity.live import Live
from tallystick.parity.markup import Safe, join, tag
from tallystick.parity.parameters import count, percent
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.scales import linear, scale_for
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.yardsticks import ks_bound, ks_distance

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Marks of a quantile plot; more would hide each other.
MOST_MARKS = 60
#: Values of a column of numbers up to which each is a bar.
FEW_VALUES = 12
SCORE_BINS = 25
#: Levels in a small picture.
SMALL_LEVELS = 8
#: Parts of rows between which those that were affected are drawn by themselves.
PARTLY = (0.02, 0.98)

_WORDS = {"training": "training", "sent": "as sent", "undone": "after undoing"}
#: Kinds that put one value in place of others.
_FILLS = frozenset({"default_fill", "constant"})
_NOT_UNDONE = "What should have stood there is not known, so it is not undone."
_MISSING_KINDS = frozenset({"nulls", "feature_absent"})


def column_card(column: Compared, kind: str, transformation: Mapping[str, Any]) -> Safe:
    """Return the figure of one affected column, with a caption that says in numbers what it shows."""
    own = (transformation.get("each") or {}).get(column.profile.name, transformation)
    chart, states, note = _chart(column, kind, own.get("value"))
    key = legend([(state, words) for state, words in states]) if states else None
    profile = column.profile
    what = f"{profile.role} \N{MIDDLE DOT} {profile.dtype}" + (
        "" if column.is_raw else f" \N{MIDDLE DOT} privacy {profile.privacy}"
    )
    return tag(
        "figure",
        tag("h3", tag("span", profile.name, class_="name"), " ", tag("small", what)),
        key,
        chart,
        tag("figcaption", " ".join(part for part in (_caption(column), note) if part)),
        class_="card",
    )


def _chart(column: Compared, kind: str, given: Any) -> tuple[Safe | None, list[tuple[str, str]], str]:
    """Return the chart that fits a column, the states in it with their words, and a note."""
    profile, title = column.profile, f"{column.profile.name}: training against live rows"
    states = [("training", "training")] + [
        (name, _WORDS[name]) for name in ("sent", "undone") if _of(column, name) is not None
    ]
    if column.sent is None:
        return None, [], "The column is not sent."
    if not len(column.sent) or missing_share(column.sent) == 1.0:
        kind = "nulls"
    if profile.privacy == "none":
        return None, [], "Privacy keeps nothing of this column: it is not compared."
    if profile.role is Role.TEXT:
        return None, [], "Free text is compared by its habits, not by its levels: there is nothing to draw."
    if kind in _MISSING_KINDS:
        labels, shares = _presence(profile, _states(column))
    elif kind in _FILLS and column.is_raw and given is not None and column.sent is not None:
        labels, shares = compared.kept_shares(profile, given, [column.sent])
        return level_bars(f"{title}, share of rows", labels, _bars(column, shares)), states[:2], _NOT_UNDONE
    elif column.forms:
        labels, shares = _form_shares(column)
    elif profile.role is Role.LEVEL:
        labels, shares = compared.level_shares(profile, _states(column))
    elif not column.is_raw:
        labels, shares = compared.range_shares(profile, _states(column))
    elif (profile.role is Role.TIME and kind == "time_zone") or compared.counts_hours(profile):
        return (
            day_chart(f"{title}, by hour of the day", _bars(column, compared.hour_shares(profile, _states(column)))),
            states,
            "",
        )
    elif profile.numbers is not None and profile.numbers.is_lattice and len(profile.numbers.lattice) <= FEW_VALUES:
        labels, shares = compared.value_shares(profile, _states(column))
    else:
        return _quantiles(column, title)
    return level_bars(f"{title}, share of rows", labels, _bars(column, shares)), states, ""


def _of(column: Compared, state: str) -> Values | None:
    return column.sent if state == "sent" else column.undone


def _states(column: Compared) -> list[Values | None]:
    return [values for values in (column.sent, column.undone) if values is not None]


def _bars(column: Compared, shares: Sequence[Floats]) -> list[Bars]:
    names = ["training"] + [name for name in ("sent", "undone") if _of(column, name) is not None]
    return [Bars(name, part) for name, part in zip(names, shares, strict=True)]


def _presence(profile: ColumnProfile, states: Sequence[Values | None]) -> tuple[list[str], list[Floats]]:
    missing = [profile.null_share, *(missing_share(values) for values in states)]
    return ["has a value", "missing"], [np.array([1 - share, share]) for share in missing]


def _form_shares(column: Compared) -> tuple[list[str], list[Floats]]:
    labels = ["number", *(name for name in column.forms if name != "number")]
    missing = column.profile.null_share
    if missing and "missing" not in labels:
        labels.append("missing")
    plain = {"number": 1 - missing, "missing": missing}
    rows = [plain, *([column.forms] if column.sent is not None else [])]
    if column.undone is not None:
        gone = missing_share(column.undone)
        rows.append({"number": 1 - gone, "missing": gone})
    return labels, [np.array([row.get(label, 0.0) for label in labels]) for row in rows]


def _quantiles(column: Compared, title: str) -> tuple[Safe, list[tuple[str, str]], str]:
    profile = column.profile
    numbers = profile.numbers
    assert numbers is not None
    sent = _known(column.sent)
    words, note = "as sent", ""
    if column.changed is not None and column.sent is not None:
        part = float(column.changed.mean())
        if PARTLY[0] < part < PARTLY[1] and column.changed.sum() > 1:
            sent = _known(np.asarray(column.sent, dtype=np.float64)[column.changed])
            words = f"as sent, {count(len(sent), 'affected row')}"
            rest = count(int((~column.changed).sum()), "other row")
            note = f"Undoing leaves {rest} as they were sent."
    series, states = [], [("training", "training: the diagonal")]
    for state, values, said in (("sent", sent, words), ("undone", _known(column.undone), "after undoing, all rows")):
        if len(values):
            ranks = (np.arange(min(MOST_MARKS, len(values))) + 0.5) / min(MOST_MARKS, len(values))
            series.append((state, quantiles_of(numbers, ranks), np.quantile(values, ranks)))
            states.append((state, said if state == "sent" or words != "as sent" else "after undoing"))
    others = np.concatenate([live for _, _, live in series]) if series else np.zeros(0)
    scale = scale_for(numbers.grid, others, profile.role is Role.TIME)
    axes = "" if scale.name == "linear" else f"Both axes are {scale.name}."
    return quantile_plot(f"{title}, quantiles", scale, series), states, " ".join(part for part in (note, axes) if part)


def _known(values: Values | None) -> Floats:
    if values is None:
        return np.zeros(0)
    given = np.asarray(values, dtype=np.float64)
    return np.sort(given[np.isfinite(given)])


def _caption(column: Compared) -> str:
    """Return distances to training, and what is missing, as sent and after undoing."""
    profile = column.profile
    parts = []
    if profile.privacy == "none" or not _states(column):
        return ""
    if profile.numbers is not None and profile.privacy == "raw" and not column.forms:
        told = [f"{ks_distance(profile.numbers, _known(values)):.2f} {words}" for values, words in _told(column)]
        bound = ks_bound(profile.numbers, max(len(_known(values)) for values, _ in _told(column)))
        parts.append(f"KS distance to training: {', '.join(told)}; a fair sample stays under {bound:.2f}.")
    missing = [(missing_share(values), words) for values, words in _told(column)]
    if any(abs(share - profile.null_share) > 0.005 for share, _ in missing):
        told = [f"{percent(share)} {words}" for share, words in missing]
        parts.append(f"Missing: {percent(profile.null_share)} in training, {', '.join(told)}.")
    return " ".join(parts)


def _told(column: Compared) -> list[tuple[Values, str]]:
    return [(values, _WORDS[name]) for name in ("sent", "undone") if (values := _of(column, name)) is not None]


def company_card(column: int, sent: Live, undone: Live | None) -> Safe | None:
    """Return what a partner says of a column, for causes that leave its distribution as it was."""
    states = (sent,) if undone is None else (sent, undone)
    found = company(column, states)
    if found is None:
        return None
    names = [("training", "training"), ("sent", "as sent"), ("undone", "after undoing")][: len(states) + 1]
    bars = [Bars(name, line) for (name, _), line in zip(names, (found.trained, *found.live), strict=True)]
    name = sent.reference.names[column]
    chart = company_chart(f"{found.partner} by {name}", name, f"rank of {found.partner}", found.labels, bars)
    heading = tag(
        "h3", tag("span", f"{found.partner} by {name}", class_="name"), " ", tag("small", "mean rank, by training")
    )
    caption = f"Rows whose {name} is right keep to the grey line: in training, {found.partner} goes with it like that."
    return tag("figure", heading, legend(names), chart, tag("figcaption", caption), class_="card")


def scores_card(reference: Reference, sent: Floats | None, undone: Floats | None) -> Safe | None:
    """Return the distribution of predictions in training, for rows as sent, and with the cause undone."""
    score = reference.score
    if score is None or score.numbers is None:
        return None
    numbers = score.numbers
    both = (("sent", sent), ("undone", undone))
    given = [(name, values) for name, values in both if values is not None and np.isfinite(values).any()]
    if not given:
        return None
    states = [("training", "training"), *((name, _WORDS[name]) for name, _ in given)]
    told = ", ".join(f"{ks_distance(numbers, _known(values)):.2f} {_WORDS[name]}" for name, values in given)
    bound = ks_bound(numbers, max(len(values) for _, values in given))
    if numbers.is_lattice and len(numbers.lattice) <= FEW_VALUES:
        labels, shares = compared.value_shares(score, [values for _, values in given])
        chart = level_bars(
            "Predictions, share of rows", labels, [Bars(n, s) for (n, _), s in zip(states, shares, strict=True)]
        )
    else:
        everything = np.concatenate([numbers.grid, *(_known(values) for _, values in given)])
        low, high = np.quantile(everything, (0.002, 0.998)) if len(everything) else (0.0, 1.0)
        edges = np.linspace(float(low), float(high) if high > low else float(low) + 1.0, SCORE_BINS + 1)
        shares = compared.bin_shares(score, edges, [values for _, values in given])
        bars = [Bars(name, part) for (name, _), part in zip(states, shares, strict=True)]
        chart = histogram("Distribution of predictions", linear(edges[0], edges[-1], 0.0), edges, bars)
    caption = f"KS distance to training's predictions: {told}; a fair sample stays under {bound:.2f}."
    heading = tag("h3", "predictions ", tag("small", "of the model, for the same rows"))
    return tag("figure", heading, legend(states), chart, tag("figcaption", caption), class_="card")


def small_multiples(
    reference: Reference, live: pd.DataFrame, chosen: Sequence[int], parts: Sequence[ColumnScreen]
) -> Safe:
    """Return small pictures of columns, each with whether it is as in training by the screen of the diagnosis."""
    cards = []
    for j in chosen:
        profile, part = reference.columns[j], parts[j]
        series = live[profile.name] if profile.name in live.columns else None
        values = None if series is None else compared.read_as_sent(reference, profile, series)
        cards.append(_small(profile, values, part))
    return tag("div", join(cards), class_="multiples")


def _small(profile: ColumnProfile, values: Values | None, part: ColumnScreen) -> Safe:
    name = tag("span", profile.name, class_="name", title=profile.name)
    if values is None or profile.privacy == "none":
        said = "not sent" if values is None else "not compared"
        return tag("figure", tag("figcaption", name, tag("span", said, class_="mark none")), class_="small")
    mark = (
        tag("span", "\N{MULTIPLICATION SIGN} differs", class_="mark bad")
        if part.is_flagged
        else tag("span", "\N{CHECK MARK} as trained", class_="mark good")
    )
    return tag("figure", tag("figcaption", name, mark), _small_chart(profile, values), class_="small")


def _small_chart(profile: ColumnProfile, values: Values) -> Safe | None:
    title = f"{profile.name}: training and live rows"
    if profile.role is Role.TEXT:
        return None
    if profile.levels is not None:
        _, shares = compared.level_shares(profile, [values])
        return small_bars(title, _two([part[:SMALL_LEVELS] for part in shares]))
    numbers = profile.numbers
    assert numbers is not None
    if profile.privacy != "raw":
        return small_bars(title, _two(compared.range_shares(profile, [values])[1]))
    if numbers.is_lattice and len(numbers.lattice) <= 2 * FEW_VALUES:
        return small_bars(title, _two(compared.value_shares(profile, [values])[1]))
    known = _known(values)
    low, high = quantiles_of(numbers, np.array([0.005, 0.995]))
    if len(known):
        low, high = min(low, np.quantile(known, 0.02)), max(high, np.quantile(known, 0.98))
    edges = np.linspace(low, high if high > low else low + 1.0, compared.BINS + 1)
    return histogram(
        title, linear(low, edges[-1], 0.0), edges, _two(compared.bin_shares(profile, edges, [values])), is_small=True
    )


def _two(shares: Sequence[Floats]) -> list[Bars]:
    return [Bars("training", shares[0]), Bars("sent", shares[1])]
