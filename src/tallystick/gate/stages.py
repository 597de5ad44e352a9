"""Marks for the stages of a model that has no steps to walk: `@tallystick.stage("clean")` above a function of it.

While a trace runs, the outputs of marked functions are kept, in the order of the calls; at all other times a call
costs one look at a context variable. Needs no package, so that a model can be loaded wherever this file is.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

#: A function that is called for each row would fill the file; what differs shows in the first calls.
MOST_CALLS = 64

#: Outputs of the trace that runs in this context: (name, output). Threads that a model starts have none.
_kept: ContextVar[list[tuple[str, Any]] | None] = ContextVar("tallystick_stages", default=None)


def stage(name: str) -> Callable[[Callable[Given, Answer]], Stage[Given, Answer]]:
    """Return a decorator that names what a function (or method) gives as a stage of the model.

    >>> @stage("clean")
    ... def clean(values):
    ...     return [max(value, 0) for value in values]
    >>> with recording() as kept:
    ...     _ = clean([-1, 2])
    >>> kept
    [('clean', [0, 2])]
    """
    return lambda function: Stage(name, function)


class Stage(Generic[Given, Answer]):
    """A function whose output is kept while a trace runs. Called, bound and pickled like the function itself."""

    def __init__(self, name: str, function: Callable[Given, Answer]) -> None:
        self.stage_name, self._function = name, function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Call the function."""
        answer = self._function(*args, **kwargs)
        kept = _kept.get()
        if kept is not None and len(kept) < MOST_CALLS:
            kept.append((_numbered(self.stage_name, kept), _copied(answer)))
        return answer

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an object, as a method is bound."""
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        # By name where an import finds it, as functions are; by value where it was written in a notebook or script.
        module, path = getattr(self, "__module__", ""), getattr(self, "__qualname__", "")
        if module != "__main__" and _found(module, path) is self:
            return path
        return (Stage, (self.stage_name, self._function))


@contextmanager
def recording() -> Iterator[list[tuple[str, Any]]]:
    """Keep the outputs of marked functions that are called inside the block; gives the list that grows."""
    kept: list[tuple[str, Any]] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def _numbered(name: str, kept: list[tuple[str, Any]]) -> str:
    times = sum(1 for other, _ in kept if other.partition("#")[0] == name)
    return f"{name}#{times + 1}" if times else name


def _copied(answer: Any) -> Any:
    """Return what later code cannot change: a copy of an array or a frame, and of lists and dicts of them."""
    if hasattr(answer, "copy") and hasattr(answer, "shape"):
        return answer.copy()
    return copy.deepcopy(answer) if isinstance(answer, (list, dict, tuple)) else answer


def _found(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
