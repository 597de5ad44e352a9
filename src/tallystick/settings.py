"""Every setting of the server, in one value. It is read once, in `cli.py`, and handed down.

The processes of one server get it as a JSON file in the data directory's `run` folder.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tallystick.private_file import replace_private


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one server."""

    #: Everything the server keeps is below this folder.
    data_dir: Path
    #: Address that the gateways listen on.
    host: str = "127.0.0.1"
    #: Public port; 0 takes a free one.
    port: int = 8080
    #: Gateway processes that share the port.
    gateways: int = 1
    #: SQLAlchemy URL of the config store; empty: SQLite in the data directory.
    database: str = ""
    #: MLflow tracking and registry stores that model names are looked up in; empty: MLflow's own defaults.
    tracking_uri: str = ""
    registry_uri: str = ""
    #: Names that requests may address the server by, besides its own address and localhost.
    allowed_hosts: tuple[str, ...] = ()
    #: Serve plain HTTP on an address that is not loopback.
    allow_plain_http: bool = False
    #: Certificate and key for HTTPS, PEM files.
    tls_cert: str = ""
    tls_key: str = ""
    #: How long one invocation may take, queueing included.
    request_timeout_s: float = 60.0
    #: Largest request body, and largest after decompression.
    max_body_bytes: int = 16 * 1024 * 1024
    #: Invocations that may wait for a served entity, as a multiple of its provisioned concurrency.
    queue_per_concurrency: int = 16
    #: A served entity with scale_to_zero_enabled stops its workers after this long without an invocation.
    scale_to_zero_after_s: float = 1800.0
    #: An invocation waits this long for a worker that is starting; then it is told to come back.
    wake_wait_s: float = 20.0
    #: How long a graceful stop waits for invocations in flight.
    drain_s: float = 30.0
    #: Open connections per gateway process; 0: from the file descriptor limit.
    max_connections: int = 0
    #: Whether invocations are recorded in inference tables; single endpoints can say no.
    inference_tables: bool = True
    #: Root of all inference tables: a folder or a URL that delta-rs takes; empty: `tables` in the data directory.
    tables_url: str = ""
    #: Bytes of journal that one gateway may leave for the recorder; then rows are dropped, and counted.
    journal_max_bytes: int = 8 << 30
    #: Whether each request leaves a JSON line in `logs/access.jsonl`.
    access_log: bool = True
    #: OTLP endpoint that traces go to; empty: none are made.
    otlp_endpoint: str = ""
    #: Whether live rows are compared with training, where a model has a reference; and how often.
    monitor: bool = True
    monitor_every_s: float = 60.0
    #: Whether the monitor builds training's environment again where golden rows differ and packages do.
    ablation: bool = True
    log_level: str = "info"
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def run_dir(self) -> Path:
        """Folder of the sockets; not below the data directory when that path is too long for a unix socket."""
        # sun_path holds 108 bytes on Linux, 104 on macOS; a socket's own name takes up to 40.
        inside = self.data_dir / "run"
        if len(os.fsencode(inside)) <= 60:
            return inside
        tag = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(f"/tmp/tallystick-{os.getuid()}-{tag}")  # noqa: S108  made 0700 and owner-checked

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the config store."""
        return self.database or f"sqlite:///{self.data_dir / 'tallystick.db'}"

    @property
    def keeps_journal(self) -> bool:
        """Whether anything is recorded: rows, lines of the access log, or spans."""
        return self.inference_tables or self.logs_requests

    @property
    def monitors(self) -> bool:
        """Whether there is a monitor: it reads the inference tables, so without them it has nothing to do."""
        return self.monitor and self.inference_tables

    @property
    def logs_requests(self) -> bool:
        """Whether requests that get no row are recorded as well, for the access log or for traces."""
        return self.access_log or bool(self.otlp_endpoint)

    @property
    def tables_root(self) -> str:
        """Folder or URL below which all tables are."""
        return self.tables_url or str(self.data_dir / "tables")

    @property
    def journal_dir(self) -> Path:
        """Folder of the journal's streams."""
        return self.data_dir / "journal"

    @property
    def settings_file(self) -> Path:
        """Where the processes of this server read these settings from."""
        return self.run_dir / "settings.json"


def write_settings(settings: Settings) -> None:
    """Write the settings for the other processes of this server (mode 0600: the database URL may hold a password)."""
    replace_private(settings.settings_file, msgspec.json.encode(settings, enc_hook=str))


def read_settings(path: str | Path) -> Settings:
    """Read what `write_settings` wrote."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Settings, dec_hook=lambda kind, value: kind(value))
