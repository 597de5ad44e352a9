"""A reference for a model that is there: fetched, asked, and put back beside its files, wherever MLflow keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tallystick.errors import AlreadyExists, InvalidParameter, NotFound, TallystickError
from tallystick.gate import golden
from tallystick.mlflow_store import missing_store_of, store_of
from tallystick.parity import storage
from tallystick.parity.columns import with_columns
from tallystick.parity.reference import Reference
from tallystick.printable import listed_names, without_password
from tallystick.training import lint
from tallystick.training.capture import Captured, Plan, capture, capture_rows_alone, make_plan, write
from tallystick.training.files import read_history, read_table

_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/]+)|@(?P<alias>.+))")
_RUN = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")
EXAMPLE_ONLY = "made from the signature and {rows} example rows: how training was distributed is not known"


@dataclass(frozen=True)
class Place:
    """A model's files on this machine, and how files get to where they came from."""

    uri: str
    folder: Path
    upload: Callable[[Path], None] | None = None

    @property
    def has_reference(self) -> bool:
        """Whether there is a reference already."""
        return (self.folder / golden.FOLDER / storage.PROFILE_FILE).is_file()

    @property
    def described(self) -> dict[str, Any]:
        """What the MLmodel file says; empty where there is none."""
        path = self.folder / "MLmodel"
        return (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


def use_stores(tracking_uri: str, registry_uri: str) -> None:
    """Have MLflow ask these stores; empty ones leave what it has."""
    import mlflow

    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    if registry_uri:
        mlflow.set_registry_uri(registry_uri)


def locate(uri: str, scratch: Path) -> Place:
    """Return a model's place: a folder as it is, all else downloaded into `scratch`.

    Raises NotFound when there is no such model, and InvalidParameter when it is none that MLflow can fetch.
    """
    local = Path(uri.removeprefix("file://")).expanduser()
    if local.is_dir():
        return Place(uri, local)
    if not uri.startswith(("models:/", "runs:/")):
        raise NotFound(
            f"There is no folder {uri}, and it is none of models:/churn/3, models:/m-…, runs:/<run id>/model."
        )
    import mlflow
    from mlflow.exceptions import MlflowException

    named = _VERSION.fullmatch(uri)
    if named and named["version"] and not named["version"].isdecimal():
        raise InvalidParameter(
            f"{uri}: name a version or an alias, such as models:/{named['name']}/1 or models:/{named['name']}@champion"
        )
    if path := missing_store_of(uri):
        raise NotFound(
            f"{uri} could not be fetched: there is no MLflow store at {path}; to name the one "
            "that has it, set MLFLOW_TRACKING_URI or give --tracking-uri"
        )
    try:
        place = Place(uri, Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(scratch))))
        if place.described:
            return Place(uri, place.folder, _upload(uri, place.described))
    except MlflowException as error:
        kind = NotFound if error.error_code == "RESOURCE_DOES_NOT_EXIST" else InvalidParameter
        asked = f"asked {without_password(store_of(uri))}; MLFLOW_TRACKING_URI names another store"
        raise kind(f"{uri} could not be fetched: {error.message} ({asked})") from error
    except OSError as error:
        raise NotFound(f"{uri} could not be fetched: {error.strerror or error}") from error
    except ImportError as error:
        what = error.name or str(error)
        raise InvalidParameter(f"{uri} could not be fetched{_source(uri)}: {what} is not installed here") from error
    except Exception as error:
        # Artifact stores raise kinds of their own.
        raise InvalidParameter(f"{uri} could not be fetched{_source(uri)}: {type(error).__name__}: {error}") from error
    raise InvalidParameter(f"{uri} has no MLmodel file{_source(uri)}{_logged_models(uri)}")


def _source(uri: str) -> str:
    """Return where a version's files are, in words; empty where that is not known."""
    import mlflow

    named = _VERSION.fullmatch(uri)
    if not (named and named["version"]):
        return ""
    source = mlflow.MlflowClient().get_model_version(named["name"], named["version"]).source
    return f" (its source is {without_password(source)})"


