"""Where MLflow keeps its models, as a URI: what is to be read there is not made by reading it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]+)")
#: A URI with a scheme, or a name that MLflow knows, is no path.
_SCHEME = re.compile(r"[\w+.-]+:|databricks(-uc)?$|uc$")


def store_of(model_uri: str) -> str:
    """Return the store that MLflow asks for a model."""
    import mlflow

    # A logged model, models:/m-…, is in no registry.
    is_registered = model_uri.startswith("models:/") and not model_uri.startswith("models:/m-")
    return str(mlflow.get_registry_uri() if is_registered else mlflow.get_tracking_uri())


def missing_store_of(model_uri: str) -> str:
    """Return the local store that MLflow would ask for a model and make, as it is not there; empty otherwise.

    Where only a registry is named, MLflow would make a store of runs, too: it is told to ask the registry for both.
    """
    import mlflow

    if not model_uri.startswith(("models:/", "runs:/")):
        return ""
    store = store_of(model_uri)
    if path := missing_store(store):
        return path
    # Registries of Databricks are no stores of runs.
    if missing_store(mlflow.get_tracking_uri()) and not store.startswith(("databricks", "uc")):
        mlflow.set_tracking_uri(store)
    return ""


def missing_store(uri: str) -> str:
    """Return the file or folder of a local store that is not there; empty where it is, or is none of this machine's.

    MLflow makes a store where it looks for one, a database or a folder in whatever folder somebody is in.

    >>> missing_store("sqlite:////nowhere/mlflow.db"), missing_store("file:///nowhere/mlruns"), missing_store("nowhere")
    ('/nowhere/mlflow.db', '/nowhere/mlruns', 'nowhere')
    >>> missing_store("sqlite:///:memory:"), missing_store("https://mlflow.example.com"), missing_store("databricks")
    ('', '', '')
    """
    if found := _SQLITE.match(uri):
        path = unquote(found["path"])
        if path.startswith((":memory:", "file:")):
            return ""
    elif uri.startswith("file:"):
        path = unquote(re.sub("^file:(//(localhost)?(?=/))?", "", uri))
    elif not uri or _SCHEME.match(uri):
        return ""
    else:
        path = uri
    return "" if Path(path).expanduser().exists() else path
