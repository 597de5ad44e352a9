"""Reads the config of an endpoint from a request: served entities, traffic split. Pure.

Field names and defaults follow the Databricks serving API, both its spellings: `served_entities` with
`entity_name`, and the older `served_models` with `model_name`. All problems are told in one message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from tallystick.control.capture import folder_problem, prefix_problem
from tallystick.control.fields import Fields, as_integer, shown
from tallystick.control.model_sources import source_problem
from tallystick.control.worker_options import parse_options
from tallystick.entities import (
    NAME_PATTERN,
    SLOTS,
    WORKLOAD_SIZES,
    Route,
    ServedEntity,
    ServedEntityId,
    default_entity_name,
)
from tallystick.errors import NotImplementedHere

#: Limits of the Databricks API.
MAX_SERVED_ENTITIES = 15
MAX_ENVIRONMENT_VARS = 30
MAX_CONCURRENCY = 1024

#: GPU types are taken as wishes: a worker sees the devices that the server's process sees.
WORKLOAD_TYPES = (
    "CPU", "CPU_MEDIUM", "CPU_LARGE", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE", "GPU_XLARGE", "GPU_XLARGE_8",
    "MULTIGPU_MEDIUM",
)  # fmt: skip

SECRET_REFERENCE = re.compile(r"\{\{\s*secrets/([\w.@-]{1,128})/([\w.@-]{1,128})\s*\}\}", re.ASCII)

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_ELSEWHERE = {
    "external_model": "External models",
    "foundation_model": "Foundation models",
    "provisioned_model_units": "Provisioned throughput",
    "min_provisioned_throughput": "Provisioned throughput",
    "max_provisioned_throughput": "Provisioned throughput",
}


@dataclass(frozen=True, slots=True)
class RequestedConfig:
    """A config as asked for: its served entities have no id, creator and time yet."""

    served_entities: tuple[ServedEntity, ...]
    routes: tuple[Route, ...]
    auto_capture: dict[str, Any] | None = None
    #: Names of served entities whose model is to be fetched though nothing of them changed.
    fetch_anew: frozenset[str] = frozenset()


def has_config(fields: Fields) -> bool:
    """Whether an object says anything of a config; databricks-sdk sends one with nothing but a name in it."""
    return any(fields.values.get(key) for key in ("served_entities", "served_models", "traffic_config"))


def parse_config(fields: Fields) -> RequestedConfig:
    """Return the config in an object; problems go to the list of `fields`, for the caller to raise.

    Raises NotImplementedHere for kinds of entities that this server does not serve.
    """
    given = {key: fields.objects(key) for key in ("served_entities", "served_models") if fields.items(key)}
    entities = _parse_entities(fields, given)
    routes = _parse_routes(fields.inner("traffic_config"), entities)
    flags = [item.flag("fetch_anew") for item in next(iter(given.values()), [])]
    anew = frozenset(entity.name for entity, flag in zip(entities, flags, strict=True) if flag)
    return RequestedConfig(entities, routes, _parse_auto_capture(fields), anew)


def _parse_entities(fields: Fields, given: Mapping[str, list[Fields]]) -> tuple[ServedEntity, ...]:
    spellings = list(given)
    parsed = [tuple(map(_parse_entity, items)) for items in given.values()]
    if not parsed:
        fields.wrong("served_entities", "is missing: give at least one")
        return ()
    # An answer that is sent back has both, alike. If they differ, one was edited and we cannot know which.
    if len(parsed) == 2 and parsed[0] != parsed[1]:
        fields.wrong("served_models", "differs from served_entities; give one of the two")
    entities = parsed[0]
    if len(entities) > MAX_SERVED_ENTITIES:
        fields.wrong(spellings[0], f"has {len(entities)} entries; at most {MAX_SERVED_ENTITIES} are allowed")
    for name, count in Counter(entity.name for entity in entities).items():
        if count > 1:
            fields.wrong(spellings[0], f"the name '{name}' is given {count} times; give each a name of its own")
    return entities


def _parse_entity(fields: Fields) -> ServedEntity:
    for key, what in _ELSEWHERE.items():
        if fields.has(key):
            raise NotImplementedHere(f"{what} are not served here ({fields.path(key)}); MLflow models are.")
    key = "entity_name" if fields.has("entity_name") else "model_name"
    if not fields.has(key):
        key = "entity_name"
    entity_name = fields.required_text(key).strip()
    version = _parse_version(fields)
    if entity_name and (problem := source_problem(entity_name, version)):
        fields.wrong(key, problem)
    name = fields.text("name") or default_entity_name(entity_name, version)
    if not NAME_PATTERN.fullmatch(name):
        fields.wrong("name", name_problem(name))
    scale_to_zero = bool(fields.flag("scale_to_zero_enabled"))
    size, lowest, highest = _parse_concurrency(fields, scale_to_zero)
    variables = _parse_variables(fields)
    options, problems = parse_options(variables)
    fields.problems.extend(f"{fields.path('environment_vars')}.{problem}" for problem in problems)
    return ServedEntity(
        id=ServedEntityId(""),
        name=name,
        entity_name=entity_name,
        entity_version=version,
        min_concurrency=lowest,
        max_concurrency=highest,
        workload_size=size,
        workload_type=fields.one_of("workload_type", WORKLOAD_TYPES, "CPU"),
        scale_to_zero_enabled=scale_to_zero,
        environment_vars=variables,
        options=options,
    )


def _parse_version(fields: Fields) -> str | None:
    key = "entity_version" if fields.has("entity_version") else "model_version"
    if not fields.has(key):
        return None
    # A string by the API; a number is what people write. databricks-sdk sends "" for "none" in the older form.
    number = as_integer(fields.values[key]) if not isinstance(fields.values[key], str) else None
    return str(number) if number is not None else fields.text(key).strip() or None


def _parse_concurrency(fields: Fields, scale_to_zero: bool) -> tuple[str | None, int, int]:
    lowest = fields.integer("min_provisioned_concurrency", 0, MAX_CONCURRENCY)
    highest = fields.integer("max_provisioned_concurrency", 1, MAX_CONCURRENCY)
    is_by_number = fields.has("min_provisioned_concurrency") or fields.has("max_provisioned_concurrency")
    if is_by_number and fields.has("workload_size"):
        fields.wrong("workload_size", "give it or min_/max_provisioned_concurrency, not both")
    if not is_by_number:
        size = fields.one_of("workload_size", tuple(WORKLOAD_SIZES), "Small")
        low, high = WORKLOAD_SIZES[size]
        return size, 0 if scale_to_zero else low, high
    if highest is None:
        highest = max(lowest or 0, WORKLOAD_SIZES["Small"][1])
    if lowest is None:
        lowest = min(highest, WORKLOAD_SIZES["Small"][0])
    if lowest > highest:
        fields.wrong("min_provisioned_concurrency", f"{lowest} is above max_provisioned_concurrency {highest}")
    return None, lowest, highest


def _parse_variables(fields: Fields) -> dict[str, str]:
    inner = fields.inner("environment_vars")
    if len(inner.values) > MAX_ENVIRONMENT_VARS:
        count = len(inner.values)
        fields.wrong("environment_vars", f"has {count} variables; at most {MAX_ENVIRONMENT_VARS} are allowed")
    found = {}
    for name in inner.values:
        if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
            inner.wrong(str(name)[:64], "not a name of an environment variable (letters, digits and '_')")
            continue
        number = as_integer(inner.values[name]) if not isinstance(inner.values[name], str) else None
        value = str(number) if number is not None else inner.text(name)
        if "{{secrets/" in value.replace(" ", "") and not SECRET_REFERENCE.fullmatch(value.strip()):
            inner.wrong(name, "a secret is the whole value: '{{secrets/<scope>/<key>}}'")
        found[name] = value
    return found


def _parse_routes(fields: Fields, entities: tuple[ServedEntity, ...]) -> tuple[Route, ...]:
    names = [entity.name for entity in entities]
    # databricks-sdk drops an empty list, so that `{}` says as little as nothing.
    if not fields.has("routes"):
        if len(names) > 1:
            fields.problems.append(
                f"{fields.where}: is missing; with several served entities it has to say who gets what"
            )
        return tuple(Route(name, SLOTS) for name in names[:1])
    routes = tuple(route for item in fields.objects("routes") if (route := _parse_route(item, names)) is not None)
    for name, count in Counter(route.served_entity_name for route in routes).items():
        if count > 1:
            fields.wrong("routes", f"'{name}' has {count} routes; give it one")
    unrouted = [name for name in dict.fromkeys(names) if name not in {route.served_entity_name for route in routes}]
    if unrouted and len(routes) == len(fields.items("routes")):
        listed = ", ".join(f"'{name}'" for name in unrouted)
        fields.wrong("routes", f"no route for {listed}; every served entity needs one (traffic_percentage 0 is one)")
    total = sum(route.share_slots for route in routes)
    if total != SLOTS and not unrouted and len(routes) == len(fields.items("routes")):
        fields.wrong("routes", f"traffic_percentage sums to {percentage(total)}; it has to be 100")
    return routes


def _parse_route(fields: Fields, names: list[str]) -> Route | None:
    key = "served_entity_name" if fields.has("served_entity_name") else "served_model_name"
    if not fields.has(key):
        fields.wrong("served_entity_name", "is missing")
        return None
    name = fields.text(key)
    slots = parse_percentage(fields.values.get("traffic_percentage"))
    if name not in names:
        fields.wrong(key, f"no served entity is named '{name[:64]}'; there are {', '.join(names) or 'none'}")
        return None
    if slots is None:
        given = fields.values.get("traffic_percentage")
        fields.wrong(
            "traffic_percentage",
            "is missing" if given is None else f"expected 0 to 100 with at most 2 decimals, got {shown(given)}",
        )
        return None
    return Route(name, slots)


def parse_percentage(value: object) -> int | None:
    """Return a percentage in slots of 0.01 %, or None when it is none, or is finer than a slot.

    >>> parse_percentage("90"), parse_percentage(33.33), parse_percentage(0.001)
    (9000, 3333, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 24:
        return None
    try:
        exact = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not exact.is_finite() or not 0 <= exact <= 100:
        return None
    slots = exact * (SLOTS // 100)
    return int(slots) if slots == slots.to_integral_value() else None


def percentage(slots: int) -> int | float:
    """Return slots as a percentage: an integer where it is one, as Databricks' clients expect.

    >>> percentage(9000), percentage(3333)
    (90, 33.33)
    """
    return slots // 100 if slots % 100 == 0 else slots / 100


def parse_table_names(fields: Fields) -> dict[str, Any]:
    """Return which parts of an inference table's name are given; they are to be names of folders."""
    checks = {"catalog_name": folder_problem, "schema_name": folder_problem, "table_name_prefix": prefix_problem}
    found: dict[str, Any] = {key: fields.text(key) for key in checks if fields.has(key)}
    for key, part in found.items():
        if part and (problem := checks[key](part)):
            fields.wrong(key, problem)
    return found


def name_problem(name: str) -> str:
    """Return what is wrong with a name that does not match NAME_PATTERN."""
    return f"'{name[:80]}' is not a name: 1 to 63 letters, digits, '-' and '_', the first a letter or digit"


def _parse_auto_capture(fields: Fields) -> dict[str, Any] | None:
    if not fields.has("auto_capture_config"):
        return None
    inner = fields.inner("auto_capture_config")
    found = parse_table_names(inner)
    enabled = inner.flag("enabled")
    return found if enabled is None else found | {"enabled": enabled}
