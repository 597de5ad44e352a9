"""A real server, real models, real clients. The server is one process tree, started once for most tests."""

from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from running import Server


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """An MLflow store with two versions of a classifier on real data, `cancer`; the second has the alias `champion`."""
    import warnings

    import sklearn
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("tests")
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    frame.columns = [name.replace(" ", "_") for name in frame.columns]
    models, infos = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The second as MLflow writes models by itself. The first is served more often, and skops takes a worker longer
        # to import than scikit-learn.
        for c, serialization_format in ((1.0, "cloudpickle"), (0.001, "skops")):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(frame, y)
            signature = mlflow.models.infer_signature(frame, model.predict(frame))
            with mlflow.start_run():
                info = mlflow.sklearn.log_model(
                    model,
                    name="model",
                    signature=signature,
                    input_example=frame.head(5),
                    serialization_format=serialization_format,
                    registered_model_name="cancer",
                    # Named, or MLflow would load the model once more to find out.
                    pip_requirements=[f"scikit-learn=={sklearn.__version__}", "skops"],
                )
            models.append(model)
            infos.append(info)
    mlflow.MlflowClient().set_registered_model_alias("cancer", "champion", "2")
    return SimpleNamespace(uri=uri, folder=folder, frame=frame, y=y, models=models, infos=infos)


@pytest.fixture(scope="session")
def server(tmp_path_factory, registry):
    """A server for the tests that leave it as they found it, save for endpoints of their own."""
    server = Server(tmp_path_factory.mktemp("server") / "data", "--tracking-uri", registry.uri, "--gateways", "1")
    yield server
    assert server.stop() == 0


@pytest.fixture
def own_server(tmp_path):
    """Makes servers that a test may break."""
    servers = []

    def start(*options: str, data_dir: Path | None = None, **kwargs) -> Server:
        server = Server(data_dir or tmp_path / f"data{len(servers)}", *options, **kwargs)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def cancer(server, registry):
    """An endpoint with both versions, 90/10."""
    server.deploy(
        "cancer",
        {"entity_name": "cancer", "entity_version": "1"},
        {"entity_name": "cancer", "entity_version": "2"},
        routes={"cancer-1": 90, "cancer-2": 10},
    )
    return "cancer"
