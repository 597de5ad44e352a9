"""`tallystick serve`: settings from options and environment, then this process is the supervisor.

It imports nothing that is not needed to supervise, as it lives as long as the server does.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tallystick.commands.config_edit import BadUsage
from tallystick.commands.durations import parse_duration
from tallystick.discovery import (
    default_data_dir,
    is_loopback,
    read_admin_token,
    remove_server_file,
    write_server_file,
)
from tallystick.errors import TallystickError
from tallystick.settings import Settings

_NETWORK, _MODELS, _RECORDS, _LIMITS = "Network", "Models and data", "Records", "Limits"


def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(envvar="TALLYSTICK_BIND", help="Address to listen on.", rich_help_panel=_NETWORK)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar="TALLYSTICK_PORT", help="Port; 0 takes a free one.", min=0, max=65535, rich_help_panel=_NETWORK
        ),
    ] = 8080,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TALLYSTICK_ALLOWED_HOST",
            help="A name that clients call this server by, besides its address and localhost. Repeatable.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    tls_cert: Annotated[
        str, typer.Option(envvar="TALLYSTICK_TLS_CERT", help="PEM file: serve HTTPS.", rich_help_panel=_NETWORK)
    ] = "",
    tls_key: Annotated[
        str, typer.Option(envvar="TALLYSTICK_TLS_KEY", help="PEM file with its key.", rich_help_panel=_NETWORK)
    ] = "",
    allow_plain_http: Annotated[
        bool,
        typer.Option(
            "--allow-plain-http",
            envvar="TALLYSTICK_ALLOW_PLAIN_HTTP",
            help="Serve other machines without TLS: tokens and data can be read on the way.",
            rich_help_panel=_NETWORK,
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that is kept. Default: TALLYSTICK_DATA_DIR, else ~/.tallystick.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_DATABASE",
            help="SQLAlchemy URL of the config store. Default: SQLite in the data directory.",
            rich_help_panel=_MODELS,
        ),
    ] = "",
    tracking_uri: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_TRACKING_URI",
            help="MLflow store with runs and models. Default: MLFLOW_TRACKING_URI, else MLflow's own default.",
            rich_help_panel=_MODELS,
        ),
    ] = "",
    registry_uri: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_REGISTRY_URI",
            help="MLflow model registry. Default: MLFLOW_REGISTRY_URI, else the tracking store.",
            rich_help_panel=_MODELS,
        ),
    ] = "",
    inference_tables: Annotated[
        bool,
        typer.Option(
            "--inference-tables/--no-inference-tables",
            envvar="TALLYSTICK_INFERENCE_TABLES",
            help="Record invocations in Delta tables; single endpoints can say no.",
            rich_help_panel=_RECORDS,
        ),
    ] = True,
    tables: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_TABLES",
            help="Root of all tables: a folder, or a URL such as s3://bucket/prefix. Default: in the data directory.",
            rich_help_panel=_RECORDS,
        ),
    ] = "",
    journal_max_gb: Annotated[
        float,
        typer.Option(
            envvar="TALLYSTICK_JOURNAL_MAX_GB",
            help="Journal that one gateway may leave on disk, in GiB; beyond, rows are dropped and counted.",
            min=0.001,
            rich_help_panel=_RECORDS,
        ),
    ] = 8,
    access_log: Annotated[
        bool,
        typer.Option(
            "--access-log/--no-access-log",
            envvar="TALLYSTICK_ACCESS_LOG",
            help="Leave a JSON line for each request in logs/access.jsonl of the data directory.",
            rich_help_panel=_RECORDS,
        ),
    ] = True,
    otlp_endpoint: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_OTLP_ENDPOINT",
            help="Send traces to this OpenTelemetry collector (OTLP over HTTP); needs the extra 'otel'.",
            rich_help_panel=_RECORDS,
        ),
    ] = "",
    monitor: Annotated[
        bool,
        typer.Option(
            "--monitor/--no-monitor",
            envvar="TALLYSTICK_MONITOR",
            help="Compare live rows with training, for models that have a reference; single endpoints can say no.",
            rich_help_panel=_RECORDS,
        ),
    ] = True,
    monitor_every: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_MONITOR_EVERY",
            help="How often live rows are looked at.",
            rich_help_panel=_RECORDS,
        ),
    ] = "60s",
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation/--no-ablation",
            envvar="TALLYSTICK_ABLATION",
            help="Build training's environment where golden rows differ, to name the package that it is.",
            rich_help_panel=_RECORDS,
        ),
    ] = True,
    gateways: Annotated[
        int,
        typer.Option(
            envvar="TALLYSTICK_GATEWAYS", help="Processes that share the port.", min=1, rich_help_panel=_LIMITS
        ),
    ] = 1,
    request_timeout: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_REQUEST_TIMEOUT",
            help="How long one invocation may take, waiting included.",
            rich_help_panel=_LIMITS,
        ),
    ] = "60s",
    max_body_mb: Annotated[
        float,
        typer.Option(
            envvar="TALLYSTICK_MAX_BODY_MB", help="Largest request body, in MiB.", min=0.001, rich_help_panel=_LIMITS
        ),
    ] = 16,
    scale_to_zero_after: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_SCALE_TO_ZERO_AFTER",
            help="Workers of models that scale to zero stop after this long unused.",
            rich_help_panel=_LIMITS,
        ),
    ] = "30m",
    wake_wait: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_WAKE_WAIT",
            help="How long an invocation waits for a model that is starting; then 503, come back.",
            rich_help_panel=_LIMITS,
        ),
    ] = "20s",
    queue_per_concurrency: Annotated[
        int,
        typer.Option(
            envvar="TALLYSTICK_QUEUE_PER_CONCURRENCY",
            help="Invocations that may wait, per unit of provisioned concurrency; then 429.",
            min=0,
            rich_help_panel=_LIMITS,
        ),
    ] = 16,
    max_connections: Annotated[
        int,
        typer.Option(
            envvar="TALLYSTICK_MAX_CONNECTIONS",
            help="Open connections per gateway; 0: as many as the file limit allows.",
            min=0,
            rich_help_panel=_LIMITS,
        ),
    ] = 0,
    drain: Annotated[
        str,
        typer.Option(
            envvar="TALLYSTICK_DRAIN",
            help="How long a stop waits for invocations under way.",
            rich_help_panel=_LIMITS,
        ),
    ] = "30s",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document when the server is ready, and nothing else.")
    ] = False,
) -> None:
    """Run the server until Ctrl-C.

    The first start makes an admin token and prints the two lines that give it to your clients. The other commands
    on this machine find server and token by themselves.
    """
    environ: Mapping[str, str] = context.obj
    tracking = absolute_store(tracking_uri or environ.get("MLFLOW_TRACKING_URI", ""), Path.cwd())
    settings = Settings(
        data_dir=data_dir.expanduser().absolute() if data_dir else default_data_dir(environ),
        host=host,
        port=port,
        gateways=gateways,
        database=absolute_store(database, Path.cwd()),
        tracking_uri=tracking,
        registry_uri=absolute_store(registry_uri or environ.get("MLFLOW_REGISTRY_URI", ""), Path.cwd()),
        allowed_hosts=tuple(allowed_host or ()),
        allow_plain_http=allow_plain_http,
        tls_cert=_file(tls_cert, "--tls-cert"),
        tls_key=_file(tls_key, "--tls-key"),
        request_timeout_s=_positive(request_timeout, "--request-timeout"),
        max_body_bytes=int(max_body_mb * 2**20),
        scale_to_zero_after_s=_positive(scale_to_zero_after, "--scale-to-zero-after"),
        wake_wait_s=_positive(wake_wait, "--wake-wait"),
        queue_per_concurrency=queue_per_concurrency,
        max_connections=max_connections,
        inference_tables=inference_tables,
        tables_url=absolute_tables(tables, Path.cwd()),
        journal_max_bytes=int(journal_max_gb * 2**30),
        access_log=access_log,
        otlp_endpoint=otlp_endpoint,
        monitor=monitor,
        monitor_every_s=_positive(monitor_every, "--monitor-every"),
        ablation=ablation,
        drain_s=parse_duration(drain),
        # What uvicorn says of its start and stop is nothing to the person who reads the banner.
        log_level="warning",
    )
    refuse_unsafe(settings)
    refuse_untraceable(settings)
    run(settings, as_json=as_json)


def run(settings: Settings, *, as_json: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises BadUsage when it cannot: the port or the data directory is taken."""
    import asyncio

    from tallystick.backends.supervisor import CannotStart, Supervisor, prepare

    try:
        listener, _lock = prepare(settings)
    except CannotStart as error:
        raise BadUsage(error.message) from error
    except OSError as error:
        raise BadUsage(f"The data directory {settings.data_dir} cannot be used: {error.strerror}.") from error
    # A free port that was asked for as 0 is known now.
    settings = replace(settings, port=listener.getsockname()[1])
    url = address(settings)
    is_first = read_admin_token(settings.data_dir) is None
    reasons: list[str] = []

    def on_ready() -> None:
        write_server_file(settings.data_dir, url)
        if as_json:
            print(json.dumps({"url": url, "data_dir": str(settings.data_dir), "pid": os.getpid()}), flush=True)
            return
        token = read_admin_token(settings.data_dir)
        for line in banner(settings, url, token if is_first else None):
            print(line, flush=True)

    # What a server that was killed left here is no longer true.
    remove_server_file(settings.data_dir)
    try:
        asyncio.run(Supervisor(settings, listener, on_ready, reasons.append).run())
    finally:
        remove_server_file(settings.data_dir)
    if reasons:
        raise BadUsage(reasons[0])
    if not as_json:
        print("Stopped.", file=sys.stderr)


