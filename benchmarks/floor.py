"""What the model itself costs: direct calls in this process, one row."""

from __future__ import annotations

import json
import logging
import warnings

from benchmarks.bench import Bench, Row
from benchmarks.decode import us

TOPIC = "floor"


def run(bench: Bench) -> None:
    import mlflow.pyfunc
    import numpy as np
    import pandas as pd

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    model = mlflow.pyfunc.load_model(str(bench.models.cancer))
    bare = model.get_raw_model()
    split = json.loads(bench.models.body())["dataframe_split"]
    frame = pd.DataFrame(split["data"], columns=split["columns"])
    array = np.asarray(split["data"])
    ways = {
        "sklearn, predict(array)": lambda: bare.predict(array),
        "sklearn, predict(frame)": lambda: bare.predict(frame),
        "mlflow.pyfunc, predict(frame)": lambda: model.predict(frame),
    }
    first = 0.0
    for what, call in ways.items():
        took_us = us(call, bench.plan.budget_s)
        first = first or took_us
        bench.rows.append(Row(TOPIC, what, took_us, "µs", "sklearn, predict(array)", first))
