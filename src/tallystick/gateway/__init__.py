"""The public port: authenticate, limit, route, hand the bytes to a worker, answer.

No module here imports pandas, MLflow or a model, parses a body that it can pass on, or waits for a disk, a database
or control while an invocation is under way.
"""
