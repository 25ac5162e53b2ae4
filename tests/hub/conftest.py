"""A stand-in Hub for the tests of what is pushed and pulled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.hub import StandIn, stand_in, use


@pytest.fixture
def hub() -> Iterator[StandIn]:
    """An empty Hub; every request that the test made must have been one that it knows."""
    with stand_in() as found:
        yield found
        assert not found.unknown()
        assert not found.plan.unmet, "a planned fault met no request"


@pytest.fixture
def waits(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This process uses the Hub as its writer; holds our waits and those of its client, which are not waited."""
    found = use(hub, tmp_path / "home", monkeypatch)
    monkeypatch.setattr("her_hf.hub.client.time", SimpleNamespace(sleep=found.append))
    return found
