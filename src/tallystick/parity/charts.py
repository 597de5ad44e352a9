"""Charts as inline SVG: no script, no outside resource; colours come from the page's classes, so that both themes work.

Three states have one look throughout: training (grey: line or area), as sent (orange, hollow), after undoing (blue,
filled). Shape tells them apart where colour does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.markup import Safe, join, tag
from tallystick.parity.scales import Scale, linear

#: State -> class of its marks.
STATES: Mapping[str, str] = {"training": "t", "sent": "s", "undone": "u"}
LONGEST_LABEL = 16


@dataclass(frozen=True)
class Bars:
    """Shares (0 to 1) of one state, a bar each."""

    state: str
    shares: Floats


def _picture(width: int, height: int, title: str, parts: Iterable[object]) -> Safe:
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=title,
        class_="chart",
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", class_: str | None = None) -> Safe:
    return tag("text", words, x=_n(x), y=_n(y), text_anchor=anchor, class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Safe:
    return tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=class_)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def quantile_plot(title: str, scale: Scale, series: Sequence[tuple[str, Floats, Floats]]) -> Safe:
    """Return a QQ plot: training's quantiles across, live ones up; on the diagonal they agree.

    `series` are state, training quantiles and live quantiles at the same ranks. Source: Wilk & Gnanadesikan 1968.
    """
    size, left, top = 230, 56, 8
    width, height = left + size + 20, top + size + 38

    def x(place: float) -> float:
        return left + size * min(1.0, max(0.0, place))

    def y(place: float) -> float:
        return top + size * (1 - min(1.0, max(0.0, place)))

    parts: list[object] = [tag("rect", x=left, y=top, width=size, height=size, class_="plot")]
    for value, label in scale.ticks:
        place = scale.at(value)
        parts += [
            _line(x(place), top, x(place), top + size, "grid"),
            _line(left, y(place), left + size, y(place), "grid"),
        ]
        parts += [_text(x(place), top + size + 14, label), _text(left - 6, y(place) + 3.5, label, "end")]
    parts.append(_line(left, top + size, left + size, top, "t diagonal"))
    for state, trained, live in series:
        across, up = scale.to_place(trained), scale.to_place(live)
        marks = [
            tag("circle", cx=_n(x(a)), cy=_n(y(b)), r="3" if state == "sent" else "2.3")
            for a, b in zip(across.tolist(), up.tolist(), strict=True)
        ]
        parts.append(tag("g", *marks, class_=f"dots {STATES[state]}"))
    parts.append(_text(left + size / 2, height - 6, "quantiles of training", class_="axis"))
    parts.append(
        tag(
            "text",
            "quantiles of live rows",
            transform=f"translate(11 {top + size // 2}) rotate(-90)",
            text_anchor="middle",
            class_="axis",
        )
    )
    return _picture(width, height, title, parts)


def level_bars(title: str, labels: Sequence[str], states: Sequence[Bars]) -> Safe:
    """Return horizontal bars: for each label one bar a state, with its share."""
    left, size, bar = 104, 160, 12
    row = bar * len(states) + 10
    width, height = left + size + 40, row * len(labels) + 6
    top = max(1e-9, max(float(state.shares.max(initial=0.0)) for state in states))
    parts: list[object] = []
    for k, label in enumerate(labels):
        y = 4 + k * row
        shown = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
        name = tag("text", tag("title", label), shown, x=left - 8, y=_n(y + (row - 10) / 2 + 4), text_anchor="end")
        parts.append(name)
        for i, state in enumerate(states):
            share = float(state.shares[k])
            length = size * share / top
            at = y + i * bar
            parts.append(
                tag(
                    "rect",
                    x=left,
                    y=_n(at + 0.5),
                    width=_n(max(length, 0.5 if share else 0)),
                    height=bar - 2,
                    class_=f"bar {STATES[state.state]}",
                )
            )
            parts.append(_text(left + length + 4, at + bar - 2.5, _percent(share), "start", "value"))
    parts.append(_line(left, 2, left, height - 2, "axis-line"))
    return _picture(width, height, title, parts)


def day_chart(title: str, states: Sequence[Bars]) -> Safe:
    """Return shares of the 24 hours of a day: training as bars, live rows as lines with marks."""
    left, size, tall, top = 32, 288, 190, 10
    width, height = left + size + 8, top + tall + 34
    highest = max(1e-9, max(float(state.shares.max(initial=0.0)) for state in states)) * 1.08
    slot = size / 24
    parts: list[object] = []
    scale = linear(0.0, highest, margin=0.0)
    for value, _ in scale.ticks:
        at = top + tall * (1 - scale.at(value))
        parts += [_line(left, at, left + size, at, "grid"), _text(left - 5, at + 3.5, _percent(value), "end")]
    for state in states:
        places = [top + tall * (1 - float(share) / highest) for share in state.shares]
        if state.state == "training":
            parts += [
                tag(
                    "rect",
                    x=_n(left + k * slot + 1),
                    y=_n(y),
                    width=_n(slot - 2),
                    height=_n(top + tall - y),
                    class_="bar t",
                )
                for k, y in enumerate(places)
            ]
            continue
        points = [(left + (k + 0.5) * slot, y) for k, y in enumerate(places)]
        marks = [tag("circle", cx=_n(a), cy=_n(b), r="2.4") for a, b in points]
        parts.append(tag("g", _path(points, None), *marks, class_=f"dots joined {STATES[state.state]}"))
    parts += [_text(left + (k + 0.5) * slot, top + tall + 14, str(k)) for k in range(0, 24, 3)]
    parts.append(_text(left + size / 2, height - 5, "hour of the day", class_="axis"))
    return _picture(width, height, title, parts)


def company_chart(title: str, across: str, up: str, labels: Sequence[str], states: Sequence[Bars]) -> Safe:
    """Return lines over the values of a column, NaN left out: training as a broad line, live rows as marks."""
    left, size, tall, top = 44, 276, 190, 10
    width, height = left + size + 8, top + tall + 36
    everything = np.concatenate([state.shares for state in states])
    everything = everything[np.isfinite(everything)]
    scale = linear(float(everything.min()), float(everything.max()), 0.06)
    slot = size / len(labels)
    parts: list[object] = []
    for value, _ in scale.ticks:
        at = top + tall * (1 - scale.at(value))
        parts += [_line(left, at, left + size, at, "grid"), _text(left - 5, at + 3.5, _percent(value), "end")]
    for state in states:
        places = top + tall * (1 - scale.to_place(state.shares))
        points = [(left + (k + 0.5) * slot, y) for k, y in enumerate(places.tolist()) if np.isfinite(y)]
        if state.state == "training":
            parts.append(_path(points, None, "line t") if points else None)
            continue
        marks = [tag("circle", cx=_n(a), cy=_n(b), r="2.6") for a, b in points]
        parts.append(
            tag("g", _path(points, None) if points else None, *marks, class_=f"dots joined {STATES[state.state]}")
        )
    every = max(1, len(labels) // 8)
    for k in range(0, len(labels), every):
        label = labels[k] if len(labels[k]) <= 8 else f"{labels[k][:7]}…"
        parts.append(_text(left + (k + 0.5) * slot, top + tall + 14, label))
    parts += [_text(left + size / 2, height - 5, across, class_="axis")]
    parts.append(
        tag(
            "text",
            up,
            transform=f"translate(9 {top + tall // 2}) rotate(-90)",
            text_anchor="middle",
            class_="axis",
        )
    )
    return _picture(width, height, title, parts)


def histogram(title: str, scale: Scale, edges: Floats, states: Sequence[Bars], is_small: bool = False) -> Safe:
    """Return shares between edges: training as an area, live rows as stepped lines. Small ones have no axis."""
    left, size, tall, top = (2, 176, 46, 3) if is_small else (10, 300, 190, 8)
    width, height = left * 2 + size, top + tall + (3 if is_small else 36)
    highest = max(1e-9, max(float(state.shares.max(initial=0.0)) for state in states)) * 1.05
    x = left + size * np.clip(scale.to_place(edges), 0.0, 1.0)
    parts: list[object] = [_line(left, top + tall, left + size, top + tall, "axis-line")]
    for state in states:
        y = top + tall * (1 - state.shares / highest)
        points = [(a, b) for k in range(len(y)) for a, b in ((x[k], y[k]), (x[k + 1], y[k]))]
        parts.append(_path(points, top + tall if state.state == "training" else None, f"step {STATES[state.state]}"))
    if not is_small:
        parts += [_text(left + size * scale.at(value), top + tall + 14, label) for value, label in scale.ticks]
        parts.append(_text(left + size / 2, height - 4, "prediction", class_="axis"))
    return _picture(width, height, title, parts)


def small_bars(title: str, states: Sequence[Bars]) -> Safe:
    """Return shares of a few levels as upright bars without labels: training wide, live rows narrow before it."""
    width, tall, top = 180, 46, 3
    count = max(len(state.shares) for state in states)
    slot = (width - 4) / max(1, count)
    highest = max(1e-9, max(float(state.shares.max(initial=0.0)) for state in states)) * 1.05
    parts: list[object] = [_line(2, top + tall, width - 2, top + tall, "axis-line")]
    for state in states:
        part = 0.8 if state.state == "training" else 0.3
        for k, share in enumerate(state.shares.tolist()):
            length = tall * share / highest
            parts.append(
                tag(
                    "rect",
                    x=_n(2 + k * slot + slot * (1 - part) / 2),
                    y=_n(top + tall - length),
                    width=_n(slot * part),
                    height=_n(length),
                    class_=f"bar {STATES[state.state]}",
                )
            )
    return _picture(width, top + tall + 3, title, parts)


def _path(points: Sequence[tuple[float, float]], floor: float | None, class_: str | None = None) -> Safe:
    """Return a path through points; with `floor`, the area down to it."""
    line = "L".join(f"{_n(a)} {_n(b)}" for a, b in points)
    if floor is None:
        return tag("path", d=f"M{line}", class_=class_)
    return tag("path", d=f"M{_n(points[0][0])} {_n(floor)}L{line}L{_n(points[-1][0])} {_n(floor)}Z", class_=class_)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if 0 < share < 0.0995 else f"{100 * share:.0f}%"


def legend(states: Sequence[tuple[str, str]]) -> Safe:
    """Return the key to the marks: state and its words, as in the chart."""
    return tag(
        "p",
        join(tag("span", tag("i", class_=f"key {STATES[state]}"), words, class_="entry") for state, words in states),
        class_="legend",
    )
