"""From what was asked for to files on this machine: registry names, runs, folders and Python files.

The files are copied below the cache folder under the digest of their content, so that a worker that starts again
needs no registry, and a folder that somebody edits does not change what is served.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml
from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from tallystick.entities import EnvironmentChoice, ResolvedModel
from tallystick.errors import DeploymentFailed
from tallystick.gate.golden import FILE, FOLDER
from tallystick.mlflow_store import missing_store_of, store_of
from tallystick.printable import without_password
from tallystick.protocol.worker_spec import NeedsEnvironment, WorkerSpec
from tallystick.worker.disk import sync_all, sync_one

_CHUNK_BYTES = 1 << 20


def resolve(spec: WorkerSpec) -> ResolvedModel:
    """Find the model, copy it into the cache and read what it says of itself. Blocks; may use the network.

    Raises DeploymentFailed with a text for the person who deployed.
    """
    cache = Path(spec.cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    uri = spec.model_uri
    if uri.startswith("/"):
        source = Path(uri)
        if not source.exists():
            raise DeploymentFailed(f"There is no file or folder {uri}. Give a model folder or a .py file.")
        if source.suffix == ".py":
            return _resolve_file(source, cache, uri)
        return _describe(_keep(source, cache), uri, None)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as scratch:
        folder, resolved_uri, run_id = _download(spec, Path(scratch))
        return _describe(_keep(folder, cache, resolved_uri), resolved_uri, run_id)


def _download(spec: WorkerSpec, scratch: Path) -> tuple[Path, str, str | None]:
    import mlflow
    from mlflow.exceptions import MlflowException

    if spec.tracking_uri:
        mlflow.set_tracking_uri(spec.tracking_uri)
    if spec.registry_uri:
        mlflow.set_registry_uri(spec.registry_uri)
    uri, run_id = spec.model_uri, None
    if path := missing_store_of(uri):
        how = "start the server with --tracking-uri" if spec.socket else "set MLFLOW_TRACKING_URI"
        raise DeploymentFailed(
            f"{uri} could not be fetched: there is no MLflow store at {path}; to name the one that has it, {how}"
        )
    try:
        named = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/]+)|@(?P<alias>.+))", uri)
        if named:
            client = mlflow.MlflowClient()
            if named["alias"]:
                version = client.get_model_version_by_alias(named["name"], named["alias"])
            elif named["version"].lower() == "latest":
                raise DeploymentFailed(
                    f"{uri}: 'latest' would change under a running endpoint. Name a version or an alias: "
                    f"models:/{named['name']}/1 or models:/{named['name']}@champion."
                )
            else:
                version = client.get_model_version(named["name"], named["version"])
            uri, run_id = f"models:/{named['name']}/{version.version}", version.run_id
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(scratch))), uri, run_id
    except MlflowException as error:
        asked = f"asked {without_password(store_of(uri))}"
        if not (spec.tracking_uri or spec.registry_uri):
            asked += "; MLFLOW_TRACKING_URI names another store"
        raise DeploymentFailed(f"{spec.model_uri} could not be fetched: {error.message} ({asked})") from error
    except OSError as error:
        raise DeploymentFailed(f"{spec.model_uri} could not be fetched: {error.strerror or error}") from error


def _keep(folder: Path, cache: Path, name: str = "") -> Path:
    """Copy a model folder into the cache, once per content. Returns the copy."""
    if not (folder / "MLmodel").is_file():
        what = name or folder.name or folder
        raise DeploymentFailed(
            f"{what} holds no MLmodel file, so it is not an MLflow model. Give the folder that has one."
        )
    kept = cache / digest_of(folder)
    if not kept.exists():
        # Copied beside, then renamed: a copy that was cut short never has the final name.
        scratch = Path(tempfile.mkdtemp(dir=cache, prefix="copy-"))
        shutil.copytree(folder, scratch / "model", symlinks=False)
        sync_all(scratch / "model")
        try:
            (scratch / "model").rename(kept)
            sync_one(cache)
        except OSError:
            if not kept.exists():  # else: another worker was first with the same content
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return kept


def digest_of(model: Path) -> str:
    """Return the SHA-256 over a model's files, or of the one Python file that it is.

    What Python compiles beside the sources when it loads them (`__pycache__`) is left out. Raises OSError.
    """
    if model.is_file():
        return hashlib.sha256(model.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for path in sorted(path for path in model.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        whole.update(f"{path.relative_to(model).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                whole.update(chunk)
    return whole.hexdigest()


def _describe(folder: Path, resolved_uri: str, run_id: str | None) -> ResolvedModel:
    described = yaml.safe_load((folder / "MLmodel").read_text())
    flavors = described.get("flavors") or {}
    if "python_function" not in flavors:
        raise DeploymentFailed(
            f"The model has the flavors {', '.join(sorted(flavors)) or 'none'} but not python_function; "
            "only models that mlflow.pyfunc can load are served."
        )
    return ResolvedModel(
        local_path=str(folder),
        digest=folder.name,
        resolved_uri=resolved_uri,
        run_id=run_id or described.get("run_id"),
        signature=described.get("signature"),
        flavors=tuple(sorted(flavors)),
        has_golden_rows=(folder / FOLDER / FILE).is_file(),
    )


def _resolve_file(source: Path, cache: Path, uri: str) -> ResolvedModel:
    text = source.read_bytes()
    try:
        ast.parse(text, filename=source.name)
    except (SyntaxError, ValueError) as error:
        raise DeploymentFailed(f"{source.name} is not valid Python: {error}") from error
    digest = hashlib.sha256(text).hexdigest()
    kept = cache / digest / source.name
    kept.parent.mkdir(exist_ok=True)
    # In a folder of its own: other workers may be writing the same file.
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix="copy-"))
    try:
        (scratch / source.name).write_bytes(text)
        sync_all(scratch)
        (scratch / source.name).replace(kept)
        sync_all(kept.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ResolvedModel(str(kept), digest, uri)


def needed_environment(resolved: ResolvedModel, choice: EnvironmentChoice) -> NeedsEnvironment | None:
    """Return the environment that the model should run in; None when this interpreter will do."""
    if choice is EnvironmentChoice.RUNNING:
        return None
    folder = Path(resolved.local_path)
    lines = list(_requirement_lines(folder / "requirements.txt"))
    reasons = [reason for line in lines if (reason := _why_unmet(line))]
    python = _logged_python(folder)
    running = default_environment()["python_version"]
    if python and ".".join(python.split(".")[:2]) != running:
        reasons.append(f"python: the model was logged with {python}, this is {running}")
    if choice is EnvironmentChoice.OWN:
        reasons.append("an environment of its own was asked for")
    if not reasons:
        return None
    return NeedsEnvironment(resolved, tuple(lines), python, tuple(reasons))


def _requirement_lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    for raw in path.read_text().splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if line:
            yield line


def _why_unmet(line: str) -> str | None:
    if line.startswith("-"):
        # Options (an index, a constraint file) say how to install, not what.
        return None
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return f"{line}: not a requirement that can be checked here"
    if wanted.marker and not wanted.marker.evaluate():
        return None
    installed = _installed_version(wanted.name)
    if installed is None:
        return f"{wanted.name}: {wanted.specifier or 'any version'} is needed, it is not installed"
    if wanted.name in ("mlflow", "mlflow-skinny") and _can_load_logged_by(installed, wanted):
        return None
    if not wanted.specifier.contains(installed, prereleases=True):
        return f"{wanted.name}: {wanted.specifier} is needed, {installed} is installed"
    return None


def _installed_version(name: str) -> str | None:
    # mlflow-skinny holds all that loads a model; the full package adds the tracking server and its page.
    for candidate in (name, "mlflow-skinny") if name == "mlflow" else (name,):
        try:
            return metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
    return None


def _can_load_logged_by(installed: str, wanted: Requirement) -> bool:
    """Whether this MLflow reads what an earlier one of the same major version wrote. It keeps that promise.

    Every model pins the MLflow that logged it; building an environment for each patch release would help nobody.
    """
    pins = [spec.version for spec in wanted.specifier if spec.operator in ("==", ">=", "~=")]
    try:
        return all(
            Version(pin) <= Version(installed) and Version(pin).major == Version(installed).major for pin in pins
        )
    except InvalidVersion:
        return False


def _logged_python(folder: Path) -> str:
    path = folder / "python_env.yaml"
    if not path.is_file():
        return ""
    return str((yaml.safe_load(path.read_text()) or {}).get("python") or "")
