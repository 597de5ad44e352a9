"""The model itself: load it, call it. With `resolve.py` the only importer of MLflow in a server.

MLflow's own `PyFuncModel.predict` checks and converts the input again, at a cost of milliseconds a row. The
input has been through the compiled decoder by then, so the flavor's own predict function is called directly.
"""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tallystick.entities import ResolvedModel
from tallystick.errors import DeploymentFailed
from tallystick.worker.disk import sync_all

_FITTED_FLAVORS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})

Predict = Callable[[Any, dict[str, Any]], Any]
PredictStream = Callable[[Any, dict[str, Any]], Iterator[Any]]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    predict: Predict
    predict_stream: PredictStream | None
    #: `signature` of the MLmodel file; None where the model has none.
    signature: dict[str, Any] | None
    #: The signature was derived from type hints: such models take `inputs` as they come.
    has_type_hints: bool
    #: What an accelerated call needs: the estimator, and the name of the method that `predict` calls on it.
    estimator: Any = None
    method: str = ""
    #: What has steps to trace: a fitted estimator or booster; None where only `predict` is known.
    fitted: Any = None
    #: A request body like those that callers send, from the model's input example.
    example_body: bytes | None = None


def load(resolved: ResolvedModel, *, compares_packages: bool) -> LoadedModel:
    """Load the model. Blocks, runs the model's code; whatever that raises comes through.

    With `compares_packages` MLflow logs which packages are not those that the model was logged with.
    """
    path = Path(resolved.local_path)
    return _load_file(path) if path.suffix == ".py" else _load_folder(path, compares_packages)


def _load_folder(path: Path, compares_packages: bool) -> LoadedModel:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(path), suppress_warnings=not compares_packages)
    described = yaml.safe_load((path / "MLmodel").read_text())
    signature = described.get("signature")
    # An MLflow without these attributes gets its own public, slower path.
    predict = getattr(model, "_predict_fn", None) or model.predict
    stream = getattr(model, "_predict_stream_fn", None)
    example = model.metadata.get_serving_input(str(path))
    return LoadedModel(
        predict=_with_params(predict),
        predict_stream=_with_params(stream) if stream and _streams(model) else None,
        signature=signature,
        has_type_hints=bool(described.get("is_signature_from_type_hint")),
        estimator=model.get_raw_model() if "sklearn" in described["flavors"] else None,
        method=getattr(predict, "__name__", ""),
        example_body=example.encode() if example else None,
        fitted=_fitted(model, described["flavors"]),
    )


def _fitted(model: Any, flavors: Mapping[str, Any]) -> Any:
    if not _FITTED_FLAVORS.intersection(flavors):
        return None
    try:
        return model.get_raw_model()
    except Exception:  # noqa: BLE001  an MLflow of another age; its steps are then not looked into
        traceback.print_exc()
        return None


def _streams(model: Any) -> bool:
    """Whether a PythonModel has a `predict_stream` of its own; the base class has one that only raises."""
    from mlflow.pyfunc import PythonModel

    try:
        author = type(model.unwrap_python_model())
    except Exception:  # noqa: BLE001  not a PythonModel: its flavor offered the function, so it streams
        return True
    return author.predict_stream is not PythonModel.predict_stream


def _with_params(function: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Any]:
    wanted = inspect.signature(function).parameters.get("params")
    if wanted is not None and wanted.kind is not inspect.Parameter.VAR_KEYWORD:
        return lambda data, params: function(data, params=params)
    return lambda data, params: function(data)


def _load_file(path: Path) -> LoadedModel:
    """Load a model from a Python file: one given to `mlflow.models.set_model`, or named `model` or `predict`."""
    if "set_model(" in path.read_text():
        # Of such a folder no package is asked for.
        return _load_folder(_as_folder(path), compares_packages=False)
    module = _run(path)
    model = _find_model(module, path.name)
    signature = getattr(module, "signature", None)
    example = getattr(module, "input_example", None)
    if example is not None:
        from mlflow.models import convert_input_example_to_serving_input

        example = convert_input_example_to_serving_input(example)
    predict, stream = _bind(model)
    return LoadedModel(
        predict=predict,
        predict_stream=stream,
        signature=signature.to_dict() if signature is not None else None,
        has_type_hints=False,
        example_body=example.encode() if example else None,
    )


def _as_folder(path: Path) -> Path:
    """Turn a models-from-code file into an MLflow model folder beside it, once."""
    import mlflow.pyfunc

    folder = path.with_suffix(".mlmodel")
    if not (folder / "MLmodel").exists():
        # Made beside and renamed: one that a crash or a power cut left unfinished never has the final name.
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix="model-"))
        # The file's packages are those of this interpreter: there is nothing to infer from.
        mlflow.pyfunc.save_model(str(scratch / "model"), python_model=str(path), pip_requirements=[])
        sync_all(scratch)
        try:
            (scratch / "model").rename(folder)
        except OSError:
            # Another worker was quicker; the content is the same.
            if not (folder / "MLmodel").exists():
                raise
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _run(path: Path) -> ModuleType:
    name = f"tallystick_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DeploymentFailed(f"{path.name} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as an import would: dataclasses and pickles look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _find_model(module: ModuleType, file_name: str) -> Any:
    if hasattr(module, "model"):
        return module.model
    base = _python_model()
    classes = [
        value
        for value in vars(module).values()
        if base and isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(classes) == 1:
        return classes[0]()
    if callable(getattr(module, "predict", None)):
        return module.predict
    raise DeploymentFailed(
        f"{file_name} holds no model. Name one 'model' (anything with a predict method), write a function "
        "'predict(frame)', exactly one subclass of mlflow.pyfunc.PythonModel, or call mlflow.models.set_model(...)."
    )


def _python_model() -> type[Any] | None:
    """MLflow's base class of models; None where the file that ran has not imported MLflow, and so has none of these.

    MLflow takes longer to import than all else that a worker needs.
    """
    return getattr(sys.modules.get("mlflow.pyfunc"), "PythonModel", None)


def _bind(model: Any) -> tuple[Predict, PredictStream | None]:
    base = _python_model()
    if base is None or not isinstance(model, base):
        function = model.predict if hasattr(model, "predict") else model
        if not callable(function):
            raise DeploymentFailed(f"'model' is of type {type(model).__name__}, which has no predict method.")
        return _with_params(function), None
    from mlflow.pyfunc import PythonModelContext

    context = PythonModelContext(artifacts={}, model_config={})
    model.load_context(context)
    streams = type(model).predict_stream is not base.predict_stream
    return _bound(model.predict, context), _bound(model.predict_stream, context) if streams else None


def _bound(method: Callable[..., Any], context: Any) -> Callable[[Any, dict[str, Any]], Any]:
    call = _with_params(method) if "context" not in inspect.signature(method).parameters else None
    if call is not None:
        return call
    takes_params = "params" in inspect.signature(method).parameters
    if takes_params:
        return lambda data, params: method(context, data, params=params)
    return lambda data, params: method(context, data)
