"""Fixtures: a training table, its reference, and fair samples of it."""

import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.parity import Reference


@pytest.fixture(scope="session")
def training() -> pd.DataFrame:
    return rows_of(3000, 1)


@pytest.fixture(scope="session")
def reference(training: pd.DataFrame) -> Reference:
    return Reference.from_frame(training)


@pytest.fixture
def live() -> pd.DataFrame:
    return rows_of(200, 2)


@pytest.fixture(scope="session")
def fair_samples() -> list[pd.DataFrame]:
    return [rows_of(200, seed) for seed in range(100, 140)]
