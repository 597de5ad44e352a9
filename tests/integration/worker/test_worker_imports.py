"""What a worker imports for a Python file."""

import subprocess
import sys

import pytest

from tallystick.entities import ResolvedModel
from tallystick.worker.model import load

CODE = """
import sys
from tallystick.entities import ResolvedModel
from tallystick.worker.model import load
for path in sys.argv[1:]:
    print(load(ResolvedModel(path, "", ""), compares_packages=False).predict([1], {}), "mlflow" in sys.modules)
"""
PLAIN = """
class Doubler:
    def predict(self, rows):
        return [2 * row for row in rows]

model = Doubler()
"""
FUNCTION = """
def predict(rows):
    return [3 * row for row in rows]
"""
OF_MLFLOW = """
from mlflow.pyfunc import PythonModel

class Doubler(PythonModel):
    def predict(self, context, model_input, params=None):
        return [2 * row for row in model_input]

    def predict_stream(self, context, model_input, params=None):
        yield from model_input
"""


def test_files_without_mlflow_are_loaded_without_it(tmp_path):
    """Needs a process: this one has imported everything."""
    paths = [tmp_path / "plain.py", tmp_path / "function.py"]
    for path, text in zip(paths, (PLAIN, FUNCTION), strict=True):
        path.write_text(text)
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, paths)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[2] False", "[3] False"]), done.stderr


@pytest.mark.parametrize("text", [OF_MLFLOW, OF_MLFLOW + "\nmodel = Doubler()\n"], ids=["class", "object"])
def test_a_file_with_a_model_of_mlflow_is_bound_as_mlflow_does(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    loaded = load(ResolvedModel(str(path), "", ""), compares_packages=False)
    assert loaded.predict([1], {}) == [2]
    assert list(loaded.predict_stream([1], {})) == [1]
