"""Which models may be named in a config, and by whom. Pure: whether one is there shows when it is deployed."""

from __future__ import annotations

import re

# MLflow's registry keeps "/", ":" and "@" for its own use.
_NAME = r"[^/:@\x00-\x1f\x7f]{1,256}"
_VERSION = re.compile(r"[1-9]\d{0,17}")
_REGISTRY_NAME = re.compile(_NAME)
_MODELS_URI = re.compile(rf"models:/{_NAME}(/{_VERSION.pattern}|@{_NAME})")
_LOGGED_MODEL_URI = re.compile(r"models:/m-[0-9a-zA-Z]{1,64}")
_RUNS_URI = re.compile(r"runs:/[0-9A-Za-z_-]{1,64}(/[^/\x00-\x1f\x7f]+)+")
_PATH = re.compile(r"/[^\x00-\x1f\x7f]+")

ALLOWED = (
    "a registry name with entity_version, 'models:/<name>/<version>', 'models:/<name>@<alias>', "
    "'models:/m-<model id>', 'runs:/<run id>/<path>', or, by admins, an absolute path of a folder or a .py file"
)


def is_local(entity_name: str) -> bool:
    """Whether the model is a path of the server's own file system."""
    return entity_name.startswith("/")


def source_problem(entity_name: str, entity_version: str | None) -> str | None:
    """Return what is wrong with the place a model is said to be at, if anything is.

    >>> source_problem("churn", "3"), source_problem("models:/churn@champion", None)
    (None, None)
    >>> source_problem("churn", None)
    "entity_version is missing: a registry name needs one, as '3'; 'models:/churn@<alias>' takes an alias"
    """
    if ":/" not in entity_name and not is_local(entity_name):
        return _registry_problem(entity_name, entity_version)
    if any(part in (".", "..") for part in entity_name.split("/")) and not is_local(entity_name):
        return f"the model source '{entity_name[:200]}' has '.' or '..' in it"
    patterns = (_MODELS_URI, _LOGGED_MODEL_URI, _RUNS_URI, _PATH)
    if not any(pattern.fullmatch(entity_name) for pattern in patterns):
        return f"'{entity_name[:200]}' is not an allowed model source; allowed are {ALLOWED}"
    if entity_version is not None:
        return f"leave entity_version out: '{entity_name[:200]}' already says which version"
    return None


def _registry_problem(name: str, version: str | None) -> str | None:
    if not _REGISTRY_NAME.fullmatch(name) or name in (".", ".."):
        return f"'{name[:200]}' is not an allowed model source; allowed are {ALLOWED}"
    if version is None:
        return (
            f"entity_version is missing: a registry name needs one, as '3'; 'models:/{name[:200]}@<alias>' "
            "takes an alias"
        )
    if not _VERSION.fullmatch(version):
        return f"entity_version: expected a version number as '3', got '{version[:40]}'"
    return None
