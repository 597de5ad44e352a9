"""A package `uv` for PYTHONPATH, whose program builds nothing, and whose interpreters have their answers ready.

Of the shell, and so quick: what asks for it may get little of the processor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TOOL = """#!/bin/sh
{begins}
for last; do :; done
if [ "$1" = venv ]; then
    mkdir -p "$last/bin"
    cp {home}/interpreter "$last/bin/python"
    exit
fi
# pip install … --python INTERPRETER PINS
while [ "$1" != --python ]; do shift; done
case " $* " in
    *" {pin} "*) answer=right ;;
    *) answer=wrong ;;
esac
cp {home}/$answer.json "$(dirname "$2")/answer.json"
"""
_INTERPRETER = """#!/bin/sh
for last; do :; done
cp "$(dirname "$0")/answer.json" "$last"
"""


def put_uv(folder: Path, pin: str, right: Any, wrong: Any, marker: Path | None = None) -> str:
    """Return a folder for PYTHONPATH. Models answer `right` where `pin` (`name==version`) is installed, else `wrong`.

    With `marker` the program makes that file and sleeps.
    """
    home = folder / "uv"
    home.mkdir(parents=True)
    for name, answer in (("right", right), ("wrong", wrong)):
        (home / f"{name}.json").write_text(json.dumps(answer))
    begins = f"touch {marker}\nsleep 600\n" if marker is not None else ""
    for name, text in (("tool", _TOOL.format(begins=begins, home=home, pin=pin)), ("interpreter", _INTERPRETER)):
        (home / name).write_text(text)
        (home / name).chmod(0o755)
    (home / "__init__.py").write_text(f"def find_uv_bin():\n    return {str(home / 'tool')!r}\n")
    return str(folder)
