"""The search for the package that changes predictions, with environments that are only pretended; and the commands."""

import json
import platform
import sys

import numpy as np
import pandas as pd
import pytest

from tallystick.gate.golden import Column, Golden, Matrix
from tallystick.parity.ablation import AblationFailed, Because, UvRunner, ablate, search
from tallystick.parity.predict_golden import frame_of, table_of

EXPECTED = np.linspace(0, 1, 20)
NAMES = [f"p{k}" for k in range(9)]
TRAINED = {f"package:{name}": "1.0" for name in NAMES} | {"python": "3.11.4", "platform": "Linux"}
SERVING = {f"package:{name}": "2.0" for name in NAMES} | {"python": "3.11.4", "platform": "Linux"}


def _golden(predictions=EXPECTED) -> Golden:
    column = Column("x", "float64", tuple(float(v) for v in EXPECTED))
    return Golden(20, (column,), Matrix.of(predictions), environment=TRAINED)


class Pretended:
    """Predicts as training where all of `guilty` have training's version; some pairs do not go together."""

    def __init__(self, guilty, broken=(), python=""):
        self.guilty, self.broken, self.python, self.asked = guilty, broken, python, []

    def predict(self, versions):
        self.asked.append(dict(versions))
        if any(versions[a] != versions[b] for a, b in self.broken):
            raise AblationFailed("no such combination", because=Because.VERSIONS)
        if self.python and versions["python"] == self.python:
            raise AblationFailed("no such Python")
        right = all(versions.get(name) == "1.0" for name in self.guilty)
        return [[value] for value in (EXPECTED if right else EXPECTED + 0.01)]


@pytest.mark.parametrize("guilty", [("p0",), ("p8",), ("p3",), ("p1", "p7"), ("p0", "p4", "p8")])
def test_the_guilty_are_named_and_nobody_else(guilty):
    runner = Pretended(guilty)
    found = ablate(_golden(), SERVING, runner, most_builds=30)
    assert (found.guilty, found.is_cleared) == (guilty, False)
    assert all(f"{name} 1.0 (here 2.0)" in found.ruling for name in guilty)
    assert len(runner.asked) <= 2 + 5 * len(guilty)


def test_versions_that_do_not_go_together_are_pulled_together():
    found = ablate(_golden(), SERVING, Pretended(("p5",), broken=(("p5", "p2"),)), most_builds=30)
    assert set(found.guilty) == {"p2", "p5"}


def test_a_model_that_raises_here_has_its_package_named():
    runner = Pretended(("p5",))
    answer = runner.predict

    def raising(versions):
        answered = answer(versions)
        if versions["p5"] != "1.0":
            raise AblationFailed("the model gave no predictions", because=Because.MODEL)
        return answered

    runner.predict = raising
    assert ablate(_golden(), SERVING, runner).guilty == ("p5",)
    # One that raises in training's environment as well says nothing of either.
    with pytest.raises(AblationFailed):
        ablate(_golden(), SERVING | {"package:p5": "3.0"}, Raising())


class Raising:
    def predict(self, versions):
        raise AblationFailed("the model gave no predictions", because=Because.MODEL)


def test_packages_that_cannot_be_reached_any_more_accuse_nobody():
    runner = Pretended(("p5",))
    answer = runner.predict

    def away(versions):
        if len(runner.asked) == 3:
            raise AblationFailed("dns error")
        return answer(versions)

    runner.predict = away
    with pytest.raises(AblationFailed, match="dns error"):
        ablate(_golden(), SERVING, runner, most_builds=30)


def test_an_environment_that_changes_nothing_is_cleared():
    assert ablate(_golden(), SERVING, Pretended(())).is_cleared
    still_odd = Pretended(("elsewhere",))
    still_odd.predict = lambda versions: [[0.0]] * 20
    found = ablate(_golden(), SERVING, still_odd)
    assert (found.is_cleared, found.ruling.split(":")[1]) == (True, " the environment is not the cause.")
    assert ablate(_golden(), TRAINED, Pretended(("p0",))).is_cleared


def test_an_environment_that_changes_predictions_and_does_not_restore_them_is_not_cleared():
    changes = Pretended(())
    changes.predict = lambda versions: [[0.5 if versions["p0"] == "1.0" else 0.0]] * 20
    found = ablate(_golden(), SERVING, changes)
    assert (found.is_cleared, found.guilty) == (False, ())
    assert "not the only cause" in found.ruling


@pytest.mark.parametrize(
    ("guilty", "outcome", "words"),
    [
        (("p3",), ("p3",), "With training's p3 1.0"),
        (("elsewhere",), (), "Training's packages give the same predictions as those here: they are not the cause."),
    ],
)
def test_packages_are_asked_alone_where_training_s_python_cannot_be_had(guilty, outcome, words):
    runner = Pretended(guilty, python="3.11.4")
    found = ablate(_golden(), SERVING | {"python": "3.12.1"}, runner, most_builds=30)
    assert (found.guilty, found.is_cleared) == (outcome, False)
    assert words in found.ruling
    # What was not asked clears nothing.
    assert ("Python is another one, and could not be had" in found.ruling) == (not outcome)
    with pytest.raises(AblationFailed):
        ablate(Golden(20, (), Matrix.of(EXPECTED), environment={"python": "3.11.4"}), {"python": "3.12.1"}, runner)


def test_a_python_that_cannot_be_had_counts_among_the_builds():
    runner = Pretended(("p0", "p4", "p8"), python="3.11.4")
    assert ablate(_golden(), SERVING | {"python": "3.12.1"}, runner, most_builds=5).guilty == ()
    assert len(runner.asked) == 5


