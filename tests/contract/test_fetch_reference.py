"""A reference that MLflow has to be asked for."""

import mlflow
import pytest

from tallystick.entities import WorkerOptions
from tallystick.errors import DeploymentFailed, InvalidParameter, NotFound
from tallystick.monitor.fetch import fetch_reference
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.training.existing import locate
from tallystick.worker.resolve import resolve


@pytest.mark.parametrize("uri", ["models:/nobody/1", "runs:/nobody/model"])
def test_a_model_that_is_not_there_is_told_with_the_store_that_was_asked(mlflow_store, uri):
    with pytest.raises(
        InvalidParameter, match=rf"^{uri} could not be fetched: .*\(asked .*; MLFLOW_TRACKING_URI names"
    ):
        fetch_reference(uri)


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """A folder without a store, that is asked for one."""
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    yield tmp_path
    mlflow.set_tracking_uri(before)


def test_no_store_is_made_beside_a_registry(mlflow_store, empty_folder, monkeypatch):
    monkeypatch.setattr(mlflow.tracking._model_registry.utils, "_registry_uri", (mlflow_store / "mlruns").as_uri())
    with pytest.raises(DeploymentFailed, match=r"nobody.* not found .*asked file:.*mlruns"):
        resolve(WorkerSpec("r", "", "", "models:/nobody/1", "", str(empty_folder / "cache"), WorkerOptions(), 1))
    assert {path.name for path in empty_folder.iterdir()} == {"cache"}


@pytest.mark.parametrize("uri", ["models:/nobody/1", "models:/nobody@best", "models:/m-1234", "runs:/nobody/model"])
def test_no_store_is_made_where_a_model_is_looked_for(empty_folder, uri):
    told = r"could not be fetched: there is no MLflow store at mlflow\.db; to name the one that has it, {}"
    with pytest.raises(InvalidParameter, match=told.format("set MLFLOW_TRACKING_URI")):
        fetch_reference(uri)
    with pytest.raises(NotFound, match=told.format("set MLFLOW_TRACKING_URI or give --tracking-uri")):
        locate(uri, empty_folder / "scratch")
    for socket, how in (("", "set MLFLOW_TRACKING_URI"), ("s", "start the server with --tracking-uri")):
        with pytest.raises(DeploymentFailed, match=told.format(how)):
            resolve(WorkerSpec("r", socket, "", uri, "", str(empty_folder / "cache"), WorkerOptions(), 1))
    assert {path.name for path in empty_folder.iterdir()} <= {"cache"}
