"""A model that misbehaves on request: `op` says how, `x` is echoed by the well-behaved.

Without MLflow, which takes a worker longer to import than all else: this one is started anew many times.
"""

import ctypes
import os
import sys
import time


class Chaos:
    def predict(self, frame):
        return [self.answer(op, x) for op, x in zip(frame["op"], frame["x"], strict=True)]

    def answer(self, op, x):
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
            case "pid":
                return os.getpid()
        return x


model = Chaos()
