"""A model with a parameter."""

import mlflow.pyfunc
from mlflow.models import set_model


class Scaled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["x"] * (params or {}).get("factor", 1)).to_numpy()


set_model(Scaled())
