"""A model that misbehaves on request: `op` says how, `x` is echoed by the well-behaved."""

import ctypes
import os
import sys
import time

import mlflow.pyfunc
from mlflow.models import infer_signature, set_model


class Chaos(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [self.answer(op, x, params or {}) for op, x in zip(model_input["op"], model_input["x"], strict=True)]

    def answer(self, op, x, params):
        match op:
            case "hang":  # PyDLL keeps the interpreter lock while it is in the C function
                ctypes.PyDLL(None).sleep(1000)
            case "sleep":
                time.sleep(x)
            case "exit":
                os._exit(9)
            case "segfault":
                ctypes.string_at(0)
            case "raise":
                raise ValueError("a secret place: /srv/models/secret.txt " + os.environ.get("API_KEY", ""))
            case "sysexit":
                sys.exit(3)
            case "fork":
                os.fork()
            case "print":
                for _ in range(200):
                    print("x" * 50_000)
            case "environment":
                return os.environ.get("PLAIN", "")
            case "interpreter":
                return sys.prefix
            case "pid":
                return os.getpid()
        return x


set_model(Chaos())
_ = infer_signature
