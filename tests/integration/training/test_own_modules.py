"""Modules of one's own that a saved model needs."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from tallystick.training import lint
from tallystick.training.own_modules import left_out


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module beside the script that is run."""
    (tmp_path / "own_helpers.py").write_text("def twice(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Put back as it was, so that each test has its own.
    monkeypatch.setitem(sys.modules, "own_helpers", ModuleType("own_helpers"))
    del sys.modules["own_helpers"]
    return importlib.import_module("own_helpers")


def folder_of(tmp_path: Path, pickled: bytes) -> Path:
    folder = tmp_path / "model" / "data"
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(pickled)
    return folder.parent


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_module_beside_the_script_is_told(tmp_path: Path, own: ModuleType, protocol: int) -> None:
    folder = folder_of(tmp_path, pickle.dumps([Counter, {"a": own.twice}, own.twice], protocol))
    assert left_out(folder) == ["own_helpers.py"]
    (line,) = lint.modules(folder)
    assert line.endswith('log it with code_paths=["own_helpers.py"]')


def test_a_module_that_a_function_of_the_script_calls_is_told(tmp_path: Path, own: ModuleType) -> None:
    # A function of the script is written whole, with the modules that it names.
    script = {"own": own, "__name__": "__main__"}
    exec("def called(number):\n    return own.twice(number)\n", script)
    assert left_out(folder_of(tmp_path, cloudpickle.dumps(script["called"]))) == ["own_helpers.py"]


def test_each_of_the_modules_that_a_function_calls_is_told(
    tmp_path: Path, own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_more.py").write_text("def thrice(number):\n    return 3 * number\n")
    monkeypatch.setitem(sys.modules, "own_more", ModuleType("own_more"))
    del sys.modules["own_more"]
    script = {"own": own, "more": importlib.import_module("own_more"), "__name__": "__main__"}
    exec("def called(number):\n    return own.twice(more.thrice(number))\n", script)
    assert left_out(folder_of(tmp_path, cloudpickle.dumps(script["called"]))) == ["own_helpers.py", "own_more.py"]


def test_a_folder_with_the_name_of_a_pickle_is_none(tmp_path: Path, own: ModuleType) -> None:
    folder = folder_of(tmp_path, pickle.dumps(own.twice))
    (folder / "steps.pkl").mkdir()
    assert left_out(folder) == ["own_helpers.py"]


def test_what_the_artifact_brings_or_the_environment_has_is_not_told(tmp_path: Path, own: ModuleType) -> None:
    folder = folder_of(tmp_path, pickle.dumps([own.twice, Counter, pytest.raises, "own_helpers"]))
    (folder / "code").mkdir()
    (folder / "code" / "own_helpers.py").touch()
    assert left_out(folder) == []


def test_a_text_that_reads_as_a_module_is_none(tmp_path: Path, own: ModuleType) -> None:
    assert left_out(folder_of(tmp_path, pickle.dumps({"own_helpers": ["own_helpers", Counter]}))) == []


def test_what_is_no_pickle_is_passed_over(tmp_path: Path, own: ModuleType) -> None:
    assert left_out(folder_of(tmp_path, b"no pickle" + pickle.dumps(own.twice))) == []
