"""A reference that MLflow has to be asked for."""

import pytest

from tallystick.errors import InvalidParameter
from tallystick.monitor.fetch import fetch_reference


@pytest.mark.parametrize("uri", ["models:/nobody/1", "runs:/nobody/model"])
def test_a_model_that_is_not_there_is_told_with_the_store_that_was_asked(mlflow_store, uri):
    with pytest.raises(
        InvalidParameter, match=rf"^{uri} could not be fetched: .*\(asked .*; MLFLOW_TRACKING_URI names"
    ):
        fetch_reference(uri)
