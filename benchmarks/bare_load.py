"""Load a model with MLflow and say so; then, at a line of standard input, call it CALLS times and say so.

    python bare_load.py MODEL CALLS

It ends with its standard input.
"""

from __future__ import annotations

import sys

import mlflow.pyfunc


def main(model_uri: str, calls: int) -> None:
    model = mlflow.pyfunc.load_model(model_uri)
    print("loaded", flush=True)
    if calls and sys.stdin.readline():
        row = model.input_example.head(1)
        for _ in range(calls):
            model.predict(row)
        print("called", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
