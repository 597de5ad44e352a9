"""Control stays small: what serves models, or is big, is not imported. Starts processes, as imports stay."""

from __future__ import annotations

import subprocess
import sys


def test_control_imports_no_model_library() -> None:
    code = (
        "import sys\n"
        "import tallystick.control.api, tallystick.control.sql_store, tallystick.control.service\n"
        "big = {'mlflow', 'pandas', 'numpy', 'alembic', 'databricks', 'httpx'} & set(sys.modules)\n"
        "sys.exit(sorted(big) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
