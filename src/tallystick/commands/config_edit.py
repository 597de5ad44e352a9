"""From an endpoint's config and a wish to its next config: add a model, move traffic, drop a model. Pure.

A config is replaced as a whole, so the next one is made from the present one as the API tells it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from tallystick.entities import default_entity_name
from tallystick.errors import InvalidParameter

Json = dict[str, Any]

_HUNDRED = Decimal(100)
_STEP = Decimal("0.01")
#: What of a served entity's output is input; the rest (id, creator, state) is the server's to say.
_ENTITY_FIELDS = (
    "name",
    "entity_name",
    "entity_version",
    "workload_size",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "workload_type",
    "scale_to_zero_enabled",
    "environment_vars",
)
_REGISTERED_URI = re.compile(r"models:/([^/:@]+)/([1-9]\d*)")
_UNVERSIONED_URI = re.compile(r"models:/([^/:@]+)/?")
_REGISTERED = re.compile(r"([^/:@]+)/([1-9]\d*)")
_ALIAS = re.compile(r"[^/:@]+@[^/:@]+")
_NAME = re.compile(r"[^/:@]+")


class BadUsage(InvalidParameter):
    """What was typed cannot be meant; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a config names it."""

    entity_name: str
    entity_version: str | None = None

    @property
    def default_name(self) -> str:
        """The name of its served entity when none is given."""
        return default_entity_name(self.entity_name, self.entity_version)


def parse_model(
    text: str, version: str | None = None, *, is_model: Callable[[str], bool], absolute: Callable[[str], str]
) -> Model:
    """Return the model that was typed: a registry version, an alias, a URI, a folder or a .py file.

    `is_model` tells whether a path is a model folder or Python file here; `absolute` makes a path absolute. Raises
    BadUsage.
    """
    text = text.removeprefix("file://") if text.startswith("file:///") else text
    looks_like_path = text.startswith(("/", "./", "../", "~")) or text in (".", "..")
    if version is None and (looks_like_path or is_model(text) or text.endswith(".py")):
        return Model(absolute(text))
    for pattern in (_REGISTERED_URI, _REGISTERED):
        if found := pattern.fullmatch(text):
            if version not in (None, found[2]):
                raise BadUsage(f"'{text}' is version {found[2]}, and --version says {version}. Give one of the two.")
            return Model(found[1], found[2])
    if version is not None:
        name = text.removeprefix("models:/")
        if not _NAME.fullmatch(name):
            raise BadUsage(f"--version goes with the name of a registered model, as in 'churn'; got '{text}'.")
        return Model(name, version)
    if (found := _UNVERSIONED_URI.fullmatch(text)) and not found[1].startswith("m-"):
        # MLflow would take it for the id of a logged model, which begin so.
        raise BadUsage(f"Which version of '{found[1]}'? Say models:/{found[1]}/1 or models:/{found[1]}@champion.")
    if ":/" in text:
        return Model(text)
    if _ALIAS.fullmatch(text):
        return Model(f"models:/{text}")
    if _NAME.fullmatch(text):
        raise BadUsage(f"Which version of '{text}'? Say {text}/1, {text}@champion, or --version 1.")
    raise BadUsage(
        f"'{text}' is no model: there is no such folder or .py file, and it is none of models:/churn/3, churn/3, "
        "models:/churn@champion, runs:/<run id>/model."
    )


def served_entities(config: Mapping[str, Any]) -> list[Json]:
    """Return a config's served entities as input."""
    entities = config.get("served_entities") or []
    return [{key: entity[key] for key in _ENTITY_FIELDS if key in entity} for entity in entities]


