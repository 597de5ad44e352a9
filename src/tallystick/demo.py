"""`tallystick demo`: two versions of a real model behind one endpoint, from nothing to predictions.

Everything is in one folder: MLflow's store, the server's data, its log. The server is a child process, as
`tallystick serve` would be; what is asked of it goes through databricks-sdk as users have it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from tallystick.commands.config_edit import BadUsage
from tallystick.commands.session import print_table
from tallystick.demo_skew import show_skew
from tallystick.discovery import read_admin_token, read_server_file
from tallystick.errors import TallystickError
from tallystick.lifeline import die_with_parent

_MODEL = _ENDPOINT = "breast-cancer"
_SPLIT = {1: 90, 2: 10}
_QUERIES = 200
_SHOWN_ROWS = 6
_PREFERRED_PORT = 8080
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 45.0
_LOOK_EVERY_S = 0.5
_DEPLOY_TIMEOUT = timedelta(minutes=5)


_Child = subprocess.Popen[bytes]


class DemoFailed(TallystickError):
    """The demo cannot go on; the message says where to look."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The data to ask about, and what each version says of it offline."""

    rows: list[dict[str, float]]
    truth: list[int]
    offline: dict[int, list[int]]


def run(*, once: bool, port: int, data_dir: str, environ: Mapping[str, str]) -> None:
    """Run the demo; until Ctrl-C, or to its end with `once`. Raises BadUsage, DemoFailed."""
    _require_extra()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Each step is told as it comes, through a pipe too.
        sys.stdout.reconfigure(line_buffering=True)
    is_temporary = once and not data_dir
    folder = Path(tempfile.mkdtemp(prefix="tallystick-demo-") if is_temporary else data_dir or "demo-data")
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadUsage(
            f"{folder} cannot be the demo's folder: {error.strerror}. Give --data-dir another one."
        ) from error
    _end_like_ctrl_c()
    try:
        _demo(folder, once, port, environ)
    finally:
        if is_temporary:
            shutil.rmtree(folder, ignore_errors=True)


def _demo(folder: Path, once: bool, port: int, environ: Mapping[str, str]) -> None:
    started = time.monotonic()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    print(f"Everything of this demo is in {folder}\n")
    print("1. Train two models on scikit-learn's breast cancer data, register both with MLflow")
    trained = _train(folder, store)
    print("\n2. Start the server")
    with _server(folder, store, port or _free_port(), environ) as (url, token, child):
        print(f"   It answers at {url}")
        print("\n3. Create an endpoint with databricks-sdk: version 1 gets 90 %, version 2 gets 10 %")
        client = _workspace(url, token)
        _deploy(client)
        print(f"\n4. Ask it {_QUERIES} times with databricks-sdk, one row each")
        _query(client, trained)
        print("\n5. A new release of one client sends a radius in mm for cm. Ask what is the matter")
        show_skew(url, token, _ENDPOINT, trained.rows)
        print(f"\nAll of it took {time.monotonic() - started:.0f} s.")
        if once:
            return
        print("\n".join(_next_steps(folder, url, trained)))
        _wait(child, _log_of(folder))
        print("\nStopping the server ...")


def _require_extra() -> None:
    import importlib.util

    missing = [name for name in ("sklearn", "databricks.sdk", "skops") if not _is_installed(importlib.util, name)]
    if missing:
        raise BadUsage(f"The demo needs packages that are not installed ({', '.join(missing)}). Install them: "
                       'pip install "tallystick[demo]"')  # fmt: skip


