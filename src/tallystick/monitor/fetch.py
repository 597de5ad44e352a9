"""Fetches the reference of a model that MLflow knows by a URI."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tallystick.errors import InvalidParameter
from tallystick.mlflow_store import missing_store_of, store_of
from tallystick.printable import without_password


def fetch_reference(uri: str) -> Path:
    """Return a folder with the model's reference; it is removed by the system some day. Blocks on the network.

    Raises InvalidParameter when the model cannot be fetched or has no reference.
    """
    # The registry's client and what it imports: a second that other diagnoses do not pay.
    import mlflow
    from mlflow.exceptions import MlflowException

    if path := missing_store_of(uri):
        raise InvalidParameter(
            f"{uri} could not be fetched: there is no MLflow store at {path}; to name the one "
            "that has it, set MLFLOW_TRACKING_URI"
        )
    folder = Path(tempfile.mkdtemp(prefix="tallystick-reference-"))
    try:
        # The whole model: registries do not agree on whether a part of one can be fetched.
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except MlflowException as error:
        asked = f"asked {without_password(store_of(uri))}; MLFLOW_TRACKING_URI names another store"
        raise InvalidParameter(f"{uri} could not be fetched: {error.message} ({asked})") from error
    except OSError as error:
        raise InvalidParameter(f"{uri} could not be fetched: {error.strerror or error}") from error
