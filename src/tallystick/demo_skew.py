"""The demo's last step: one client sends another unit, and the endpoint is asked what is the matter.

No error, no latency, no version tells of it: the rows are good JSON of the right types.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

_GOOD, _BAD = "web/2.1", "ios/4.2"
_COLUMN, _FACTOR = "worst_radius", 10.0
_REQUESTS, _BAD_SHARE = 400, 0.3
_TIMEOUT_S = 120.0


def show_skew(url: str, token: str, endpoint: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Send rows as two clients, one of them with a column in another unit; print the diagnosis."""
    draw = random.Random(1)  # noqa: S311  traffic of a demo
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as client:
        answered = 0
        for _ in range(_REQUESTS):
            is_bad = draw.random() < _BAD_SHARE
            row = dict(draw.choice(rows))
            if is_bad:
                row[_COLUMN] *= _FACTOR
            answer = client.post(
                f"/serving-endpoints/{endpoint}/invocations",
                json={"dataframe_records": [row]},
                headers={"user-agent": _BAD if is_bad else _GOOD},
            )
            answered += answer.is_success
        print(f"   {answered} of {_REQUESTS} requests were answered 200: nothing looks wrong from outside\n")
        answer = client.post(f"/api/2.0/serving-endpoints/{endpoint}/parity/diagnose", json={})
        answer.raise_for_status()
        print(_indented(_clearest(answer.json()["verdicts"])))


def _clearest(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the verdict that most rows speak for: the version with the larger share of traffic."""
    return str(max(verdicts, key=lambda each: each["verdict"]["rows"])["text"])


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.splitlines())
