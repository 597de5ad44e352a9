import dataclasses
import sys
from pathlib import Path

import pytest

from tallystick.entities import EnvironmentChoice, ResolvedModel, WorkerOptions
from tallystick.errors import DeploymentFailed
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.worker import resolve as resolving
from tallystick.worker.resolve import needed_environment, resolve

RUNNING_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MLMODEL = "flavors:\n  python_function:\n    loader_module: x\nrun_id: r1\nsignature:\n  inputs: '[]'\n"


def spec(uri, tmp_path):
    return WorkerSpec("r", "", "", str(uri), "", str(tmp_path / "cache"), WorkerOptions(), 4)


def model(tmp_path, requirements="", python="", name="model"):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "requirements.txt").write_text(requirements)
    if python:
        (folder / "python_env.yaml").write_text(f"python: {python}.7\n")
    return folder


def needs(tmp_path, requirements, python="", choice=EnvironmentChoice.AUTO):
    folder = model(tmp_path, requirements, python)
    return needed_environment(ResolvedModel(str(folder), "d", "u"), choice)


def test_a_folder_is_copied_by_content_and_later_edits_do_not_reach_it(tmp_path):
    folder = model(tmp_path)
    first = resolve(spec(folder, tmp_path))
    assert (first.run_id, first.signature, first.flavors) == ("r1", {"inputs": "[]"}, ("python_function",))
    assert resolve(spec(folder, tmp_path)) == first
    (folder / "weights").write_text("new")
    second = resolve(spec(folder, tmp_path))
    assert second.digest != first.digest
    assert not (tmp_path / "cache" / first.digest / "weights").exists()


def test_two_folders_whose_files_differ_in_name_only_are_not_one(tmp_path):
    one, other = model(tmp_path, name="one"), model(tmp_path, name="other")
    (one / "a").write_text("x")
    (other / "b").write_text("x")
    assert resolve(spec(one, tmp_path)).digest != resolve(spec(other, tmp_path)).digest


def test_a_python_file_is_kept_too(tmp_path):
    path = tmp_path / "model.py"
    path.write_text("model = 1\n")
    found = resolve(spec(path, tmp_path))
    path.unlink()
    assert Path(found.local_path).read_text() == "model = 1\n"


def test_two_workers_keep_one_python_file_at_the_same_time(tmp_path, monkeypatch):
    """As two served entities of it do, and two replicas: the second comes while the first writes."""
    path, others = tmp_path / "model.py", []
    path.write_text("model = 1\n")
    sync_all = resolving.sync_all

    def meanwhile(written):
        if not others:
            others.append(None)
            others.append(resolve(spec(path, tmp_path)))
        sync_all(written)

    monkeypatch.setattr(resolving, "sync_all", meanwhile)
    assert resolve(spec(path, tmp_path)) == others[1]
    assert [each.name for each in (tmp_path / "cache").rglob("*") if each.is_file()] == ["model.py"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no file or folder"),
        (lambda path: path.mkdir(), "no MLmodel"),
        (lambda path: (path.mkdir(), (path / "MLmodel").write_text("flavors: {spark: {}}")), "spark but not"),
    ],
)
def test_what_is_not_a_model_says_why(tmp_path, make, words):
    make(tmp_path / "m")
    with pytest.raises(DeploymentFailed, match=words):
        resolve(spec(tmp_path / "m", tmp_path))


def test_the_running_environment_will_do_when_it_meets_every_line(tmp_path):
    lines = "# comment\nnumpy>=1.0  # why not\nmsgspec\nnot-there==1.0; python_version < '3.0'\n--index-url x\nmlflow==3.0.0\n"
    assert needs(tmp_path, lines, RUNNING_PYTHON) is None


@pytest.mark.parametrize(
    ("line", "python", "reason"),
    [
        ("numpy==0.1", "", "numpy: ==0.1 is needed"),
        ("no-such-package", "", "no-such-package: any version is needed, it is not installed"),
        ("mlflow==1.2.0", "", "mlflow: ==1.2.0"),
        ("mlflow>=99", "", "mlflow: >=99"),
        ("./local.whl", "", "not a requirement"),
        ("", "3.8", "logged with 3.8.7"),
    ],
)
def test_what_is_not_met_is_named(tmp_path, line, python, reason):
    found = needs(tmp_path, line, python)
    assert found is not None
    assert reason in "; ".join(found.reasons)


def test_the_owner_may_settle_it(tmp_path):
    met = ResolvedModel(str(model(tmp_path, "numpy")), "d", "u")
    assert needed_environment(met, EnvironmentChoice.AUTO) is None
    assert needed_environment(met, EnvironmentChoice.OWN).requirements == ("numpy",)
    (tmp_path / "model" / "requirements.txt").write_text("numpy==0.1")
    assert needed_environment(met, EnvironmentChoice.RUNNING) is None
    assert dataclasses.asdict(met)["python"] is None
