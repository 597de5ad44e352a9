import gzip
import zlib

import pytest

from tallystick.auth import Principal
from tallystick.errors import BadRequest, PayloadTooLarge, PermissionDenied, TooManyRequests
from tallystick.gateway.limits import RateLimiter, inflate, is_known_host, refuse_cross_site
from tallystick.protocol.routes import RateLimit

ANN, BOB = Principal("ann"), Principal("bob")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST", "models.example:1"])
def test_our_own_names_are_known(host):
    assert is_known_host(host, frozenset({"models.example"}), "127.0.0.1")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "10.0.0.9"])
def test_other_names_are_not(host):
    assert not is_known_host(host, frozenset(), "10.0.0.8")


def test_the_address_that_was_reached_is_known():
    assert is_known_host("10.0.0.8:8080", frozenset(), "10.0.0.8")


@pytest.mark.parametrize(
    ("origin", "site"), [("http://evil", None), (None, "cross-site"), (None, "same-site"), ("null", None)]
)
def test_pages_of_other_sites_are_refused(origin, site):
    with pytest.raises(PermissionDenied):
        refuse_cross_site("localhost:8080", origin, site)


def test_our_own_page_and_a_typed_address_are_not():
    refuse_cross_site("localhost:8080", "http://localhost:8080", "same-origin")
    refuse_cross_site("localhost:8080", None, "none")


def test_a_limit_per_endpoint_counts_everybody_and_one_per_user_each():
    limiter = RateLimiter()
    limits = [RateLimit(3), RateLimit(2, "user")]
    limiter.take("e", limits, ANN, 0)
    limiter.take("e", limits, ANN, 0)
    with pytest.raises(TooManyRequests, match="of 'ann'"):
        limiter.take("e", limits, ANN, 0)
    limiter.take("e", limits, BOB, 0)
    with pytest.raises(TooManyRequests, match="the endpoint") as refused:
        limiter.take("e", limits, BOB, 50.0)
    assert refused.value.retry_after_s == 11
    limiter.take("e", limits, BOB, 60.0)


def test_a_refused_call_is_not_counted():
    limiter = RateLimiter()
    for _ in range(3):
        with pytest.raises(TooManyRequests):
            limiter.take("e", [RateLimit(9), RateLimit(0, "user", "ann")], ANN, 0)
    for _ in range(9):
        limiter.take("e", [RateLimit(9)], BOB, 0)


def test_gzip_and_deflate_are_inflated():
    assert inflate(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    assert inflate(zlib.compress(b"x" * 100), "deflate", 100) == b"x" * 100


def test_a_bomb_is_refused_at_the_limit():
    with pytest.raises(PayloadTooLarge):
        inflate(gzip.compress(b"\0" * 50_000_000), "gzip", 1_000_000)


@pytest.mark.parametrize(
    "body",
    [b"", b"no", gzip.compress(b"x" * 100)[:-9], gzip.compress(b"x") + b"tail"],
    ids=["empty", "not gzip", "cut", "something after its end"],
)
def test_a_broken_body_is_refused(body):
    with pytest.raises(BadRequest):
        inflate(body, "gzip", 1000)


def test_an_unknown_encoding_is_refused():
    with pytest.raises(BadRequest, match="br"):
        inflate(b"x", "br", 10)
