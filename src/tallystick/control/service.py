"""Every use case of endpoints: who may, is it valid, which state follows; then one transaction of the store.

REST, command line, web page and rollouts all come through here, each with the Principal that it acts for; the
reconciler comes without one, by the methods at the end. All methods block on the store: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tallystick.auth import Principal, StoredToken, level_of
from tallystick.control import lifecycle
from tallystick.control.capture import shared_table, tables_of
from tallystick.control.config_request import has_config, parse_config
from tallystick.control.fields import Fields, fields_of
from tallystick.control.journal import Tables
from tallystick.control.model_sources import is_local
from tallystick.control.object_requests import (
    parse_ai_gateway,
    parse_endpoint_name,
    parse_grants,
    parse_inference_table,
    parse_notifications,
    parse_rate_limits,
    parse_tags,
    parse_telemetry,
)
from tallystick.control.openapi_document import endpoint_openapi
from tallystick.control.parity import KEY as PARITY
from tallystick.control.parity import Parity, parse_parity
from tallystick.control.secret_box import SecretBox
from tallystick.control.secret_service import SecretService, references
from tallystick.control.store import ConfigStore, entity_ids_of
from tallystick.control.token_service import TokenService
from tallystick.entities import (
    Endpoint,
    EndpointId,
    EntityStatus,
    Grant,
    Level,
    ResolvedModel,
    ServedEntity,
    ServedEntityId,
)
from tallystick.errors import Conflict, InvalidParameter, NotFound, PermissionDenied


@dataclass(frozen=True, slots=True)
class Service:
    """The desired state, as its owners may see and change it.

    `on_change` is called after each change that was stored on a principal's behalf, in the thread that made it;
    it wakes the reconciler, and must neither block nor raise.
    """

    store: ConfigStore
    token_service: TokenService
    secret_service: SecretService
    now_ms: Callable[[], int]
    #: Gives ids that were never given before: 32 hex digits.
    new_id: Callable[[], str]
    on_change: Callable[[], None]
    tables: Tables = field(default_factory=Tables)
    parity: Parity = field(default_factory=Parity)

    def create_endpoint(self, caller: Principal, body: object) -> Endpoint:
        """Create an endpoint, and begin to deploy its config if it has one. Raises AlreadyExists."""
        if not caller.is_admin:
            raise PermissionDenied(f"Only admins may create endpoints, and {caller.name}'s token is not an admin's.")
        fields = fields_of(body)
        name, now_ms = parse_endpoint_name(fields), self.now_ms()
        endpoint = Endpoint(
            id=EndpointId(self.new_id()),
            name=name,
            creator=caller.name,
            creation_timestamp_ms=now_ms,
            last_updated_timestamp_ms=now_ms,
            description=fields.text("description"),
            tags=parse_tags(fields, "tags"),
            route_optimized=bool(fields.flag("route_optimized")),
            extras=_parse_extras(fields, name),
        )
        inner = fields.inner("config")
        requested = parse_config(inner) if has_config(inner) else None
        fields.refuse_if_wrong("The endpoint")
        if requested is not None:
            endpoint = lifecycle.with_update(endpoint, requested, caller.name, now_ms, self.new_id)
        _refuse_shared_table(endpoint, self.store.endpoints())
        self.store.add_endpoint(endpoint)
        self.on_change()
        return endpoint

    def list_endpoints(self, caller: Principal) -> list[Endpoint]:
        """Return the endpoints that the caller may see, by name."""
        return [endpoint for endpoint in self.store.endpoints() if level(caller, endpoint) >= Level.CAN_VIEW]

    def get_endpoint(self, caller: Principal, name: str, needed: Level = Level.CAN_VIEW) -> Endpoint:
        """Return an endpoint that the caller has `needed` on.

        Raises NotFound, in the same words whether there is none or the caller may not see it, and
        PermissionDenied when the caller may see it and not do this.
        """
        return _permitted(caller, self.store.endpoint_named(name), needed, _no_name(name))

    def get_endpoint_by_id(self, caller: Principal, key: str, needed: Level = Level.CAN_VIEW) -> Endpoint:
        """Return an endpoint as `get_endpoint` does, by id; by name too, as callers mistake one for the other."""
        found = self.store.endpoint(key) or self.store.endpoint_named(key)
        return _permitted(caller, found, needed, f"Endpoint with id '{key[:80]}' does not exist.")

    def update_config(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Begin to replace an endpoint's whole config. Raises Conflict while another update is under way."""
        self.get_endpoint(caller, name, Level.CAN_MANAGE)
        fields = fields_of(body)
        requested = parse_config(fields)
        fields.refuse_if_wrong("The config")
        now_ms = self.now_ms()

        def change(endpoint: Endpoint) -> Endpoint:
            _refuse_beyond_rights(caller, endpoint, requested.served_entities)
            return lifecycle.with_update(endpoint, requested, caller.name, now_ms, self.new_id)

        return self._change(caller, name, change)

    def delete_endpoint(self, caller: Principal, name: str) -> None:
        """Forget an endpoint and all that belongs to it."""
        found = self.get_endpoint(caller, name, Level.CAN_MANAGE)

        def check(endpoint: Endpoint) -> None:
            _permitted(caller, endpoint, Level.CAN_MANAGE, _no_name(name))

        try:
            self.store.delete_endpoint(found.id, check)
        except NotFound as error:
            raise NotFound(_no_name(name)) from error
        self.on_change()

    def stop(self, caller: Principal, name: str) -> Endpoint:
        """Stop an endpoint: it keeps its config and answers 400 until it is started."""
        now_ms = self.now_ms()
        return self._change(caller, name, lambda endpoint: lifecycle.stopped(endpoint, caller.name, now_ms))

    def start(self, caller: Principal, name: str) -> Endpoint:
        """Start a stopped endpoint: the same config is rolled out again, as a new version."""
        now_ms = self.now_ms()
        return self._change(caller, name, lambda endpoint: lifecycle.started(endpoint, now_ms))

    def patch_tags(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Set some tags, then delete some."""
        fields = fields_of(body)
        added, deleted = parse_tags(fields, "add_tags"), set(fields.texts("delete_tags"))

        def change(endpoint: Endpoint) -> Endpoint:
            fields.refuse_if_wrong("The change of tags")
            tags = endpoint.tags | added
            return replace(endpoint, tags={key: tags[key] for key in tags if key not in deleted})

        return self._change(caller, name, change)

    def put_rate_limits(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace an endpoint's rate limits."""
        fields = fields_of(body)
        limits = parse_rate_limits(fields)
        return self._set_extra(caller, name, "rate_limits", limits, fields)

    def put_ai_gateway(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace an endpoint's AI gateway config; an empty one clears it."""
        fields = fields_of(body)
        config = parse_ai_gateway(fields, name)
        return self._set_extra(caller, name, "ai_gateway", config, fields)

    def patch_notifications(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace whom to mail about updates."""
        fields = fields_of(body)
        notifications = parse_notifications(fields)
        return self._set_extra(caller, name, "email_notifications", notifications, fields)

    def patch_telemetry(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace an endpoint's telemetry config; left out, it is removed. Raises Conflict during an update."""
        fields = fields_of(body)
        telemetry = parse_telemetry(fields)

        def refuse(endpoint: Endpoint) -> None:
            if endpoint.is_updating:
                raise Conflict(f"Endpoint '{endpoint.name}' is currently updating; wait, then send this again.")

        return self._set_extra(caller, name, "telemetry_config", telemetry, fields, refuse)

    def put_inference_table(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace what an endpoint's own object says of its inference table; an empty one clears it."""
        fields = fields_of(body)
        wanted = parse_inference_table(fields)
        return self._set_extra(caller, name, "inference_table", wanted, fields)

    def put_parity(self, caller: Principal, name: str, body: object) -> Endpoint:
        """Replace an endpoint's settings of parity; an empty object brings the defaults back."""
        fields = fields_of(body)
        wanted = parse_parity(fields)
        return self._set_extra(caller, name, PARITY, wanted, fields)

    def openapi_document(self, caller: Principal, name: str, base_url: str) -> dict[str, Any]:
        """Return how to invoke an endpoint, as OpenAPI. Raises InvalidState unless it serves a known signature."""
        return endpoint_openapi(self.get_endpoint(caller, name), self.store.resolved(), base_url)

    def get_served_entity(
        self, caller: Principal, name: str, served_entity_name: str, config_version: int | None = None
    ) -> ServedEntity:
        """Return a served entity of an endpoint that the caller manages, as its newest config has it.

        With `config_version`, of that config only. Configs older than the active one are not kept.
        """
        endpoint = self.get_endpoint(caller, name, Level.CAN_MANAGE)
        for config in (endpoint.pending, endpoint.failed, endpoint.active):
            if config is not None and config_version in (None, config.version):
                found = config.entity_named(served_entity_name)
                if found is not None:
                    return found
        which = "" if config_version is None else f" in config version {config_version}"
        raise NotFound(f"Endpoint '{name}' has no served entity named '{served_entity_name[:80]}'{which}.")

    def get_permissions(self, caller: Principal, key: str) -> Endpoint:
        """Return an endpoint, given by id, to a caller who may see its grants."""
        return self.get_endpoint_by_id(caller, key, Level.CAN_MANAGE)

    def set_permissions(self, caller: Principal, key: str, body: object) -> Endpoint:
        """Replace all grants on an endpoint, which is given by id."""
        return self._grant(caller, key, body, keep=False)

    def update_permissions(self, caller: Principal, key: str, body: object) -> Endpoint:
        """Set the level of some principals on an endpoint, which is given by id."""
        return self._grant(caller, key, body, keep=True)

    # The reconciler's side: no principal, and no `on_change`, as it knows what it did.

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return every endpoint."""
        return self.store.endpoints()

    def tokens(self) -> dict[str, StoredToken]:
        """Return every token by id, for the route table."""
        return self.store.tokens()

    def activate(self, endpoint_id: EndpointId, config_version: int, now_ms: int) -> Endpoint:
        """Make the pending config the active one.

        Raises Conflict when another version, or none, is pending; NotFound when the endpoint is gone.
        """
        return self.store.update_endpoint(
            endpoint_id, lambda endpoint: lifecycle.activated(endpoint, config_version, now_ms)
        )

    def fail(self, endpoint_id: EndpointId, config_version: int, statuses: Mapping[str, EntityStatus]) -> Endpoint:
        """Give up the pending config; what is active serves on. Raises as `activate` does."""
        return self.store.update_endpoint(
            endpoint_id, lambda endpoint: lifecycle.failed(endpoint, config_version, statuses)
        )

    def set_entity_status(self, endpoint_id: EndpointId, statuses: Mapping[str, EntityStatus]) -> Endpoint:
        """Keep how served entities were last seen. Writes nothing when nothing is new. Raises NotFound."""
        return self.store.update_endpoint(endpoint_id, lambda endpoint: lifecycle.with_statuses(endpoint, statuses))

    def save_resolved(self, entity_id: ServedEntityId, model: ResolvedModel) -> None:
        """Keep what was learned of a served entity's model."""
        self.store.save_resolved(entity_id, model)

    def resolved(self) -> Mapping[ServedEntityId, ResolvedModel]:
        """Return what was learned of models, by served entity id."""
        return self.store.resolved()

    def prune_resolved(self) -> None:
        """Forget what was learned of models that no config names any more."""
        named = frozenset[ServedEntityId]().union(*map(entity_ids_of, self.store.endpoints()))
        self.store.keep_resolved_only(named)

    def resolve_environment(self, entity: ServedEntity) -> dict[str, str]:
        """Return a served entity's variables with secrets filled in. DeploymentFailed names what lacks."""
        return self.secret_service.resolve(entity.environment_vars)

    def next_table_version(self) -> int:
        """Return a route table version above all given out before."""
        return self.store.next_table_version()

    def _change(
        self, caller: Principal, name: str, change: Callable[[Endpoint], Endpoint], *, by_id: bool = False
    ) -> Endpoint:
        """Change an endpoint that the caller manages; asked again inside the transaction, where it counts."""
        find = self.get_endpoint_by_id if by_id else self.get_endpoint
        found = find(caller, name, Level.CAN_MANAGE)
        others = self.store.endpoints()

        def permitted_change(endpoint: Endpoint) -> Endpoint:
            changed = change(_permitted(caller, endpoint, Level.CAN_MANAGE, _no_name(name)))
            if tables_of(changed) != tables_of(endpoint):
                _refuse_shared_table(changed, others)
            return changed

        try:
            changed = self.store.update_endpoint(found.id, permitted_change)
        except NotFound as error:
            raise NotFound(_no_name(name)) from error
        self.on_change()
        return changed

    def _set_extra(
        self,
        caller: Principal,
        name: str,
        key: str,
        value: Any,
        fields: Fields,
        refuse: Callable[[Endpoint], None] = lambda _: None,
    ) -> Endpoint:
        def change(endpoint: Endpoint) -> Endpoint:
            fields.refuse_if_wrong("The change")
            refuse(endpoint)
            others = {other: kept for other, kept in endpoint.extras.items() if other != key}
            return replace(endpoint, extras=others | ({key: value} if value else {}))

        return self._change(caller, name, change)

    def _grant(self, caller: Principal, key: str, body: object, *, keep: bool) -> Endpoint:
        fields = fields_of(body)
        given = parse_grants(fields)

        def change(endpoint: Endpoint) -> Endpoint:
            fields.refuse_if_wrong("The access control list")
            grants: dict[tuple[str, str], Grant] = {}
            for grant in (*(endpoint.grants if keep else ()), *given):
                grants[grant.kind, grant.name] = grant
            return replace(endpoint, grants=tuple(grants.values()))

        return self._change(caller, key, change, by_id=True)


def level(caller: Principal, endpoint: Endpoint) -> Level:
    """Return what the caller may do with an endpoint."""
    return level_of(caller, endpoint.creator, endpoint.grants)


def _permitted(caller: Principal, endpoint: Endpoint | None, needed: Level, absent: str) -> Endpoint:
    held = Level.NONE if endpoint is None else level(caller, endpoint)
    if endpoint is None or held is Level.NONE:
        raise NotFound(absent)
    if held < needed:
        raise PermissionDenied(
            f"{caller.name} has {held.name} on endpoint '{endpoint.name}'; this needs {needed.name}."
        )
    return endpoint


def _no_name(name: str) -> str:
    return f"Endpoint with name '{name[:80]}' does not exist."


def _parse_extras(fields: Fields, name: str) -> dict[str, Any]:
    found = {
        "rate_limits": parse_rate_limits(fields),
        "ai_gateway": parse_ai_gateway(fields.inner("ai_gateway"), name),
        "email_notifications": parse_notifications(fields),
        "telemetry_config": parse_telemetry(fields),
        "inference_table": parse_inference_table(fields.inner("inference_table")),
        PARITY: parse_parity(fields.inner(PARITY)),
        "budget_policy_id": fields.text("budget_policy_id"),
    }
    return {key: value for key, value in found.items() if value}


def _refuse_shared_table(endpoint: Endpoint, others: Iterable[Endpoint]) -> None:
    """Raise InvalidParameter where an endpoint would write into the tables of another one.

    Who manages one endpoint could else put rows and labels into the record of any other.
    """
    if table := shared_table(endpoint, others):
        raise InvalidParameter(
            f"The inference table '{table}' is another endpoint's. Give a table_name_prefix, schema or catalog of "
            f"its own to endpoint '{endpoint.name}'."
        )


def _refuse_beyond_rights(caller: Principal, endpoint: Endpoint, entities: Iterable[ServedEntity]) -> None:
    """Raise PermissionDenied where a caller who is no admin asks for new files or secrets of the server.

    A model's code reads what its worker may read; so the right to manage an endpoint is not the right to point it
    at any folder or secret. What an admin put into the endpoint's config once may stay and move.
    """
    if caller.is_admin:
        return
    configs = [config for config in (endpoint.active, endpoint.pending, endpoint.failed) if config]
    known = [entity for config in configs for entity in config.served_entities]
    allowed_paths = {entity.entity_name for entity in known}
    allowed_secrets = references(value for entity in known for value in entity.environment_vars.values())
    for entity in entities:
        if is_local(entity.entity_name) and entity.entity_name not in allowed_paths:
            raise PermissionDenied(
                f"Served entity '{entity.name}': only admins may serve a path of the server's file system; "
                "others name a registry model, 'models:/…' or 'runs:/…'."
            )
        for scope, key in sorted(references(entity.environment_vars.values()) - allowed_secrets):
            raise PermissionDenied(
                f"Served entity '{entity.name}': only admins may add a secret ('{scope}/{key}') to an endpoint."
            )


def build_service(
    store: ConfigStore,
    data_dir: Path,
    *,
    now_ms: Callable[[], int],
    new_id: Callable[[], str],
    on_change: Callable[[], None],
) -> Service:
    """Return the service over a store, with the key of its secrets in `data_dir`."""
    tokens = TokenService(store, now_ms, on_change)
    secrets = SecretService(store, SecretBox(data_dir), now_ms)
    return Service(store, tokens, secrets, now_ms, new_id, on_change)
