"""A request as the endpoints of the stand-in read it, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.hub.store import HubError, Repository, Store, User


@dataclass(frozen=True)
class Call:
    """A request, read."""

    store: Store
    base: str
    groups: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: User | None

    @property
    def kind(self) -> str:
        """Kind of the repository it is about; an address without one is that of a model."""
        return (self.groups.get("kind") or "models").removesuffix("s")

    def repository(self, *, write: bool = False) -> Repository:
        return self.store.repository(self.kind, self.groups["id"], self.user, write=write)

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HubError(400, f"Invalid JSON: {error}") from error


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(data: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})


def answer_error(error: HubError) -> Answer:
    """The answer to what is refused."""
    line = error.message.replace("\n", " ").encode("ascii", "replace").decode()
    headers = {"X-Error-Message": line}
    if error.code:
        headers["X-Error-Code"] = error.code
    return answer_json({"error": error.message, **error.extra}, error.status, headers=headers)
