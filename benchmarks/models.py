"""The models that are served, logged by a process of its own: `python models.py FOLDER`."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import environment

COLUMNS = (3, 30, 300)

CONSTANT = '''"""Answers the same whatever it is asked."""


def predict(data):
    return [1]
'''


@dataclass(frozen=True)
class Models:
    """Where the models are."""

    #: MLflow store in which `cancer` has versions 1 and 2.
    uri: str
    #: Folder of version 1, and the same data as a request body of so many rows.
    cancer: Path
    frame: Path
    #: Folders of linear models, by number of columns.
    columns: dict[int, Path]
    #: A Python file.
    constant: Path

    def body(self, rows: int = 1) -> bytes:
        """Return so many rows of the breast cancer data as `dataframe_split`."""
        data = json.loads(self.frame.read_text())
        return split_body(data["columns"], [data["data"][n % len(data["data"])] for n in range(rows)])


def split_body(columns: list[str], data: list[list[float]]) -> bytes:
    return json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()


def make_models(folder: Path) -> Models:
    """Log the models below `folder`, in another process: this one stays small."""
    argv = [sys.executable, "-m", "benchmarks.models", str(folder)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the models could not be logged: {done.stderr[-2000:]}")
    (folder / "constant.py").write_text(CONSTANT)
    return Models(
        uri=_uri(folder),
        cancer=Path((folder / "cancer.txt").read_text()),
        frame=folder / "cancer.json",
        columns={count: folder / f"columns-{count}" for count in COLUMNS},
        constant=folder / "constant.py",
    )


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _log(folder: Path) -> None:
    import mlflow
    import numpy as np
    import pandas as pd
    import sklearn
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(_uri(folder))
    mlflow.create_experiment("benchmarks", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("benchmarks")
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    frame.columns = [name.replace(" ", "_") for name in frame.columns]
    (folder / "cancer.json").write_text(json.dumps(frame.to_dict(orient="split", index=False)))
    for c in (1.0, 0.001):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(frame, y)
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model,
                name="model",
                signature=mlflow.models.infer_signature(frame, model.predict(frame)),
                input_example=frame.head(5),
                registered_model_name="cancer",
                # MLflow would find the same, by loading the model in yet another process.
                pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
            )
    source = mlflow.artifacts.download_artifacts("models:/cancer/1", dst_path=str(folder / "cancer"))
    (folder / "cancer.txt").write_text(str(Path(source).absolute()))
    random = np.random.default_rng(0)
    for count in COLUMNS:
        data = pd.DataFrame(random.normal(size=(1000, count)), columns=[f"x{n}" for n in range(count)])
        linear = LinearRegression().fit(data, data.sum(axis=1))
        mlflow.sklearn.save_model(
            linear,
            str(folder / f"columns-{count}"),
            signature=mlflow.models.infer_signature(data, linear.predict(data)),
            input_example=data.head(5),
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        )


if __name__ == "__main__":
    _log(Path(sys.argv[1]))
