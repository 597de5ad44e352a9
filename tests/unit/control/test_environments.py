"""Building environments, with a stand-in for uv."""

import sys
from pathlib import Path

import pytest

import tallystick
from tallystick.control import environments
from tallystick.entities import ResolvedModel
from tallystick.errors import DeploymentFailed
from tallystick.protocol.worker_spec import NeedsEnvironment

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def needs(*lines, python=""):
    return NeedsEnvironment(ResolvedModel("/m", "d", "u"), lines, python, ("why",))


@pytest.fixture
def uv(monkeypatch):
    """Record what uv is asked; `venv` makes the folders that a real one would."""
    calls = []

    async def run(argv, say):
        calls.append(argv[1:])
        if argv[1] == "venv":
            if argv[3] == "3.12" and RUNNING != "3.12":
                raise DeploymentFailed("no such Python")
            (Path(argv[-1]) / "lib" / "python3" / "site-packages").mkdir(parents=True)

    monkeypatch.setattr(environments, "_run", run)
    return calls


async def test_an_environment_is_built_once_and_imports_this_package(uv, tmp_path):
    first = await environments.build_environment(needs("six==1.16.0"), tmp_path, lambda text: None)
    again = await environments.build_environment(needs("six==1.16.0"), tmp_path, lambda text: None)
    assert first == again
    assert [call[0] for call in uv] == ["venv", "pip"]
    (link,) = tmp_path.glob("*/lib/*/site-packages/tallystick")
    assert link.readlink() == Path(tallystick.__file__).parent


async def test_a_python_too_old_for_a_worker_is_not_asked_for(uv, tmp_path):
    said = []
    await environments.build_environment(needs(python="3.9.18"), tmp_path, said.append)
    assert uv[0][2] == RUNNING
    assert any("3.9" in line for line in said)


def test_the_link_follows_this_package(uv, tmp_path):
    packages = tmp_path / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tallystick").symlink_to("/gone")
    environments.link_ourselves(tmp_path)
    assert (packages / "tallystick").readlink() == Path(tallystick.__file__).parent


def test_the_models_own_pins_win_over_what_the_worker_needs():
    lines = environments.requirement_lines(needs("pandas==2.2.3", "mlflow==3.10.0"))
    assert "pandas==2.2.3" in lines
    assert not any(line.startswith("mlflow-skinny") for line in lines)
    assert any(line.startswith("msgspec") for line in lines)
