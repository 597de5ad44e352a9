"""What a run hands from topic to topic: how long to measure, where things are, what has been found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load import Load, Request, median_of, run_load
from benchmarks.models import Models, make_models
from benchmarks.servers import Tallystick, checked, tallystick

_FIRST_REQUESTS = 20


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    name: str
    #: Seconds of one load, and of the load before the first that is not counted.
    load_s: float
    warm_s: float
    #: Loads of each of those that are compared, in turn: what disturbs the machine for a while disturbs all alike.
    rounds: int
    #: The same for what grows, of which there is much.
    growth_s: float
    growth_rounds: int
    #: Of starts and deployments, and the ways to name a model that are deployed (1 or 2).
    repeats: int
    ways: int
    #: Changes of weights.
    changes: int
    #: Of one call in a loop: the model's, the decoder's.
    budget_s: float


FULL = Plan(
    "full", load_s=10, warm_s=4, rounds=5, growth_s=4, growth_rounds=3, repeats=3, ways=2, changes=20, budget_s=0.4
)
QUICK = Plan(
    "quick", load_s=1, warm_s=0, rounds=1, growth_s=1, growth_rounds=1, repeats=1, ways=1, changes=3, budget_s=0.02
)


@dataclass(frozen=True)
class Target:
    """What a number should be: the number itself, or its ratio to the one beside it."""

    of: str  # value | ratio
    limit: float
    is_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.is_least else "≤"
        return f"{sign} {self.limit:g}{'x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True)
class Row:
    """One number, and the one that it is compared with."""

    topic: str
    what: str
    value: float
    unit: str
    beside: str = ""
    beside_value: float | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.beside_value if self.beside_value else None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        number = self.ratio if self.target.of == "ratio" else self.value
        assert number is not None
        return number >= self.target.limit if self.target.is_least else number <= self.target.limit


@dataclass(frozen=True)
class Loads:
    """The rounds of one load."""

    topic: str
    what: str
    rounds: tuple[Load, ...]


@dataclass
class Bench:
    """One run."""

    plan: Plan
    folder: Path
    stack: ExitStack
    rows: list[Row] = field(default_factory=list)
    loads: list[Loads] = field(default_factory=list)
    decode: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def models(self) -> Models:
        """The models, logged when they are first asked for."""
        return make_models(self.folder)

    @cached_property
    def server(self) -> Tallystick:
        """A Tallystick that all topics share which do not need one of their own, with the model at `cancer`."""
        server = self.stack.enter_context(tallystick(self.folder / "shared", self.models.uri))
        server.deploy("cancer", {"entity_name": "cancer", "entity_version": "1"})
        return server

    def warm(self, *requests: Request) -> None:
        """Send loads that are not counted, at least a few requests each."""
        for request in requests:
            for _ in range(_FIRST_REQUESTS):
                checked(request)
            if self.plan.warm_s:
                run_load(request, self.plan.warm_s, self.folder)

    def load(self, request: Request, seconds: float) -> Load:
        """Send one load."""
        return run_load(request, seconds, self.folder)

    def keep_loads(self, topic: str, what: str, rounds: Sequence[Load]) -> Load:
        """Keep the loads of one request; return their medians."""
        self.loads.append(Loads(topic, what, tuple(rounds)))
        return median_of(rounds)

    def errors(self) -> int:
        """Return how many requests of all loads failed."""
        return sum(load.errors for loads in self.loads for load in loads.rounds)
