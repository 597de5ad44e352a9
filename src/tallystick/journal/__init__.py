"""What happened, appended before it is acknowledged: segments on disk that the recorder turns into tables.

Only bytes, files and locks live here. Who appends (gateways, control) and who reads (the recorder) do not import
each other; they meet in `format`.
"""