def _logged_models(uri: str) -> str:
    """Return the models of the run that a URI or a version's source names, in words: MLflow 3 keeps them by themselves.

    A version that was registered with a run as its source has none of the run's files then, and MLflow cannot load it.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client, named = mlflow.MlflowClient(), _VERSION.fullmatch(uri)
    try:
        source = client.get_model_version(named["name"], named["version"]).source if named and named["version"] else uri
        run = _RUN.fullmatch(source)
        outputs = getattr(client.get_run(run["run"]), "outputs", None) if run else None
    except MlflowException:
        return ""
    logged = [f"models:/{each.model_id}" for each in getattr(outputs, "model_outputs", ())]
    return f"; the run's models are {', '.join(logged)}: register one of these" if logged else ""


def _upload(uri: str, described: Mapping[str, Any]) -> Callable[[Path], None]:
    """Return what puts a folder's files into the artifact below `parity/`."""
    import mlflow

    client = mlflow.MlflowClient()
    named, run = _VERSION.fullmatch(uri), _RUN.fullmatch(uri)
    model_id = described.get("model_id")
    if named:
        version = (
            client.get_model_version_by_alias(named["name"], named["alias"])
            if named["alias"]
            else client.get_model_version(named["name"], named["version"])
        )
        model_id = getattr(version, "model_id", None)
        if not model_id:
            return _into_store(client.get_model_version_download_uri(named["name"], version.version))
    elif not run:
        model_id = uri.removeprefix("models:/")
    if model_id:
        return lambda files: client.log_model_artifacts(model_id, str(files), golden.FOLDER)
    assert run is not None
    return lambda files: client.log_artifacts(run["run"], str(files), f"{run['path']}/{golden.FOLDER}")


def _into_store(uri: str) -> Callable[[Path], None]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return lambda files: get_artifact_repository(uri).log_artifacts(str(files), golden.FOLDER)


@dataclass(frozen=True)
class Data:
    """What a reference is to be made from: rows with or without labels, and rows that were held out."""

    rows: Path | None = None
    held_out: Path | None = None
    label: str = ""
    privacy: str | Mapping[str, str] = "raw"
    k_anonymity: int = 1
    #: Columns of `rows` that say whom a row is about, and when it was; and the source of the features.
    keys: tuple[str, ...] = ()
    time: str = ""
    history: Path | None = None
    #: Column of `history` with its times, where it is not `time`.
    history_time: str = ""


def add(place: Place, data: Data, *, replace: bool = False, without_model: bool = False) -> Captured:
    """Capture the reference of a model that is there, and put it into its artifact.

    Raises AlreadyExists when there is one and it is not to be replaced, and InvalidParameter for data that does not
    fit the model.
    """
    if place.has_reference and not replace:
        raise AlreadyExists(f"{place.uri} has a reference already; --force replaces it, and what was captured is gone")
    described = place.described
    if not described or without_model:
        if data.rows is None:
            raise InvalidParameter(f"{place.uri}: there is no MLmodel file, and no --data to make a reference from")
        captured = capture_rows_alone(_plan(data, {}))
    else:
        saved = lint.load_saved(place.folder)
        if saved.predict is None:
            raise InvalidParameter(
                f"{place.uri}: {saved.findings[0]}. Run this where the model's packages are installed, or make a "
                "reference of the data alone with --no-model"
            )
        captured = capture(_plan(data, described, place.folder), None, None, place.folder, described.get("run_id"))
    write(captured, place.folder)
    if place.upload is not None:
        try:
            place.upload(place.folder / golden.FOLDER)
        except Exception as error:
            # Artifact stores raise kinds of their own.
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TallystickError(f"the reference was made, but cannot be put into {place.uri}: {told}") from error
    return captured


def check_arrived(place: Place, scratch: Path) -> None:
    """Raise TallystickError when the model, fetched again, has no reference: its registry keeps a copy of its own."""
    if place.upload is not None and not locate(place.uri, scratch).has_reference:
        raise TallystickError(
            f"the files were added, but {place.uri} is fetched without them: the registry keeps a copy of its own. "
            "Add the reference to the model that was logged (models:/m-…), and register that again"
        )


