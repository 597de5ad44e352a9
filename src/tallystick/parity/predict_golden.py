"""Run by path in another environment, which has MLflow but not this project: `predict_golden.py MODEL ROWS ANSWER`.

Reads rows as JSON (a list of columns with `name`, `dtype`, `values`), loads the model with `mlflow.pyfunc` and writes
its predictions as JSON: rows x outputs.
"""

import json
import sys
from typing import Any


def frame_of(columns: list[dict[str, Any]]) -> Any:
    """Return the frame that the columns were taken from."""
    import pandas as pd

    return pd.DataFrame({column["name"]: _series(column["values"], column["dtype"]) for column in columns})


def _series(values: list[Any], dtype: str) -> Any:
    import pandas as pd

    if dtype.startswith("datetime64"):
        return pd.to_datetime(pd.Series(values))
    if dtype in ("object", "str") and any(isinstance(value, str) for value in values):
        # Texts of a request are what the pandas that reads them makes of them: `object` before 3, `str` since.
        return pd.Series(values)
    try:
        return pd.Series(values, dtype=dtype)
    except (TypeError, ValueError):
        # `str` of a newer pandas, or integers with nulls: what the values are must do.
        return pd.Series(values)


def table_of(answer: Any) -> list[list[Any]]:
    """Return predictions as rows of numbers or texts; NaN is null."""
    import numpy as np

    array = np.asarray(answer)
    table = array.reshape(len(array), -1)
    return [[_plain(value) for value in row] for row in table.tolist()]


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return None
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def main(model: str, rows: str, answer: str) -> None:
    """Predict, and write what came out."""
    import mlflow.pyfunc

    with open(rows, encoding="utf-8") as file:
        frame = frame_of(json.load(file))
    predicted = table_of(mlflow.pyfunc.load_model(model).predict(frame))
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(predicted, file)


if __name__ == "__main__":
    main(*sys.argv[1:4])
