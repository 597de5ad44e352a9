"""What differs between two machines, likely causes first, and what of it numbers can feel."""

import pytest

from tallystick.gate.environment import closeness, differences, observe, packages_of, used_packages
from tallystick.gate.tolerance import Closeness

THEN = {
    "python": "3.11.7", "platform": "Linux", "machine": "x86_64", "cpu": "A", "threads": "8", "locale": "en_US.UTF-8",
    "package:scikit-learn": "1.5.0", "package:flask": "3.0", "package:numpy": "2.0",
}  # fmt: skip
USED = frozenset({"scikit-learn", "numpy"})


def found(**changes):
    now = THEN | {key.replace("__", ":").replace("_", "-"): value for key, value in changes.items()}
    return differences(THEN, {key: value for key, value in now.items() if value}, USED)


def test_packages_of_the_model_come_first_then_its_world_then_the_rest():
    listed = found(threads="1", package__flask="3.1", cpu="B", package__scikit_learn="1.6.1")
    assert [each.key for each in listed] == ["package:scikit-learn", "cpu", "package:flask", "threads"]
    assert [each.is_used for each in listed] == [True, True, False, False]
    assert str(listed[0]) == "scikit-learn is 1.6.1 here, 1.5.0 in training"


def test_a_package_that_is_not_there_differs_and_another_key_that_is_not_known_does_not():
    assert [str(each) for each in found(package__numpy="", cpu="")] == ["numpy is not installed here, 2.0 in training"]


def test_the_kernel_computes_nothing():
    assert differences({"platform": "Linux-6.8.0-x86_64"}, {"platform": "Linux"}, ()) == []


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({}, Closeness.SAME),
        ({"locale": "C"}, Closeness.SAME),
        ({"package__flask": "3.1"}, Closeness.SAME),
        ({"threads": "1"}, Closeness.THREADS),
        ({"package__numpy": "2.1"}, Closeness.OTHER),
        ({"threads": "1", "cpu": "B"}, Closeness.OTHER),
    ],
)
def test_only_what_numbers_feel_widens_the_tolerance(changes, near):
    assert closeness(THEN, found(**changes)) is near


def test_a_machine_of_which_nothing_is_known_is_another_one():
    assert closeness({}, []) is Closeness.OTHER


def test_this_machine_is_like_itself():
    here = observe(["numpy", "no-such-package"])
    assert packages_of(here) == ["numpy"]
    assert differences(here, observe(["numpy"]), {"numpy"}) == []


def test_a_model_computes_with_what_its_requirements_bring_in_and_not_with_what_loads_it(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("mlflow==3.0  # the loader\nscikit_learn==1.5\n-r other.txt\n")
    used = used_packages(path)
    assert {"scikit-learn", "scipy", "numpy", "pandas"} <= used
    assert not used & {"mlflow", "flask", "sqlalchemy"}
    assert "numpy" in used_packages(tmp_path / "none.txt")
