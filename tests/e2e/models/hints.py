"""A model whose signature is its type hints."""

import mlflow.pyfunc
from mlflow.models import set_model


class Greeter(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return [f"hello {name}" for name in model_input]


set_model(Greeter())
