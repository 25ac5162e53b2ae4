"""Every fault in a pull is overcome or said; the folder is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from her_hf.hub.client import HubError
from her_hf.hub.pull import pull
from tests.support.hub import StandIn, refuse, tear_answer
from tests.support.hub.cases import PULLS, Case
from tests.support.pushed import CARD, weights

FILES = {
    "README.md": CARD.encode(),
    "config.json": b"{}",
    "model.safetensors": weights(50_000),
    "additional_chat_templates/scene.jinja": "世界".encode(),
}


@pytest.mark.parametrize("case", PULLS, ids=lambda case: case.name)
def test_a_fault(hub: StandIn, waits: list[float], tmp_path: Path, case: Case) -> None:
    hub.store.put("model", "me/it", FILES)
    wanted = hub.repository("me/it").files
    out, place = tmp_path / "out" / "pulled", tmp_path / "out"
    hub.plan.add(*case.faults())
    if case.error:
        with pytest.raises(HubError, match=case.error) as raised:
            pull("model", "me/it", out)
        said = str(raised.value)
        assert not out.exists() and len(said) < 900 and "\n" not in said
        left = list(place.iterdir()) if place.exists() else []
        assert all(str(folder) in said for folder in left), "what has arrived is not left without a word"
        hub.plan.clear()
    pull("model", "me/it", out)
    assert {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()} == wanted
    assert os.listdir(place) == ["pulled"]


def test_a_torn_file_goes_on_where_it_was(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.store.put("model", "me/it", {**FILES, "model.safetensors": weights(500_000)})
    hub.plan.add(tear_answer("file", path="model.safetensors"))
    out = pull("model", "me/it", tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == weights(500_000)
    assert "file 206" in hub.steps("file")


def test_a_list_in_pages_is_read_to_its_end(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.hub.endpoints.PAGE", 2)
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(refuse("tree", 503, after=1))
    out = pull("model", "me/it", tmp_path / "out")
    assert all((out / name).read_bytes() == content for name, content in FILES.items())
    assert len(hub.steps("tree")) > 3
