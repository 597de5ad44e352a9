"""Public names are there, and cost nothing until they are asked for."""

import subprocess
import sys

import pytest

import tallystick


@pytest.mark.parametrize("name", tallystick.__all__)
def test_every_public_name_can_be_imported(name):
    assert callable(getattr(tallystick, name))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'log_modell'"):
        tallystick.log_modell  # noqa: B018


def test_the_package_imports_no_library_by_itself():
    """Needs a process: this one has imported everything."""
    code = (
        "import sys, tallystick; tallystick.stage; "
        "print(sorted({'mlflow', 'pandas', 'numpy', 'sklearn', 'pyarrow', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