def _is_installed(util: Any, name: str) -> bool:
    try:
        return util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _end_like_ctrl_c() -> None:
    """Have SIGTERM and a closed terminal end the demo, and its server, in order."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


# Training


def _train(folder: Path, store: str) -> Trained:
    with _quiet():
        import mlflow
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split

        mlflow.set_tracking_uri(store)
        mlflow.set_registry_uri(store)
        data = load_breast_cancer(as_frame=True)
        names = {name: name.replace(" ", "_") for name in data.data.columns}
        frame = data.data.rename(columns=names)
        train, test, train_y, test_y = train_test_split(
            frame, data.target, test_size=0.3, random_state=1, stratify=data.target
        )
        if mlflow.MlflowClient().search_model_versions(f"name = '{_MODEL}'"):
            print(f"   They are in {folder.name} from an earlier run")
        else:
            if mlflow.get_experiment_by_name(_MODEL) is None:
                mlflow.create_experiment(_MODEL, artifact_location=(folder / "artifacts").as_uri())
            mlflow.set_experiment(_MODEL)
            for version, model in _candidates().items():
                model.fit(train, train_y)
                _register(version, model, (train, train_y), (test, test_y))
        offline = {
            version: mlflow.pyfunc.load_model(f"models:/{_MODEL}/{version}").predict(test).tolist()
            for version in _SPLIT
        }
    return Trained(test.to_dict(orient="records"), test_y.tolist(), offline)


def _candidates() -> dict[int, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # Both are loaded without trusting any code; skops holds models with trees to be unsafe.
    return {
        1: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        2: make_pipeline(StandardScaler(), SVC(C=3.0)),
    }


def _register(version: int, model: Any, fitted: tuple[Any, Any], unseen: tuple[Any, Any]) -> None:
    import mlflow

    from tallystick.training.log import log_model

    kind, accuracy = type(model[-1]).__name__, model.score(*unseen)
    with mlflow.start_run(run_name=kind):
        mlflow.log_metric("accuracy", accuracy)
        # MLflow's log_model with the training rows beside it: what is served can be held to them.
        log_model(
            model,
            name="model",
            X=fitted[0],
            y=fitted[1],
            eval_data=unseen,
            registered_model_name=_MODEL,
            # Said here, as MLflow would find out by loading the model in a process of its own.
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in ("scikit-learn", "skops")],
        )
    print(f"   version {version}: {kind:<28} accuracy on unseen rows {accuracy:.3f}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what MLflow, Alembic and the like say while they make a store; their errors still come through."""
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # MLflow sets the level of its loggers when it is imported.
        import mlflow  # noqa: F401

        for name in ("mlflow", "alembic", "sqlalchemy"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.disable(logging.WARNING)
        try:
            # "Created version '1' of model …" and the like is written to stderr past the loggers.
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                yield
        finally:
            logging.disable(logging.NOTSET)


# The server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PREFERRED_PORT))
        except OSError:
            return 0
        return _PREFERRED_PORT


@contextlib.contextmanager
def _server(folder: Path, store: str, port: int, environ: Mapping[str, str]) -> Iterator[tuple[str, str, _Child]]:
    data_dir, log = folder / "server", _log_of(folder)
    argv = [
        sys.executable, "-m", "tallystick", "serve",
        "--data-dir", str(data_dir), "--port", str(port), "--tracking-uri", store,
    ]  # fmt: skip
    # The settings are those above, whatever the shell has set for another server.
    clean = {name: value for name, value in environ.items() if not name.startswith(("TALLYSTICK_", "MLFLOW_"))}
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603  argv of our own
            argv,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the demo, which then stops its server in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield *_when_ready(child, data_dir, log), child
    finally:
        child.terminate()
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _when_ready(child: _Child, data_dir: Path, log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoFailed(f"The server did not start:\n{_tail(log)}")
        # Another demo may run in this folder: its endpoint is not for this one to make anew.
        url, token = read_server_file(data_dir, child.pid), read_admin_token(data_dir)
        if url is not None and token is not None and _answers(url):
            return url, token
        time.sleep(0.05)
    raise DemoFailed(f"The server was not ready within {_START_TIMEOUT_S:g} s:\n{_tail(log)}")


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=2.0).is_success
    except httpx.TransportError:
        return False


def _wait(child: _Child, log: Path) -> None:
    """Wait for Ctrl-C. Raises DemoFailed when the server ends before: then there is nothing to wait for."""
    try:
        # Not `wait`, which goes on after Ctrl-C where a library says that the calls of the system do (polars does).
        while (code := child.poll()) is None:
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        return
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise DemoFailed(f"The server {how}, and the demo with it. Its log: {log}")


def _log_of(folder: Path) -> Path:
    return folder / "server.log"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


# The unmodified client


def _workspace(url: str, token: str) -> Any:
    from databricks.sdk import WorkspaceClient

    return WorkspaceClient(host=url, token=token)


def _deploy(client: Any) -> None:
    from databricks.sdk.errors import NotFound, OperationFailed
    from databricks.sdk.service.serving import (
        EndpointCoreConfigInput,
        Route,
        ServedEntityInput,
        TrafficConfig,
    )

    with contextlib.suppress(NotFound):
        # From an earlier run in this folder; made anew, so that the split is the one that is told.
        client.serving_endpoints.get(_ENDPOINT)
        client.serving_endpoints.delete(_ENDPOINT)
    started = time.monotonic()
    config = EndpointCoreConfigInput(
        name=_ENDPOINT,
        served_entities=[
            ServedEntityInput(entity_name=_MODEL, entity_version=str(version), workload_size="Small")
            for version in _SPLIT
        ],
        traffic_config=TrafficConfig(
            routes=[
                Route(served_entity_name=f"{_MODEL}-{version}", traffic_percentage=share)
                for version, share in _SPLIT.items()
            ]
        ),
    )
    try:
        client.serving_endpoints.create_and_wait(_ENDPOINT, config=config, timeout=_DEPLOY_TIMEOUT)
    except OperationFailed as error:
        latest = client.serving_endpoints.get(_ENDPOINT).pending_config
        reasons = [entity.state.deployment_state_message for entity in (latest.served_entities if latest else [])]
        raise DemoFailed("The endpoint did not come up: " + "; ".join(filter(None, reasons))) from error
    print(f"   '{_ENDPOINT}' was ready after {time.monotonic() - started:.1f} s")


def _query(client: Any, trained: Trained) -> None:
    served: Counter[int] = Counter()
    asked: list[tuple[int, int, int]] = []
    differ = 0
    started = time.monotonic()
    for number in range(_QUERIES):
        row = number % len(trained.rows)
        answer = client.serving_endpoints.query(_ENDPOINT, dataframe_records=[trained.rows[row]])
        version = int(answer.served_model_name.rpartition("-")[2])
        prediction = int(answer.predictions[0])
        served[version] += 1
        differ += prediction != trained.offline[version][row]
        asked.append((row, version, prediction))
    each_ms = (time.monotonic() - started) * 1000 / _QUERIES
    print(f"   {each_ms:.1f} ms an answer, the client's part included\n")
    print_table(
        ("version", "wanted", "answered", "share"),
        [(str(v), f"{share} %", str(served[v]), f"{100 * served[v] / _QUERIES:.1f} %") for v, share in _SPLIT.items()],
        drawn=True,
    )
    by_version = [next((each for each in asked if each[1] == version), None) for version in _SPLIT]
    shown = list(dict.fromkeys([*filter(None, by_version), *asked]))[:_SHOWN_ROWS]
    print_table(
        ("row", "version", "endpoint says", "same model, offline", "truth"),
        [
            (str(row), str(version), _word(prediction), _word(trained.offline[version][row]), _word(trained.truth[row]))
            for row, version, prediction in sorted(shown)
        ],
        drawn=True,
    )
    if differ:
        raise DemoFailed(f"{differ} of {_QUERIES} answers differ from the same model's offline.")
    print(f"All {_QUERIES} answers equal what the same model says offline.")


def _word(target: int) -> str:
    return "benign" if target else "malignant"


def _next_steps(folder: Path, url: str, trained: Trained) -> list[str]:
    import json
    import shlex

    rows = folder / "rows.json"
    rows.write_text(json.dumps(trained.rows[:5]))
    command = shutil.which("tallystick") or f"{sys.executable} -m tallystick"
    beside = Path(sys.executable).with_name("tallystick")
    if beside.exists():
        # Short to paste, from where the demo was started.
        command = os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    data_dir = folder / "server"
    return [
        "",
        f"The server runs until Ctrl-C. In another terminal, in {Path.cwd()}, try:",
        "",
        f"  export TALLYSTICK_DATA_DIR={shlex.quote(str(data_dir))}",
        f"  {command} query {_ENDPOINT} @{shlex.quote(str(rows))}",
        f"  {command} split {_ENDPOINT} 1=50 2=50",
        f"  {command} diagnose {_ENDPOINT}",
        f"  {command} status",
        "",
        "For databricks-sdk, MLflow and curl:",
        "",
        f"  export DATABRICKS_HOST={url}",
        f"  export DATABRICKS_TOKEN=$(cat {shlex.quote(str(data_dir / 'admin.token'))})",
    ]