def test_another_processor_is_neither_cleared_nor_built():
    runner = Pretended(())
    golden = Golden(20, (), Matrix.of(EXPECTED), environment={"python": "3.11.4", "cpu": "one"})
    found = ablate(golden, {"python": "3.11.4", "cpu": "other"}, runner)
    assert (found.is_cleared, runner.asked) == (False, [])
    assert "cannot be built again here: cpu" in found.ruling


def test_labels_are_compared_as_text():
    labels = np.array(["a", "b"] * 10)
    runner = Pretended(())
    runner.predict = lambda versions: [[v] for v in labels] if versions["p4"] == "1.0" else [["a"]] * 20
    assert ablate(_golden(labels), SERVING, runner).guilty == ("p4",)


def test_a_budget_of_builds_is_kept():
    runner = Pretended(("p0", "p4", "p8"))
    found = ablate(_golden(), SERVING, runner, most_builds=4)
    assert (found.guilty, len(runner.asked)) == ((), 4)
    assert "Not found within 4 environments" in found.ruling


def test_the_search_asks_nothing_of_one_suspect():
    with pytest.raises(StopIteration) as done:
        next(search(["numpy"]))
    assert done.value.value == ("numpy",)


def test_commands_pin_every_package_and_add_what_loads_models(tmp_path):
    runner = UvRunner(tmp_path / "model", _golden(), uv="/uv", offline=True, find_links=("/wheels",))
    venv, install = runner.commands({"python": "3.11.999", "numpy": "1.26.4"}, tmp_path)
    assert venv[:2] == ["/uv", "venv"]
    assert venv[venv.index("--python") + 1] == "3.11.999"
    assert {"numpy==1.26.4", "mlflow-skinny", "--offline"} <= set(install)
    assert install[install.index("--find-links") + 1] == "/wheels"
    # This Python is there already: none has to be fetched.
    own, _ = runner.commands({"python": platform.python_version()}, tmp_path)
    assert own[own.index("--python") + 1] == sys.executable


def test_a_build_that_fails_says_what_and_why(tmp_path):
    """A real process, though not uv: what is read is a child's error stream."""
    fake = tmp_path / "uv"
    fake.write_text("#!/bin/sh\necho 'error: Failed to fetch numpy: dns error' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(AblationFailed, match=r"numpy 9.*could not be built.*dns error.*find_links"):
        UvRunner(tmp_path, _golden(), uv=str(fake)).predict({"numpy": "9"})
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(AblationFailed, match=r"took longer than 0\.01 s") as failed:
        UvRunner(tmp_path, _golden(), uv=str(fake), build_timeout_s=0.01).predict({})
    assert failed.value.because is Because.CIRCUMSTANCES
    with pytest.raises(AblationFailed, match="could not be built"):
        UvRunner(tmp_path, _golden(), uv=str(tmp_path / "none")).predict({})


def test_a_verdict_is_told_no_stack_trace_and_nothing_of_rows(tmp_path):
    """Real processes: what they print is what is read."""
    fake = tmp_path / "uv"
    secret = "https://ann:pw@host/simple/"
    fake.write_text(
        f"#!/bin/sh\necho 'error: Failed to build `a==1`\n  cause: from {secret}\n[stderr]\nTraceback (most recent' >&2\n"
        "exit 1\n"
    )
    fake.chmod(0o755)
    with pytest.raises(AblationFailed) as failed:
        UvRunner(tmp_path, _golden(), uv=str(fake)).predict({"a": "1"})
    assert failed.value.brief.endswith("could not be built: Failed to build `a==1`: from https://<secret>@host/simple/")
    fake.write_text(
        "#!/bin/sh\n[ $1 = venv ] || exit 0\nfor target; do :; done\nmkdir -p $target/bin\n"
        "printf '#!/bin/sh\\necho \"Traceback (most recent call last):\nValueError: Ann is 40\" >&2; exit 1' "
        "> $target/bin/python\nchmod +x $target/bin/python\n"
    )
    with pytest.raises(AblationFailed) as failed:
        UvRunner(tmp_path, _golden(), uv=str(fake)).predict({"a": "1"})
    assert (failed.value.brief, failed.value.because) == (
        "the model gave no predictions with a 1: ValueError",
        Because.MODEL,
    )
    assert "Ann is 40" in failed.value.message


def test_rows_and_predictions_pass_as_json():
    columns = [
        {"name": "n", "dtype": "Int64", "values": [1, None]},
        {"name": "t", "dtype": "datetime64[ns]", "values": ["2025-01-02T03:00:00", None]},
        {"name": "c", "dtype": "category", "values": ["a", "b"]},
        {"name": "s", "dtype": "no such type", "values": ["x", None]},
        {"name": "o", "dtype": "object", "values": ["x", None]},
        {"name": "m", "dtype": "object", "values": [1, None]},
    ]
    frame = frame_of(json.loads(json.dumps(columns)))
    assert frame.t[0] == pd.Timestamp("2025-01-02 03:00")
    assert (str(frame.c.dtype), str(frame.n.dtype)) == ("category", "Int64")
    # Texts as a request would bring them to this pandas, not as training's had them.
    assert (frame.o.dtype, frame.m.dtype) == (pd.Series(["x"]).dtype, np.dtype(object))
    assert table_of(np.array([1.5, np.nan])) == [[1.5], [None]]
    assert table_of(pd.Series(["a", "b"])) == [["a"], ["b"]]
