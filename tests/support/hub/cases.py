"""What can go wrong in a push or a pull, one fault a case, and how it must end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.hub.faults import Fault, lose_answer, refuse, tear_answer, tear_request, wait


@dataclass(frozen=True)
class Case:
    """A fault in a push or a pull.

    Args:
        name (`str`): What goes wrong.
        faults (`Callable`): Makes the faults.
        error (`str`, *optional*): A pattern of the error; none if it must succeed all the same.
        space (`bool`, *optional*, defaults to `False`): Whether a Space is pushed; a model otherwise.
    """

    name: str
    faults: Callable[[], Sequence[Fault]]
    error: str | None = None
    space: bool = False


def _once(step: str, status: int, error: str | None = None, **how: bool) -> Case:
    return Case(f"{status} at {step}", lambda: [refuse(step, status)], error, **how)


def _always(step: str, status: int, error: str) -> Case:
    return Case(f"{status} at {step}, always", lambda: [refuse(step, status, times=None)], error)


PUSHES: tuple[Case, ...] = (
    _once("create", 401, "401.*hf auth login"),
    _once("create", 402, "402.*paid account", space=True),
    _once("create", 403, "403.*token may not"),
    _once("create", 429),
    _once("create", 503),
    _once("info", 503),
    _once("tree", 502),
    _once("validate", 503),
    _once("preupload", 401, "401.*hf auth login"),
    _once("preupload", 403, "403.*token may not"),
    _once("preupload", 429),
    _once("preupload", 500),
    _once("batch", 503),
    _once("upload", 403, "403|model.safetensors"),
    _once("upload", 500),
    _once("upload", 429),
    _once("verify", 500),
    _once("commit", 401, "401.*hf auth login"),
    _once("commit", 403, "403.*token may not"),
    _once("commit", 409, "409.*conflicts"),
    _once("commit", 413, "413.*too large"),
    _once("commit", 429),
    _once("commit", 500),
    _once("commit", 502),
    _once("commit", 503),
    _once("commit", 504),
    _always("tree", 503, "503.*same command again"),
    _always("commit", 503, "503.*same command again"),
    _always("upload", 500, "500|model.safetensors"),
    _always("preupload", 429, "429.*same command again"),
    Case("create torn", lambda: [tear_request("create")]),
    Case("create done, answer lost", lambda: [lose_answer("create")]),
    Case("upload torn", lambda: [tear_request("upload")]),
    Case("upload reset", lambda: [tear_request("upload", reset=True)]),
    Case("commit torn", lambda: [tear_request("commit")]),
    Case("commit reset", lambda: [tear_request("commit", reset=True)]),
    Case(
        "commit torn, always", lambda: [tear_request("commit", times=None)], "could not be reached.*same command again"
    ),
    Case("commit done, answer lost", lambda: [lose_answer("commit")]),
    Case("commit done, answer reset", lambda: [lose_answer("commit", reset=True)]),
    Case("commit done, answer lost, then 503", lambda: [lose_answer("commit"), refuse("info", 503, after=2)]),
    Case(
        "commit done, answer lost, then no Hub",
        lambda: [lose_answer("commit"), tear_request("info", after=2, times=None)],
        "could not be reached.*same command again",
    ),
    Case("tree torn", lambda: [tear_answer("tree")]),
    Case("slow", lambda: [wait("commit", 0.5), wait("upload", 0.5), wait("preupload", 0.5)]),
)

PULLS: tuple[Case, ...] = (
    _once("info", 401, "private and your token may not read it"),
    _once("info", 403, "403.*gated"),
    _once("info", 429),
    _once("info", 503),
    _once("tree", 500),
    _once("head", 401, "401.*hf auth login"),
    _once("head", 404, "404"),
    _once("head", 503),
    _once("file", 403, "403.*gated"),
    _once("file", 429),
    _once("file", 503),
    _always("head", 503, "503.*same command again"),
    _always("file", 503, "503.*same command again"),
    Case("tree torn", lambda: [tear_answer("tree")]),
    Case("head torn", lambda: [tear_request("head")]),
    Case("head reset", lambda: [tear_request("head", reset=True)]),
    Case("file torn", lambda: [tear_answer("file")]),
    Case("file reset", lambda: [tear_answer("file", reset=True)]),
    Case("file torn, always", lambda: [tear_answer("file", times=None)], "could not be reached.*same command again"),
    Case("slow", lambda: [wait("file", 0.5), wait("tree", 0.5), wait("info", 0.5)]),
)
