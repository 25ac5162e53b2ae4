"""A model that does not exist: which names are asked for on the Hub, how often, and what the user reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from her_hf.hub.base import write_base
from her_hf.inference.loading import load_parts
from her_hf.processing import attach_model
from her_hf.processing.attach import load_tokenizer
from her_hf.references import check_model, is_hub_id
from her_hf.training.run.adapters import merge_adapter

PATHS = ("./nosuch", "../nosuch", "/nosuch/model", "~/nosuch", "nosuch/", "outputs/a/b", "nosuch\\model", "a--b", "-a")
IDS = ("owner/name", "gpt2", "owner-1/Name_2.5-7B")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the Hub is asked for; it cannot be reached."""
    names: list[str] = []

    def unreachable(self: Any, name: str, *, timeout: float) -> None:
        assert timeout <= 10
        names.append(name)
        raise OfflineModeIsEnabled("cannot be reached")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    return names


def test_which_names_can_be_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not any(map(is_hub_id, PATHS)) and all(map(is_hub_id, IDS))
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_id("owner/name")
    check_model("owner/name")


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_never_asked_for(name: str, asked: list[str]) -> None:
    with pytest.raises(FileNotFoundError, match="check the path"):
        check_model(name)
    assert asked == []


USES: dict[str, Callable[[str, Path], Any]] = {
    "base": lambda name, out: write_base(out, name),
    "attach": attach_model,
    "chat": lambda name, _: load_parts(name, device="cpu", dtype=None, attach=True),
    "merge": merge_adapter,
    "train": lambda name, _: load_tokenizer(name),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["./nosuch", "nosuch/", "owner/nosuch"])
def test_every_way_to_name_a_model_asks_once_at_most(use: str, name: str, asked: list[str], tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=f"There is no folder {name} here"):
        USES[use](name, tmp_path / "out")
    assert asked == (["owner/nosuch"] if name == "owner/nosuch" else [])
    assert not (tmp_path / "out").exists()


def test_a_downloaded_model_needs_no_hub(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    check_model("owner/name")
    assert asked == ["owner/name"]


def answer(monkeypatch: pytest.MonkeyPatch, kind: type[HfHubHTTPError]) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fails)


def test_a_model_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, RepositoryNotFoundError)
    with pytest.raises(FileNotFoundError, match="the Hub has no model of that name"):
        check_model("owner/name")


def test_a_hub_that_is_busy_is_left_to_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, HfHubHTTPError)
    check_model("owner/name")
