"""A store of MLflow's for one file of tests; what MLflow keeps of it in the process is put back afterwards."""

import mlflow
import pytest


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory):
    """A folder with MLflow's store, which is asked by default."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        # Files: the tables of a new SQLite store take ten seconds to make.
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        patch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
        mlflow.set_tracking_uri((folder / "mlruns").as_uri())
        mlflow.set_experiment("capture")
        yield folder
        mlflow.set_tracking_uri(before)
