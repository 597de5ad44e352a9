"""The `mlflow.deployments` plugin: ``get_deploy_client("tallystick://127.0.0.1:8080")`` and `mlflow deployments`.

MLflow's two nouns meet the server's like this. A *deployment* without an endpoint is a whole endpoint that serves
one model; a deployment *of an endpoint* is one of its served entities. MLflow imports this module when the target is
named; it wants exactly one client class, `run_local` and `target_help` here.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.deploy import is_model_here
from tallystick.commands.durations import parse_duration
from tallystick.discovery import find_server, is_loopback
from tallystick.errors import AlreadyExists, NotFound, TallystickError

_FLAVOR = "python_function"
_INPUT_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ENTITY_KEYS = (
    "workload_size",
    "workload_type",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "scale_to_zero_enabled",
)
_DEFAULT_TIMEOUT = "20m"
_HELP = """\
Tallystick serves MLflow models behind endpoints, and splits live traffic between their versions.

Target URI
  tallystick://127.0.0.1:8080      a server; on loopback by HTTP, elsewhere by HTTPS
  tallystick://10.0.0.5:8080?allow-plain-http
                                   HTTP to another machine: the token can be read on the way
  tallystick                       the server of TALLYSTICK_HOST or DATABRICKS_HOST, else the one that runs here

Token
  TALLYSTICK_TOKEN or DATABRICKS_TOKEN; for the server that runs here as this user it is found without.

Names
  --name churn                     an endpoint that serves one model
  --name churn-4 --endpoint churn  a served entity of the endpoint churn

Config (-C key=value)
  workload_size                    Small, Medium or Large
  min_provisioned_concurrency, max_provisioned_concurrency
                                   instead of workload_size
  workload_type                    CPU, GPU_SMALL, ...
  scale_to_zero_enabled            true or false
  traffic_percentage               share of a served entity; one that is added gets 0 without it
  env.NAME                         environment variable of the model; '{{secrets/scope/key}}' is a secret
  wait                             true (default): return once it serves, and fail when it does not come up
  timeout                          how long to wait, as in 20m

Examples
  mlflow deployments create -t tallystick://127.0.0.1:8080 --name churn -m models:/churn/1
  mlflow deployments create -t tallystick://127.0.0.1:8080 --name churn-2 --endpoint churn -m models:/churn/2
  mlflow deployments predict -t tallystick://127.0.0.1:8080 --name churn -I rows.json
  tallystick split churn 1=90 2=10
"""


def target_help() -> str:
    """Return what `mlflow deployments help -t tallystick` prints."""
    return _HELP


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Deploy a model on the server that runs on this machine, which 'tallystick serve' starts."""
    client = TallystickDeploymentClient("tallystick")
    client.create_deployment(name, model_uri, flavor, config)
    print(f"Serving {model_uri} at {client.url}/serving-endpoints/{name}/invocations")


class TallystickDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]  # MLflow has no types here
    """One server, as MLflow's deployment API sees it. Every error is an MlflowException."""

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        from tallystick.client import Client

        with _as_mlflow_errors():
            self._client = Client(find_server(os.environ, host=host_of(target_uri)))
        self.url = self._client.server.url

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> Json:
        """Serve a model at a new endpoint `name`, or as a new served entity `name` of `endpoint`.

        An endpoint that does not exist is made. Raises when the deployment exists, or does not come up.
        """
        with _as_mlflow_errors():
            _check_flavor(flavor)
            where, present = self._present(name, endpoint)
            if present is not None and (endpoint is None or _entity_of(present, name) is not None):
                raise AlreadyExists(f"Deployment '{name}' exists already; update_deployment gives it another model.")
            return self._deploy(where, present, name, model_uri, config, endpoint is not None)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> Json:
        """Give a deployment another model or other settings. What it serves goes on until the new one is up.

        Without `endpoint` the new model replaces all that the endpoint serves; with it, one served entity, whose
        share of the traffic stays.
        """
        with _as_mlflow_errors():
            _check_flavor(flavor)
            where, present = self._present(name, endpoint)
            if present is None:
                raise NotFound(f"Endpoint with name '{where}' does not exist.")
            if endpoint is not None and _entity_of(present, name) is None:
                raise NotFound(f"Endpoint '{where}' has no served entity named '{name}'.")
            if model_uri is None:
                model_uri = _only_model(present, name if endpoint is not None else None)
            return self._deploy(where, present, name, model_uri, config, endpoint is not None)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Delete an endpoint, or a served entity that gets no traffic. One that is gone already is no error."""
        with _as_mlflow_errors():
            if endpoint is None:
                with contextlib.suppress(NotFound):
                    self._client.delete_endpoint(name)
                return
            present = self._client.find_endpoint(endpoint)
            if present is None or _entity_of(present, name) is None:
                return
            after = self._client.update_config(endpoint, config_edit.without_model(present["config"], name))
            self._await(after, config or {})

    def list_deployments(self, endpoint: str | None = None) -> list[Json]:
        """Return the endpoints, or the served entities of `endpoint`, each with its `name`."""
        with _as_mlflow_errors():
            if endpoint is None:
                return self._client.list_endpoints()
            present = self._client.get_endpoint(endpoint)
            return list(present.get("config", {}).get("served_entities", []))

    def get_deployment(self, name: str, endpoint: str | None = None) -> Json:
        """Return an endpoint, or a served entity of `endpoint`."""
        with _as_mlflow_errors():
            where, present = self._present(name, endpoint)
            if present is None:
                raise NotFound(f"Endpoint with name '{where}' does not exist.")
            found = present if endpoint is None else _entity_of(present, name)
            if found is None:
                raise NotFound(f"Endpoint '{where}' has no served entity named '{name}'.")
            return {"flavor": _FLAVOR, **found}

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Ask an endpoint by either name; with both, the served entity `deployment_name` past the traffic split.

        `inputs` is a DataFrame, an array, a list of rows, or a whole request as a dict.
        """
        with _as_mlflow_errors():
            where, entity = _target(deployment_name, endpoint)
            answer = self._client.query(where, render_inputs(inputs), entity=entity)
            return PredictionsResponse.from_json(answer.body.decode())

    def predict_stream(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> Iterator[Json]:
        """Yield the events of a streamed answer, each a dict, as they come."""
        with _as_mlflow_errors():
            where, entity = _target(deployment_name, endpoint)
            body = json.dumps({**json.loads(render_inputs(inputs)), "stream": True}).encode()
            for event in self._client.query_stream(where, body, entity=entity):
                yield json.loads(event)

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> Json:
        """Create an endpoint. `config` is that of the REST API, with or without its outer fields. Does not wait."""
        with _as_mlflow_errors():
            given = dict(config or {})
            whole = given if {"config", "tags", "description", "name"} & given.keys() else {"config": given}
            return self._client.create_endpoint({**whole, "name": name or whole.get("name")})

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> Json:
        """Replace an endpoint's whole config. Does not wait."""
        with _as_mlflow_errors():
            return self._client.update_config(endpoint, dict(config or {}))

    def delete_endpoint(self, endpoint: str) -> None:
        """Delete an endpoint."""
        with _as_mlflow_errors():
            self._client.delete_endpoint(endpoint)

    def list_endpoints(self) -> list[Json]:
        """Return the endpoints that the token may see."""
        with _as_mlflow_errors():
            return self._client.list_endpoints()

    def get_endpoint(self, endpoint: str) -> Json:
        """Return an endpoint whole, its `state` and traffic split included."""
        with _as_mlflow_errors():
            return self._client.get_endpoint(endpoint)

    def _present(self, name: str, endpoint: str | None) -> tuple[str, Json | None]:
        where = endpoint or name
        if not where:
            raise BadUsage("A deployment needs a name: --name, or name=.")
        return where, self._client.find_endpoint(where)

    def _deploy(
        self,
        where: str,
        present: Json | None,
        name: str,
        model_uri: str,
        config: Mapping[str, Any] | None,
        is_entity: bool,
    ) -> Json:
        options = dict(config or {})
        share = options.pop("traffic_percentage", None)
        before = (present or {}).get("config", {})
        old = _entity_of(present, name) if present is not None and is_entity else None
        entity = entity_from(model_uri, options, old)
        if is_entity:
            entity["name"] = name
        percent = None if share is None else config_edit.parse_percent(str(share))
        changed = config_edit.with_model(before, entity, share=percent, replace=not is_entity)
        if present is None:
            after = self._client.create_endpoint({"name": where, "config": changed})
        else:
            for each in changed["served_entities"]:
                if each["name"] == entity["name"]:
                    each["fetch_anew"] = True
            after = self._client.update_config(where, changed)
        after = self._await(after, options)
        return {**after, "name": name, "endpoint": where, "flavor": _FLAVOR}

    def _await(self, after: Json, options: Mapping[str, Any]) -> Json:
        from tallystick.client import version_of

        if not _flag(options.get("wait", True), "wait"):
            return after
        timeout_s = parse_duration(str(options.get("timeout", _DEFAULT_TIMEOUT)))
        return self._client.wait(after["name"], version_of(after), timeout_s=timeout_s)


def host_of(target_uri: str) -> str:
    """Return the address in a target URI; empty when it names none.

    >>> host_of("tallystick://127.0.0.1:8080"), host_of("tallystick://ml.example.org"), host_of("tallystick")
    ('http://127.0.0.1:8080', 'https://ml.example.org', '')
    """
    parts = urlsplit(target_uri)
    if not parts.netloc:
        return ""
    wants_plain = "allow-plain-http" in parse_qs(parts.query, keep_blank_values=True)
    scheme = "http" if wants_plain or is_loopback(parts.hostname or "") else "https"
    return f"{scheme}://{parts.netloc}"


def entity_from(model_uri: str, options: Mapping[str, Any], old: Json | None = None) -> Json:
    """Return a served entity from a model and the config of a deployment; of `old`, what is not given is kept."""
    model = config_edit.parse_model(model_uri, is_model=is_model_here, absolute=os.path.abspath)
    kept = {key: old[key] for key in (*_ENTITY_KEYS, "environment_vars") if key in old} if old else {}
    if any(key.endswith("_concurrency") for key in options):
        kept.pop("workload_size", None)
    elif "workload_size" in options:
        kept = {key: value for key, value in kept.items() if not key.endswith("_concurrency")}
    entity: Json = {"name": model.default_name, "entity_name": model.entity_name, **kept}
    if model.entity_version is not None:
        entity["entity_version"] = model.entity_version
    variables = dict(kept.get("environment_vars", {}))
    for key, value in options.items():
        if key in _ENTITY_KEYS:
            entity[key] = _flag(value, key) if key == "scale_to_zero_enabled" else value
        elif key == "environment_vars":
            variables |= value
        elif key.startswith("env."):
            variables[key.removeprefix("env.")] = str(value)
        elif key not in ("wait", "timeout"):
            known = ", ".join((*_ENTITY_KEYS, "traffic_percentage", "env.NAME", "wait", "timeout"))
            raise BadUsage(f"There is no config '{key}'; there are {known}.")
    if variables:
        entity["environment_vars"] = variables
    return entity


def render_inputs(inputs: Any) -> bytes:
    """Return what `predict` was given as a request.

    DataFrames become `dataframe_split`; arrays, numbers and lists `instances`; a dict that is no request `inputs`.
    """
    if isinstance(inputs, Mapping):
        value: Json = dict(inputs) if any(key in inputs for key in _INPUT_KEYS) else {"inputs": _plain(dict(inputs))}
        return json.dumps(value, default=_plain).encode()
    if hasattr(inputs, "itertuples") and hasattr(inputs, "columns"):
        # Not DataFrame.to_json: it cuts numbers at 15 decimal places, so 1e-20 would arrive as 0.
        rows = [_plain(row) for row in inputs.itertuples(index=False, name=None)]
        return json.dumps({"dataframe_split": {"columns": _plain(inputs.columns), "data": rows}}).encode()
    if isinstance(inputs, list) and inputs and all(isinstance(row, Mapping) for row in inputs):
        return json.dumps({"dataframe_records": _plain(inputs)}).encode()
    return json.dumps({"instances": _plain(inputs)}).encode()


def _plain(value: Any) -> Any:
    """Return arrays as lists, NumPy numbers as numbers, dates as ISO 8601, missing values as null; at any depth."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        # JSON has one word for "nothing there".
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise BadUsage(f"Inputs of type {type(value).__name__} cannot be sent; give a DataFrame, an array, rows or a dict.")


def _target(deployment_name: str | None, endpoint: str | None) -> tuple[str, str | None]:
    if endpoint:
        return endpoint, deployment_name or None
    if not deployment_name:
        raise BadUsage("Say which endpoint to ask: predict(endpoint=...), or its name as deployment_name.")
    return deployment_name, None


def _entity_of(endpoint: Json, name: str) -> Json | None:
    entities = endpoint.get("config", {}).get("served_entities", [])
    return next((entity for entity in entities if entity["name"] == name), None)


def _only_model(endpoint: Json, name: str | None) -> str:
    entities = endpoint.get("config", {}).get("served_entities", [])
    found = [entity for entity in entities if name in (None, entity["name"])]
    if len(found) != 1:
        raise BadUsage(f"'{endpoint['name']}' does not serve one model; say which one it is to serve: model_uri.")
    version = found[0].get("entity_version")
    return f"models:/{found[0]['entity_name']}/{version}" if version else str(found[0]["entity_name"])


def _check_flavor(flavor: str | None) -> None:
    if flavor not in (None, _FLAVOR):
        raise BadUsage(f"Models are served by their flavor {_FLAVOR}, not '{flavor}'. Leave the flavor out.")


def _flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "1", "false", "0"):
        return str(value).lower() in ("true", "1")
    raise BadUsage(f"{name} is true or false, got '{value}'.")


@contextlib.contextmanager
def _as_mlflow_errors() -> Iterator[None]:
    """Raise our errors as MLflow's, with the code that it knows them by."""
    try:
        yield
    except TallystickError as error:
        from mlflow.protos.databricks_pb2 import ErrorCode

        known = error.error_code if error.error_code in ErrorCode.keys() else "INTERNAL_ERROR"  # noqa: SIM118
        raise MlflowException(error.message, error_code=ErrorCode.Value(known)) from error
