"""`tallystick parity check MODEL --ablate`: when it asks, what it says, and how it fails. No environment is built."""

import json
import sys

import numpy as np
import pytest

from tallystick import cli
from tallystick.commands import parity, parity_ablation
from tallystick.gate import environment
from tallystick.gate.golden import FILE, FOLDER, Column, Golden, Matrix, render
from tallystick.parity.ablation import AblationFailed

EXPECTED = np.linspace(0, 1, 20)
HERE = {"python": "3.12.1", "package:numpy": "2.1.0", "package:scipy": "1.14.0", "package:pandas": "2.2.0"}
TRAINED = {**HERE, "package:numpy": "1.26.4", "package:scipy": "1.13.0"}
FAILED = {"outcome": "failed", "rungs": [{"rung": "prediction", "outcome": "failed", "text": "5 of 20 differ."}]}
PASSED = {"outcome": "passed", "rungs": [{"rung": "prediction", "outcome": "passed", "text": "All are."}]}
FLIPPED = {"outcome": "passed", "rungs": [{"rung": "prediction", "outcome": "noted", "text": "1 of 2000 differs."}]}


class Pretended:
    """Predicts as training where numpy is training's."""

    failure = ""

    def predict(self, versions):
        if self.failure:
            raise AblationFailed(self.failure)
        is_right = versions["numpy"] == "1.26.4"
        return [[value] for value in (EXPECTED if is_right else EXPECTED + 0.01)]


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    golden = Golden(20, (Column("x", "float64", tuple(EXPECTED.tolist())),), Matrix.of(EXPECTED), environment=TRAINED)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_bytes(render(golden))
    monkeypatch.setattr(environment, "observe", lambda _packages: HERE)

    def run(*arguments, report=FAILED, runner=None):
        found = {"resolved_uri": "/m", "report": report, "environment": [], "problem": "", "local_path": str(tmp_path)}
        monkeypatch.setattr(parity, "offline", lambda *_arguments: found)
        monkeypatch.setattr(parity_ablation, "uv_runner", lambda _folder, _golden: runner or Pretended())
        monkeypatch.setattr(sys, "argv", ["tallystick", "parity", "check", "./m", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr()

    return run


def test_the_package_is_named_with_both_versions_and_each_environment_as_it_is_built(check):
    code, said = check("--ablate")
    assert code == 0
    assert "Ablation: With training's numpy 1.26.4 (here 2.1.0) this environment gives training's" in said.out
    assert "Environment 1: this one, built again\n" in said.err
    assert "Environment 2: training's numpy 1.26.4, scipy 1.13.0\n" in said.err


def test_json_carries_the_ablation_and_the_folder_that_is_gone_is_not_told(check):
    _, said = check("--ablate", "--json")
    found = json.loads(said.out)
    assert "local_path" not in found
    assert found["ablation"] | {"seconds": 0} == {
        "outcome": "guilty",
        "text": "With training's numpy 1.26.4 (here 2.1.0) this environment gives training's predictions again.",
        "guilty": [{"name": "numpy", "training": "1.26.4", "serving": "2.1.0"}],
        "differences": [
            {"name": "numpy", "training": "1.26.4", "serving": "2.1.0"},
            {"name": "scipy", "training": "1.13.0", "serving": "1.14.0"},
        ],
        "builds": 3,
        "seconds": 0,
    }


def test_an_environment_that_makes_no_difference_is_cleared_in_words(check):
    runner = Pretended()
    runner.predict = lambda _versions: [[0.0]] * 20
    _, said = check("--ablate", runner=runner)
    assert (
        "Training's environment gives the same predictions as this one: the environment is not the cause." in said.out
    )
    assert "(2 environments, " in said.out


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (PASSED, "This environment gives training's predictions."),
        ({"outcome": "skipped"}, "There are no golden rows to predict."),
        (None, "The model was not checked."),
    ],
)
def test_nothing_is_built_where_there_is_no_question(check, report, words):
    _, said = check("--ablate", report=report)
    assert f"Ablation: {words}\n" in said.out
    assert "Environment 1" not in said.err


def test_predictions_that_differ_and_are_let_pass_are_a_question(check):
    assert "numpy 1.26.4" in check("--ablate", report=FLIPPED)[1].out


def test_without_ablate_nothing_is_said_of_it(check):
    assert "Ablation" not in check()[1].out
    assert "ablation" not in json.loads(check("--json")[1].out)


def test_an_environment_that_cannot_be_built_fails_the_command_and_the_check_is_shown_all_the_same(check):
    runner = Pretended()
    runner.failure = "an environment with numpy 2.1.0 could not be built: dns error (without network: UV_OFFLINE=1)"
    code, said = check("--ablate", runner=runner)
    assert (code, "Ablation: An environment with numpy 2.1.0 could not be built: dns error" in said.out) == (1, True)
    assert "5 of 20 differ." in said.out
    code, said = check("--ablate", "--json", runner=runner)
    assert (code, json.loads(said.out)["ablation"]["outcome"]) == (1, "failed")


def test_an_endpoint_is_not_ablated(check, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tallystick", "parity", "check", "churn", "--ablate"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, "--ablate is of models" in capsys.readouterr().err) == (2, True)
