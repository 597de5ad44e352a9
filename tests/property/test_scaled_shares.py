"""Shares that a command scales stay exact."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from cli_config import NEW, config, routes
from hypothesis import given
from hypothesis import strategies as st

from tallystick.commands.config_edit import with_model


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=14).filter(any),
    st.integers(0, 10_000),
)
def test_scaled_shares_sum_to_100_in_steps_of_a_hundredth(weights: list[int], slots: int) -> None:
    total = sum(weights)
    cuts = [sum(weights[:index]) * 10_000 // total for index in range(len(weights) + 1)]
    shares = {f"m_{index}": (high - low) / 100 for index, (low, high) in enumerate(pairwise(cuts))}
    body = with_model(config(**shares), NEW, share=Decimal(slots) / 100)
    exact = [Decimal(str(share)) for share in routes(body).values()]
    assert sum(exact) == 100
    assert all(share >= 0 and share == share.quantize(Decimal("0.01")) for share in exact)