def shares(config: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return the traffic percentage of each served entity of a config, in its order."""
    given = {
        route.get("served_entity_name") or route.get("served_model_name"): Decimal(str(route["traffic_percentage"]))
        for route in config.get("traffic_config", {}).get("routes", [])
    }
    return {entity["name"]: given.get(entity["name"], Decimal(0)) for entity in config.get("served_entities") or []}


def with_model(config: Mapping[str, Any], entity: Json, *, share: Decimal | None = None, replace: bool = False) -> Json:
    """Return the config with one more served entity, or with the one of its name replaced.

    The share of a new one is 0, that of a replaced one as it was; with `share` the others keep their proportions in
    the rest. An entity that is the only one, or that is to `replace` all others, gets everything.
    """
    present = served_entities(config)
    others = [] if replace else [each for each in present if each["name"] != entity["name"]]
    if not others:
        if share not in (None, _HUNDRED):
            raise BadUsage(f"'{entity['name']}' is alone, so it gets 100 %; leave --traffic out.")
        return _body(config, [entity], {entity["name"]: _HUNDRED})
    before = shares(config)
    if share is None:
        new = before | {entity["name"]: before.get(entity["name"], Decimal(0))}
    else:
        rest = {each["name"]: before[each["name"]] for each in others}
        new = _scaled(rest, _HUNDRED - share) | {entity["name"]: share}
    is_present = any(each["name"] == entity["name"] for each in present)
    entities = [entity if each["name"] == entity["name"] else each for each in present]
    return _body(config, entities if is_present else [*entities, entity], new)


def without_model(config: Mapping[str, Any], name: str) -> Json:
    """Return the config without a served entity that gets no traffic. Raises BadUsage when it gets some."""
    now = shares(config)
    if now.get(name):
        raise BadUsage(f"'{name}' gets {show(now[name])} % of the traffic; move it to others first.")
    rest = [entity for entity in served_entities(config) if entity["name"] != name]
    return _body(config, rest, {each: share for each, share in now.items() if each != name})


def with_shares(config: Mapping[str, Any], new: Mapping[str, Decimal]) -> Json:
    """Return the config with another traffic split."""
    return _body(config, served_entities(config), new)


def parse_split(words: Sequence[str], config: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return the share of every served entity of `config`, from words such as ``3=90``.

    The key is a served entity's name, its version, or the beginning or last part of its name, as long as one only
    is meant. Who is not named gets 0; if the sum leaves something and one only is not named, that one gets it.
    Raises BadUsage.
    """
    names = list(shares(config))
    given: dict[str, Decimal] = {}
    for word in words:
        key, equals, percent = word.rpartition("=")
        if not equals or not key:
            raise BadUsage(f"'{word}' is not of the form KEY=PERCENT, as in 3=90.")
        name = find_entity(config, key)
        if name in given:
            raise BadUsage(f"'{name}' is given twice.")
        given[name] = parse_percent(percent)
    total = sum(given.values(), Decimal(0))
    unnamed = [name for name in names if name not in given]
    if total < _HUNDRED and len(unnamed) == 1:
        given[unnamed[0]] = _HUNDRED - total
    elif total != _HUNDRED:
        left = f"Nobody gets the other {show(_HUNDRED - total)} %." if total < _HUNDRED else "Together they are 100."
        raise BadUsage(f"The shares add up to {show(total)} %, not to 100. {left} {_listed(config)}")
    return {name: given.get(name, Decimal(0)) for name in names}


def find_entity(config: Mapping[str, Any], key: str) -> str:
    """Return the name of the one served entity that `key` means. Raises BadUsage when that is none, or several."""
    entities = config.get("served_entities") or []
    names = [entity["name"] for entity in entities]
    if key in names:
        return key
    tests: tuple[Callable[[Json], bool], ...] = (
        lambda entity: entity.get("entity_version") == key.removeprefix("v"),
        lambda entity: entity["name"].endswith(f"-{key}"),
        lambda entity: entity["name"].startswith(key),
    )
    for test in tests:
        found = [entity["name"] for entity in entities if test(entity)]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise BadUsage(f"'{key}' may be {' or '.join(found)}; write the name out.")
    raise BadUsage(f"No served entity is called '{key}'. {_listed(config)}")


def parse_percent(text: str) -> Decimal:
    """Return a percentage of at most 2 decimals, exactly. Raises BadUsage.

    >>> parse_percent("33.33"), parse_percent("10%")
    (Decimal('33.33'), Decimal('10'))
    """
    try:
        value = Decimal(text.strip().removesuffix("%"))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= _HUNDRED or value != value.quantize(_STEP):
        raise BadUsage(f"'{text}' is not a percentage: a number from 0 to 100 with at most 2 decimals.")
    return value


def show(share: Decimal) -> str:
    """Return a percentage as short as it is exact.

    >>> show(Decimal("90.00")), show(Decimal("33.30"))
    ('90', '33.3')
    """
    text = f"{share:.2f}"
    return text.rstrip("0").rstrip(".")


def _scaled(rest: Mapping[str, Decimal], total: Decimal) -> dict[str, Decimal]:
    """Return shares in the same proportions that sum to `total`, in steps of 0.01, by largest remainders."""
    before = sum(rest.values(), Decimal(0))
    if not before:
        if not total:
            return dict(rest)
        raise BadUsage(
            f"The others have no traffic to keep in proportion, so it is open who gets the {show(total)} %. "
            "Leave --traffic out, then use 'tallystick split'."
        )
    exact = {name: share * total / before for name, share in rest.items()}
    floor = {name: share.quantize(_STEP, rounding="ROUND_FLOOR") for name, share in exact.items()}
    missing = int((total - sum(floor.values(), Decimal(0))) / _STEP)
    for name in sorted(exact, key=lambda name: floor[name] - exact[name])[:missing]:
        floor[name] += _STEP
    return floor


def _listed(config: Mapping[str, Any]) -> str:
    # Without a split nothing is known of shares: none of them is 0 for that.
    split = config.get("traffic_config")
    found = [f"{name} ({show(share)} %)" if split else name for name, share in shares(config).items()]
    return f"There are {', '.join(found)}." if found else "There are none."


def _body(config: Mapping[str, Any], entities: list[Json], new: Mapping[str, Decimal]) -> Json:
    routes = [
        {"served_entity_name": entity["name"], "traffic_percentage": _number(new[entity["name"]])}
        for entity in entities
    ]
    body: Json = {"served_entities": entities, "traffic_config": {"routes": routes}}
    if "auto_capture_config" in config:
        body["auto_capture_config"] = config["auto_capture_config"]
    return body


def _number(share: Decimal) -> int | float:
    return int(share) if share == share.to_integral_value() else float(share)
