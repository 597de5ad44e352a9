"""A secret in a place where secrets stand never stays in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.protocol.scrub import HIDDEN, without_secrets

SECRETS = [
    "token={}",
    "access_token: {}",
    "{{'password': '{}'}}",
    '{{"client_secret": "{}"}}',
    "AWS_SECRET_ACCESS_KEY={}",
    "X-Api-Key: {}",
    "Authorization: Bearer {}",
    "https://ann:{}@pypi.example/simple",
    "postgresql+psycopg://u:{}@db/x",
    "GET https://host/path?sig={}&x=1",
]


@pytest.mark.parametrize("form", SECRETS)
@given(secret=st.text("abcdefXYZ0123456789-_", min_size=6, max_size=40).map(lambda text: f"0{text}Q"))
def test_a_secret_in_a_known_place_is_hidden(form, secret):
    text = without_secrets(f"It failed with {form.format(secret)} and went on")
    assert secret not in text
    assert HIDDEN in text
    assert text.startswith("It failed with ")