def _plan(data: Data, described: Mapping[str, Any], folder: Path | None = None) -> Plan:
    inputs = _inputs(described)
    if data.rows is None:
        if data.keys or data.time or data.history:
            raise InvalidParameter("--key, --time and --history are about the rows of --data")
        assert folder is not None
        example = _example(folder, data)
        plan = make_plan(example, None, None, data.privacy, data.k_anonymity)
        return Plan(
            plan.rows,
            privacy=data.privacy,
            k_anonymity=data.k_anonymity,
            given=len(plan.rows.frame),
            degraded=(EXAMPLE_ONLY.format(rows=len(plan.rows.frame)),),
        )
    rows, labels, beside = _read(data.rows, data.label, inputs, (*data.keys, *([data.time] if data.time else [])))
    asked = _asked(data, beside, types_of(inputs))
    held_out = None
    if data.held_out is not None:
        more, truth, _ = _read(data.held_out, data.label, inputs, tuple(beside.columns), is_needed=False)
        if truth is None:
            raise InvalidParameter("--eval-data is for measuring quality: say with --label which column was right")
        held_out = (more, truth)
    takes_array = bool(inputs) and all(entry.get("type") == "tensor" and not entry.get("name") for entry in inputs)
    if takes_array:
        kind = inputs[0]["tensor-spec"]["dtype"]
        return make_plan(rows.to_numpy(dtype=kind), labels, None, data.privacy, data.k_anonymity, **asked)
    return make_plan(rows, labels, held_out, data.privacy, data.k_anonymity, **asked)


def _asked(data: Data, beside: pd.DataFrame, types: Mapping[str, str]) -> dict[str, Any]:
    """Return whom and when rows are about, as `make_plan` takes it. Raises InvalidParameter for half of it."""
    if data.history is not None and not (data.keys and data.time):
        raise InvalidParameter("--history needs --key and --time: whom each row is about, and when it was")
    return {
        "keys": beside[list(data.keys)] if data.keys else None,
        "timestamps": beside[data.time] if data.time else None,
        "history": None
        if data.history is None
        else read_history(data.history, data.keys, data.history_time or data.time, types),
    }


def types_of(inputs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the types of a signature's named columns."""
    return {entry["name"]: entry["type"] for entry in inputs if entry.get("name")}


def _inputs(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = (described.get("signature") or {}).get("inputs")
    found = yaml.safe_load(text) if isinstance(text, str) else text
    return list(found or [])


def _example(folder: Path, data: Data) -> Any:
    from mlflow.models import Model

    model = Model.load(str(folder))
    example = model.load_input_example(str(folder)) if model.saved_input_example_info else None
    if example is None:
        raise InvalidParameter("the model has no input example to make a reference from: give --data")
    return example


def _read(
    path: Path, label: str, inputs: list[dict[str, Any]], named: tuple[str, ...] = (), *, is_needed: bool = True
) -> tuple[pd.DataFrame, Any, pd.DataFrame]:
    """Return rows with the model's columns in its order, labels, and the columns `named`, which need not be its own.

    Raises InvalidParameter, with every fault.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    types = {**dict.fromkeys(named, "string"), **types_of(inputs)}
    frame = read_table(path, types)
    labels = None
    if label:
        if label not in frame:
            raise InvalidParameter(f"{path.name} has no column {label!r}; it has {listed_names(frame.columns)}")
        labels = frame.pop(label)
    wanted = [entry["name"] for entry in inputs if entry.get("name")]
    absent = [name for name in named if name not in frame]
    if absent and is_needed:
        raise InvalidParameter(
            f"{path.name} has no column {listed_names(absent)}; it has {listed_names(frame.columns)}"
        )
    beside = frame[[name for name in named if name not in absent]]
    if not wanted:
        return frame.drop(columns=beside.columns), labels, beside
    missing = [name for name in wanted if name not in frame]
    if missing:
        raise InvalidParameter(
            f"{path.name} lacks columns of the model: {listed_names(missing)}; it has {listed_names(frame.columns)}"
        )
    frame = frame[wanted]
    for name, kind in types.items():
        if kind in ("double", "float") and frame[name].dtype == object:
            # A file may have Decimals, where the endpoint takes floats.
            frame = with_columns(frame, {name: _as_floats(frame[name])})
    return frame, labels, beside


def _as_floats(series: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.infer_dtype(series, skipna=True) != "decimal":
        return series
    return series.astype("float64")


def read(place: Place) -> tuple[Reference, golden.Golden | None, dict[str, int]]:
    """Return a model's reference, its golden file, and the size of each file. Raises NotFound when there is none."""
    if not place.has_reference:
        raise NotFound(f"{place.uri} has no reference. tallystick reference add {place.uri} --data FILE makes one.")
    folder = place.folder / golden.FOLDER
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Reference.load(folder), golden.find(place.folder), sizes
