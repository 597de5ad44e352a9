"""Fixtures: a training table, its reference, and fair samples of it."""

from parity_fixtures import fair_samples, live, reference, training

__all__ = ["fair_samples", "live", "reference", "training"]
