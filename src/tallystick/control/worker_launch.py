"""How a worker process is started: its spec file, its interpreter, its environment variables."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tallystick.control.environments import link_ourselves
from tallystick.control.logs import worker_log
from tallystick.control.plan import replica_id
from tallystick.entities import CONCURRENCY_PER_WORKER, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.gate.report import Policy
from tallystick.private_file import replace_private
from tallystick.protocol.routes import Replica
from tallystick.protocol.supervise import ProcessSpec
from tallystick.protocol.worker_spec import EXIT_NEEDS_ENVIRONMENT, WorkerSpec
from tallystick.settings import Settings

#: What a worker sees of the server's own environment, by name and by prefix: enough to find programs, libraries,
#: certificates and the stores that models come from. The rest, tokens above all, is not the model's business.
_PASSED = frozenset(
    """PATH HOME USER LANG TZ TMPDIR LD_LIBRARY_PATH VIRTUAL_ENV PYTHONPATH CUDA_VISIBLE_DEVICES
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GOOGLE_APPLICATION_CREDENTIALS
    HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy""".split()  # noqa: SIM905  a list literal would take a screen
)
_PASSED_PREFIXES = ("LC_", "MLFLOW_", "AWS_", "AZURE_", "OMP_", "MKL_", "OPENBLAS_")


class WorkerLauncher:
    """Makes process specs for the supervisor."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        resolve_environment: Callable[[ServedEntity], dict[str, str]],
    ) -> None:
        self._settings = settings
        self._environment = {
            name: value for name, value in environment.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)
        }
        self._resolve_environment = resolve_environment
        #: Served entities whose environment was built since this process started.
        self._built: dict[ServedEntityId, ResolvedModel] = {}
        #: What the spec files say, by replica id.
        self._policies: dict[str, Policy] = {}
        self._specs = settings.run_dir / "specs"
        self._specs.mkdir(mode=0o700, exist_ok=True)

    def place(self, replica: str) -> Replica:
        """Return where the worker of a replica listens."""
        run_dir = self._settings.run_dir
        return Replica(replica, str(run_dir / f"w-{replica}"), str(run_dir / f"w-{replica}.board"))  # type: ignore[arg-type]

    def use_environment(self, entity_id: ServedEntityId, python: str, resolved: ResolvedModel) -> None:
        """Start this entity's workers with `python` from now on."""
        self._built[entity_id] = dataclasses.replace(resolved, python=python)

    def spec(
        self, entity: ServedEntity, number: int, resolved: ResolvedModel | None, policy: Policy = Policy.AUTO
    ) -> ProcessSpec:
        """Return what the supervisor should run. Writes the worker's spec file.

        Raises DeploymentFailed when a secret that its variables name does not exist.
        """
        resolved = resolved or self._built.get(entity.id)
        if resolved is not None and resolved.python is not None and not Path(resolved.python).exists():
            # Its environment was deleted: the worker will ask for it, and it is built again.
            resolved = dataclasses.replace(resolved, python=None)
        if resolved is not None and resolved.python is not None:
            # This package may have moved since the environment was built.
            link_ourselves(Path(resolved.python).parent.parent)
        variables = self._resolve_environment(entity)
        place = self.place(replica_id(entity, number))
        spec = WorkerSpec(
            replica_id=place.id,
            socket=place.socket,
            board=place.board,
            model_uri=entity.model_uri,
            model_version=entity.entity_version or "",
            cache_dir=str(self._settings.data_dir / "models"),
            options=entity.options,
            threads=CONCURRENCY_PER_WORKER,
            resolved=resolved,
            secret_variables=tuple(name for name, value in variables.items() if entity.environment_vars[name] != value),
            tracking_uri=self._settings.tracking_uri,
            registry_uri=self._settings.registry_uri,
            is_own_environment=resolved is not None and resolved.python is not None,
            policy=policy,
        )
        self._policies[place.id] = policy
        path = self._specs / f"{place.id}.json"
        replace_private(path, msgspec.json.encode(spec))
        python = resolved.python if resolved is not None and resolved.python is not None else sys.executable
        # -P: a file in the folder that the server was started in must not shadow a module.
        argv = (python, "-P", "-m", "tallystick.worker", str(path))
        log = str(worker_log(self._settings.data_dir, place.id))
        return ProcessSpec(place.id, argv, self._variables(entity, variables), log, (EXIT_NEEDS_ENVIRONMENT,))

    def set_policy(self, replica: str, policy: Policy) -> None:
        """Have a worker that starts again go by this policy. Writes its spec file where that says another one."""
        if self._policies.get(replica) is policy:
            return
        path = self._specs / f"{replica}.json"
        try:
            spec = msgspec.json.decode(path.read_bytes(), type=WorkerSpec)
        except (OSError, msgspec.MsgspecError):
            # Not there yet: it is written with the policy of its day.
            return
        if spec.policy is not policy:
            replace_private(path, msgspec.json.encode(msgspec.structs.replace(spec, policy=policy)))
        self._policies[replica] = policy

    def _variables(self, entity: ServedEntity, variables: Mapping[str, str]) -> dict[str, str]:
        cores = os.cpu_count() or 1
        threads = str(max(1, cores // entity.workers))
        defaults = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": threads}
        return defaults | self._environment | dict(variables)
