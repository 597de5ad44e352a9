"""The command line starts quickly: what only some commands need is not imported. Starts a process, as imports stay."""

import subprocess
import sys


def test_the_command_line_imports_no_big_library():
    code = (
        "import sys, tallystick.__main__\n"
        "big = {'mlflow', 'pandas', 'numpy', 'pyarrow', 'duckdb', 'sqlalchemy', 'fastapi', 'pydantic', 'scipy'}\n"
        "sys.exit(sorted(big & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
