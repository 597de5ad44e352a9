"""A model that streams."""

import mlflow.pyfunc
from mlflow.models import set_model


class Words(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [f"{len(model_input)} rows"]

    def predict_stream(self, context, model_input, params=None):
        for word in ("one", "two", "three"):
            yield {"word": word}


set_model(Words())
