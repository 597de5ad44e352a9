"""A model that tells which environment it runs in."""

import sys

import mlflow.pyfunc
from mlflow.models import set_model


class Prefix(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [sys.prefix] * len(model_input)


set_model(Prefix())
