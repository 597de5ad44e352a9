"""The control process: desired state is written here only, and here only by `service`.

`store` keeps it, `service` guards it (who may, is it valid, which state follows), `api` gives it a REST face.
Parsing, transitions and rendering are pure modules. Nothing here is on the path of an invocation, and nothing
here imports mlflow, pandas or numpy: the process stays small and starts at once.
"""
