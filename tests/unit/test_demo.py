"""`tallystick demo` where it cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tallystick import demo
from tallystick.commands.config_edit import BadUsage
from tallystick.discovery import write_server_file


class Child:
    """A server that ends before it was asked twice, as another one has its folder."""

    pid = -1

    def __init__(self) -> None:
        self.ends: list[int | None] = [None, 2]

    def poll(self) -> int | None:
        return self.ends.pop(0)


class Ended(Child):
    """A server that somebody waits for."""

    def __init__(self, end: int | BaseException) -> None:
        self.end = end

    def poll(self) -> int:
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


@pytest.mark.parametrize(("code", "how"), [(-9, "was ended by signal 9"), (1, "ended with exit code 1")])
def test_the_demo_ends_with_its_server_and_says_so(tmp_path: Path, code: int, how: str) -> None:
    child: Any = Ended(code)
    with pytest.raises(demo.DemoFailed, match=rf"The server {how}, and the demo with it\. Its log: .*server\.log"):
        demo._wait(child, tmp_path / "server.log")


def test_ctrl_c_ends_the_demo_in_order(tmp_path: Path) -> None:
    child: Any = Ended(KeyboardInterrupt())
    demo._wait(child, tmp_path / "server.log")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadUsage, match=r"file cannot be the demo's folder: File exists\. Give --data-dir another one"):
        demo.run(once=True, port=0, data_dir=str(tmp_path / "file"), environ={})


def test_the_server_of_another_demo_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_server_file(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "admin.token").write_text("tsk_other")
    (tmp_path / "log").write_text("Error: Another server (pid 7) uses the data directory.")
    monkeypatch.setattr(demo, "_answers", lambda _url: True)
    monkeypatch.setattr(demo.time, "sleep", lambda _seconds: None)
    child: Any = Child()
    with pytest.raises(demo.DemoFailed, match="Another server"):
        demo._when_ready(child, tmp_path, tmp_path / "log")
