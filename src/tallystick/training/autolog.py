"""`tallystick.autolog()`: what is given to `fit` is held, and is a reference in the artifact once the model is logged.

Patched are `fit` of scikit-learn's estimators (those of xgboost and lightgbm are such) and what `xgboost.train` and
`lightgbm.train` go through (`native`), where rows are taken, and `mlflow.models.Model.log`, through which every flavor
and MLflow's own autolog go. Nothing here may end or change a training: what fails is one warning, and the model is
logged without.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tallystick.training import served
from tallystick.training.capture import Captured, Plan, capture, make_plan, tell, write
from tallystick.training.held import Held, Reservoir
from tallystick.training.log import WithParity, trusted_types
from tallystick.training.native import Matrices, patches_of
from tallystick.training.tabular import sampled

_MARK = "_tallystick_autolog"
_NO_SKOPS = (
    "tallystick.autolog: skops is not installed, by which MLflow writes scikit-learn models. This one is written by "
    "cloudpickle, which runs code when it is loaded: install skops, or give serialization_format, which decides it."
)
_NOT_HELD = "It was not fitted in this process after autolog(), is a copy, or its class is written in the script itself"


def autolog(*, privacy: str | Mapping[str, str] = "raw", k_anonymity: int = 1, disable: bool = False) -> None:
    """Capture a reference of every model that is fitted and logged from here on, without another word.

    Rows given to the outermost `fit` (at most 100,000, drawn at random) are held as long as the model is. A script
    that trains and calls `mlflow.<flavor>.log_model`, or lets `mlflow.autolog` do it, is left as it is. Options are
    those of `log_model`; a second call takes new ones. `disable=True` undoes all of it.
    """
    installed = _installed()
    if disable:
        if installed is not None:
            installed.undo()
        return
    options = _Options(privacy, k_anonymity)
    if installed is not None and installed.is_on:
        installed.options = options
        return
    _Autolog(options).install()


@dataclass(frozen=True)
class _Options:
    privacy: str | Mapping[str, str]
    k_anonymity: int


class _Autolog:
    """The patches, and what they hold. Lives as long as they are in place: `Model.log` refers to it."""

    def __init__(self, options: _Options) -> None:
        self.options, self.reservoir, self.matrices = options, Reservoir(), Matrices()
        self.is_on = True
        self._originals: list[tuple[Any, str, Any, Any]] = []
        self._depth = threading.local()

    def install(self) -> None:
        from mlflow.models import Model
        from mlflow.utils.import_hooks import register_post_import_hook

        original = Model.__dict__["log"]
        patched = classmethod(_log_patch(self, original.__func__))
        setattr(patched.__func__, _MARK, self)
        self._replace(Model, "log", patched)
        # scikit-learn may be imported later, or never.
        register_post_import_hook(self._patch_fits, "sklearn.base", overwrite=False)
        register_post_import_hook(self._patch_default_format, "mlflow.sklearn", overwrite=False)
        for library in ("xgboost", "lightgbm"):
            register_post_import_hook(self._patch_native, library, overwrite=False)

    def undo(self) -> None:
        """Put back what was there. A patch over one of ours stays, and calls ours, which then do nothing."""
        self.is_on = False
        self.reservoir.clear()
        self.matrices.clear()
        for owner, name, original, patched in reversed(self._originals):
            if owner.__dict__.get(name) is patched:
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)
        self._originals.clear()

    def _replace(self, owner: Any, name: str, patched: Any) -> None:
        self._originals.append((owner, name, owner.__dict__.get(name), patched))
        setattr(owner, name, patched)

    def _patch_fits(self, module: Any) -> None:
        if not self.is_on:
            return
        base = module.BaseEstimator
        waiting = [base]
        while waiting:
            kind = waiting.pop()
            waiting += type.__subclasses__(kind)
            self._patch_fit(kind)
        # Estimators that are imported or written later.
        inherited = base.__init_subclass__.__func__

        def announced(cls: type, /, **options: Any) -> None:
            inherited(cls, **options)
            if self.is_on:
                self._patch_fit(cls)

        self._replace(base, "__init_subclass__", classmethod(announced))

    def _patch_default_format(self, module: Any) -> None:
        # Where `Model.log` is called, nobody knows any more whether the script asked for the format.
        if self.is_on:
            self._replace(module, "log_model", _format_patch(self, module.log_model))

    def _patch_fit(self, kind: type) -> None:
        fit = kind.__dict__.get("fit")
        if kind.__module__ == "__main__":
            # Such a class is written into the model's file as it is, and would carry this patch along.
            return
        ours = getattr(fit, _MARK, None)
        if inspect.isfunction(fit) and not (ours is not None and ours.is_on):
            patched = _fit_patch(self, fit)
            setattr(patched, _MARK, self)
            self._replace(kind, "fit", patched)

    def _patch_native(self, module: Any) -> None:
        if not self.is_on:
            return
        for owner, name, patch in patches_of(module):
            patched = patch(self, owner.__dict__[name])
            setattr(patched, _MARK, self)
            self._replace(owner, name, patched)

    @property
    def is_looking(self) -> bool:
        """Whether this is the script's own call, not one inside a `fit` or a capture."""
        return self.is_on and not getattr(self._depth, "value", 0)

    @contextmanager
    def _looking_away(self) -> Iterator[None]:
        """Hold nothing of what is done meanwhile."""
        depth = getattr(self._depth, "value", 0)
        self._depth.value = depth + 1
        try:
            yield
        finally:
            self._depth.value = depth

    @contextmanager
    def fitting(self, model: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Hold the rows of an outermost fit; those of a fit that fails are forgotten."""
        depth = getattr(self._depth, "value", 0)
        self._depth.value = depth + 1
        try:
            if depth == 0 and self.is_on:
                self._hold(model, given, named)
            yield
        except BaseException:
            if depth == 0:
                self.reservoir.drop(model)
            raise
        finally:
            self._depth.value = depth

    def _hold(self, model: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        rows = given[0] if given else named.get("X")
        labels = given[1] if len(given) > 1 else named.get("y")
        if rows is None or not hasattr(rows, "shape") or not hasattr(type(model), "predict"):
            return
        try:
            kept, kept_labels = sampled(rows, labels)
            self.reservoir.keep(model, Held(kept, kept_labels, int(rows.shape[0])))
        except Exception as error:  # noqa: BLE001  whatever it is, the training goes on
            _warn(f"rows given to {type(model).__name__}.fit could not be held", error)

    def wrap(self, flavor: Any, options: dict[str, Any]) -> Any:
        """Return the flavor that also leaves a reference, or the same where there is nothing to leave."""
        name = getattr(flavor, "__name__", "").rpartition(".")[2]
        model = options.get(served.MODEL_PARAMETERS.get(name, ""))
        if model is None or isinstance(flavor, WithParity):
            return flavor
        held = self._held_for(model)
        if held is None:
            why = self.reservoir.entry(model)
            why = why if isinstance(why, str) else _NOT_HELD
            told = f"no rows are held for it: {why}; tallystick.log_model takes the rows from you"
            _warn(f"{type(model).__name__}: {told}", None)
            return flavor

        _let_skops_write(name, model, options)

        def finish(folder: Path, run_id: str | None) -> None:
            try:
                with self._looking_away():
                    plan = self._plan(held, options)
                    captured = self._captured(plan, name, model, options, folder, run_id)
                    write(captured, folder)
            except Exception as error:  # noqa: BLE001  whatever it is, the model is logged
                _warn(f"{type(model).__name__}: no reference could be captured", error)
                return
            tell(captured)

        return WithParity(flavor, finish)

    def _plan(self, held: Held, options: Mapping[str, Any]) -> Plan:
        plan = make_plan(held.rows, held.labels, None, self.options.privacy, self.options.k_anonymity, given=held.given)
        plan = replace(plan, findings=held.findings)
        signature = options.get("signature")
        if signature is not None and signature.inputs is not None and signature.inputs.has_input_names():
            wanted = signature.inputs.input_names()
            if list(plan.rows.frame.columns) != wanted and not plan.rows.is_array:
                raise ValueError(
                    f"fit got the columns {_some(plan.rows.frame.columns)}, the model takes {_some(wanted)}"
                )
        return plan

    def _captured(
        self, plan: Plan, name: str, model: Any, options: dict[str, Any], folder: Path, run_id: str | None
    ) -> Captured:
        return capture(plan, model, served.in_memory(name, model, options), folder, run_id)

    def _held_for(self, model: Any) -> Held | None:
        """Return the rows of a model, or of the one estimator that a model of another kind holds."""
        held = self.reservoir.find(model)
        if held is None and hasattr(model, "__dict__"):
            inside = [found for value in vars(model).values() if (found := self.reservoir.find(value)) is not None]
            held = inside[0] if len(inside) == 1 else None
        return held


def _let_skops_write(name: str, model: Any, options: dict[str, Any]) -> None:
    """Name to MLflow the types that it refuses to load otherwise, where they are all of known libraries."""
    if name != "sklearn" or options.get("serialization_format") not in (None, "skops"):
        return
    if options.get("skops_trusted_types") is None and (trusted := trusted_types(model)):
        options["skops_trusted_types"] = trusted


def _installed() -> _Autolog | None:
    from mlflow.models import Model

    return getattr(Model.log, _MARK, None)


def _log_patch(state: _Autolog, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def log(cls: type, artifact_path: Any = None, flavor: Any = None, *args: Any, **options: Any) -> Any:
        if state.is_on:
            try:
                flavor = state.wrap(flavor, options)
            except Exception as error:  # noqa: BLE001  whatever it is, the model is logged
                _warn("no reference could be captured", error)
        return original(cls, artifact_path, flavor, *args, **options)

    return log


def _format_patch(state: _Autolog, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `mlflow.sklearn.log_model` that needs no skops where it is not there: mlflow-skinny brings none."""
    parameters = inspect.signature(original)
    format_ = parameters.parameters.get("serialization_format")

    @functools.wraps(original)
    def log_model(*given: Any, **named: Any) -> Any:
        if state.is_on and format_ is not None and format_.default is None and find_spec("skops") is None:
            # What MLflow does not take is for MLflow to say.
            with suppress(TypeError):
                call = parameters.bind(*given, **named)
                if call.arguments.get("serialization_format") is None:
                    call.arguments["serialization_format"] = "cloudpickle"
                    given, named = call.args, call.kwargs
                    warnings.warn(_NO_SKOPS, UserWarning, stacklevel=2)
        return original(*given, **named)

    return log_model


def _fit_patch(state: _Autolog, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(self: Any, *given: Any, **named: Any) -> Any:
        with state.fitting(self, given, named):
            return original(self, *given, **named)

    return fit


def _warn(what: str, error: Exception | None) -> None:
    why = "" if error is None else f": {getattr(error, 'message', None) or f'{type(error).__name__}: {error}'}"
    warnings.warn(f"tallystick.autolog: {what}{why}. The model is logged without reference.", UserWarning, stacklevel=4)


def _some(names: Any) -> str:
    shown = [str(name) for name in list(names)[:5]]
    return ", ".join(shown) + (" …" if len(names) > 5 else "")
