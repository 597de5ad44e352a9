"""A server in memory for tests of the command line, and the command line as people call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import httpx
import pytest

URL = "http://127.0.0.1:8080"

Answers = TypeVar("Answers", bound=Callable[[httpx.Request], httpx.Response])
#: Has the commands ask this server instead of one on the network, and returns it.
Asked = Callable[[Answers], Answers]
#: Runs the command line with these words, and returns its exit code.
Run = Callable[..., int]
Output = pytest.CaptureFixture[str]