def refuse_unsafe(settings: Settings) -> None:
    """Raise BadUsage for settings that would send tokens over a network in the clear, or half of TLS."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise BadUsage("--tls-cert and --tls-key belong together; one of them is missing.")
    if not (is_loopback(settings.host) or settings.tls_cert or settings.allow_plain_http):
        raise BadUsage(
            f"{settings.host} can be reached by other machines, and without TLS whoever is on the way reads tokens "
            "and data. Give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has them; "
            "--allow-plain-http serves without."
        )


def refuse_untraceable(settings: Settings) -> None:
    """Raise BadUsage when traces are asked for that cannot be sent."""
    if not settings.otlp_endpoint:
        return
    from importlib.util import find_spec

    from tallystick.records.tracing import traces_url

    try:
        traces_url(settings.otlp_endpoint)
    except TallystickError as error:
        raise BadUsage(error.message) from error
    try:
        is_there = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        raise BadUsage("--otlp-endpoint needs OpenTelemetry: pip install 'tallystick[otel]'.")


def address(settings: Settings) -> str:
    """Return the URL that programs on this machine reach the server by.

    >>> address(Settings(Path("/d"), host="0.0.0.0", port=8080))
    'http://127.0.0.1:8080'
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "http"
    if settings.tls_cert:
        # A certificate names the server as clients call it, hardly ever by an address.
        scheme, host = "https", next(iter(settings.allowed_hosts), host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def banner(settings: Settings, url: str, new_token: str | None) -> list[str]:
    """Return what is printed once the server answers; a token only when it has just been made."""
    lines = [
        f"Tallystick {metadata.version('tallystick')} serves at {url}",
        f"  data    {settings.data_dir}",
        f"  models  {without_password(settings.tracking_uri) or 'where MLflow looks by default'}",
    ]
    if new_token is not None:
        lines += [
            "",
            "This is the first start, so there is a new admin token. For databricks-sdk, MLflow and curl:",
            "",
            f"  export DATABRICKS_HOST={url}",
            f"  export DATABRICKS_TOKEN={new_token}",
            "",
            f"It is not shown again; it stays in {settings.data_dir / 'admin.token'}, where the tallystick",
            "commands of this user find it by themselves.",
        ]
    return [*lines, "", "Ctrl-C stops it."]


def absolute_store(uri: str, folder: Path) -> str:
    """Return the URI of an MLflow or database store so that it means the same in every folder.

    >>> absolute_store("sqlite:///mlflow.db", Path("/srv")), absolute_store("mlruns", Path("/srv"))
    ('sqlite:////srv/mlflow.db', '/srv/mlruns')
    """
    if found := re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/].*)", uri):
        if found[2].startswith((":memory:", "file:")):
            return uri
        return f"{found[1]}{folder / found[2]}"
    if found := re.fullmatch(r"file:(?!/)(.+)", uri):
        return f"file://{folder / found[1]}"
    if uri and ":" not in uri and uri not in ("databricks", "databricks-uc"):
        return str(folder / Path(uri).expanduser())
    return uri


def absolute_tables(root: str, folder: Path) -> str:
    """Return the root of all tables so that it means the same in every folder.

    >>> absolute_tables("s3://bucket/prefix/", Path("/srv")), absolute_tables("tables", Path("/srv"))
    ('s3://bucket/prefix', '/srv/tables')
    >>> absolute_tables("file:///data/tables", Path("/srv"))
    '/data/tables'
    """
    root = root.rstrip("/").removeprefix("file://")
    if not root or "://" in root:
        return root
    return str(folder / Path(root).expanduser())


def without_password(uri: str) -> str:
    """Return a URI without the password in it.

    >>> without_password("postgresql://me:secret@db/mlflow")
    'postgresql://me:***@db/mlflow'
    """
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _file(path: str, option: str) -> str:
    if not path:
        return ""
    found = Path(path).expanduser().absolute()
    if not found.is_file():
        raise BadUsage(f"{option}: there is no file {found}.")
    return str(found)


def _positive(text: str, option: str) -> float:
    value = parse_duration(text)
    if value <= 0:
        raise BadUsage(f"{option} must be longer than 0.")
    return value
