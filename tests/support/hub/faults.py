"""What goes wrong on the way to a Hub, planned ahead: which request, from which time on, how often, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Effect = Literal["refuse", "tear request", "tear answer", "lose answer", "wait", "meanwhile"]


@dataclass
class Fault:
    """One planned fault; the functions of this module make them.

    Args:
        step (`str`): Which requests it meets: the name of a route, as in `ROUTES`.
        effect (`str`): What happens.
        after (`int`, *optional*, defaults to 0): Requests of that step that pass before.
        times (`int`, *optional*): How many requests it meets; all, if not given.
        status (`int`, *optional*): Status of a refusal.
        message (`str`, *optional*): What a refusal says.
        headers (`Mapping[str, str]`, *optional*): Headers of a refusal.
        reset (`bool`, *optional*, defaults to `False`): Whether a torn connection is reset instead of closed.
        seconds (`float`, *optional*): How long to wait.
        action (`Callable`, *optional*): What somebody else does meanwhile.
        path (`str`, *optional*): What the path of a request contains that it meets; any, if not given.
    """

    step: str
    effect: Effect
    after: int = 0
    times: int | None = 1
    status: int = 0
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    seconds: float = 0.0
    action: Callable[[], object] | None = None
    path: str = ""

    @property
    def name(self) -> str:
        """How the journal names it."""
        return f"{self.effect} {self.status}" if self.effect == "refuse" else self.effect


def refuse(
    step: str,
    status: int,
    message: str = "",
    *,
    after: int = 0,
    times: int | None = 1,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """The Hub answers with an error and does nothing; a 5xx without a message comes from a gateway, in HTML."""
    return Fault(step, "refuse", after, times, status, message, headers or {})


def tear_request(step: str, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
    """The connection ends in the middle of what is sent; the Hub does nothing."""
    return Fault(step, "tear request", after, times, reset=reset)


def tear_answer(step: str, *, after: int = 0, times: int | None = 1, reset: bool = False, path: str = "") -> Fault:
    """The connection ends in the middle of the answer; what was asked for is done."""
    return Fault(step, "tear answer", after, times, reset=reset, path=path)


def lose_answer(step: str, *, after: int = 0, times: int | None = 1, reset: bool = False) -> Fault:
    """What was asked for is done, and the connection ends before the answer."""
    return Fault(step, "lose answer", after, times, reset=reset)


def wait(step: str, seconds: float, *, after: int = 0, times: int | None = 1) -> Fault:
    """The answer comes late."""
    return Fault(step, "wait", after, times, seconds=seconds)


def meanwhile(step: str, action: Callable[[], object], *, after: int = 0) -> Fault:
    """Somebody else does something just before the request arrives."""
    return Fault(step, "meanwhile", after, 1, action=action)


class Plan:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    @property
    def unmet(self) -> list[Fault]:
        """Counted faults that no request has met yet: a test whose fault never came tests nothing."""
        with self._lock:
            return [fault for fault in self._faults if fault.times]

    def take(self, step: str, path: str) -> Fault | None:
        """The fault that a request meets: the first planned one; others wait for the next request."""
        with self._lock:
            for fault in self._faults:
                if fault.step != step or fault.path not in path or fault.times == 0:
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None
