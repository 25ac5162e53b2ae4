"""Pulling, from a stand-in Hub: the folder is there whole or not at all, and the same call again resumes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from her_hf.hub import pull as module
from her_hf.hub.client import HubError, Kind
from her_hf.hub.pull import pull
from her_hf.hub.push import push
from tests.support.hub import STRANGER, StandIn, meanwhile, refuse, tear_answer, use
from tests.support.hub.faults import Fault
from tests.support.pushed import dataset_folder, model_folder, space_folder

FILES = {
    "README.md": b"# her-small\n",
    "config.json": b"{}",
    "model.safetensors": os.urandom(200_000),
    ".eval_results/coser.yaml": b"- value: 1\n",
    "deep/er/scene.jinja": "世界".encode(),
    "empty.txt": b"",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def without_attributes(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name != ".gitattributes"}


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_what_was_pushed_comes_back(hub: StandIn, waits: list[float], tmp_path: Path, kind: Kind) -> None:
    make = {"model": model_folder, "dataset": dataset_folder, "space": space_folder}[kind]
    pushed = push(kind, make(tmp_path / "it"), "me/her-small")
    out = pull(kind, "me/her-small", tmp_path / "out" / "pulled")
    wanted = {name: (tmp_path / "it" / name).read_bytes() for name in pushed.files}
    assert out == tmp_path / "out" / "pulled" and without_attributes(out) == wanted
    assert list((tmp_path / "out").iterdir()) == [out]


def test_a_revision(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    first = hub.store.put("model", "me/it", FILES)
    hub.store.put("model", "me/it", {"config.json": b"[]"})
    assert (pull("model", "me/it", tmp_path / "old", revision=first.sha) / "config.json").read_bytes() == b"{}"
    assert (pull("model", "me/it", tmp_path / "new") / "config.json").read_bytes() == b"[]"
    with pytest.raises(HubError, match=r"read me/it at v9.*404"):
        pull("model", "me/it", tmp_path / "none", revision="v9")


def test_an_empty_folder_is_filled_and_another_is_not(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    hub.store.put("model", "me/it", FILES)
    (tmp_path / "empty").mkdir()
    assert without_attributes(pull("model", "me/it", tmp_path / "empty")) == FILES
    with pytest.raises(FileExistsError, match="not an empty folder"):
        pull("model", "me/it", tmp_path / "empty")
    assert without_attributes(tmp_path / "empty") == FILES


def test_the_current_folder_is_not_replaced(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.store.put("model", "me/it", FILES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileExistsError, match="the folder you are in"):
        pull("model", "me/it", ".")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "repo_id", "message"),
    [
        ("model", "me/rows", "no checkpoint"),
        ("metric", "me/page", r"asks for page\.py"),
        ("dataset", "me/page", "no dataset"),
    ],
)
def test_another_kind_is_refused(
    hub: StandIn, waits: list[float], tmp_path: Path, kind: Kind, repo_id: str, message: str
) -> None:
    hub.store.put("model", "me/rows", {"rows.jsonl": b"{}"})
    hub.store.put("space", "me/page", {"app.py": b""})
    hub.store.put("dataset", "me/page", {"README.md": b""})
    with pytest.raises(ValueError, match=message):
        pull(kind, repo_id, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_there_is_none_or_it_is_private(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.store.put("model", "me/it", FILES, private=True)
    with pytest.raises(HubError, match="There is no model me/other"):
        pull("model", "me/other", tmp_path / "out")
    for token in (None, STRANGER):
        use(hub, tmp_path / "home", monkeypatch, token)
        with pytest.raises(HubError, match="private and your token may not read it"):
            pull("model", "me/it", tmp_path / "out")


@pytest.mark.parametrize(
    "fault",
    [tear_answer("file"), refuse("tree", 503), refuse("head", 500), refuse("file", 503)],
    ids=lambda it: it.step,
)
def test_a_fault_is_overcome(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(fault)
    assert without_attributes(pull("model", "me/it", tmp_path / "out")) == FILES


def test_a_hub_that_stays_down_leaves_a_draft_that_is_gone_on_with(
    hub: StandIn, waits: list[float], tmp_path: Path
) -> None:
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(refuse("file", 403, "Not today", after=3, times=None))
    with pytest.raises(HubError, match=r"403.*Not today"):
        pull("model", "me/it", tmp_path / "out")
    (draft,) = tmp_path.glob(".out.*")
    assert not (tmp_path / "out").exists() and draft.suffix == ".tmp"
    hub.plan.clear()
    before = len(hub.steps("file"))
    assert without_attributes(pull("model", "me/it", tmp_path / "out")) == FILES
    assert not draft.exists() and len(hub.steps("file")) - before <= len(FILES) + 1 - 3


def test_a_hub_that_is_gone_does_not_pass_a_half_draft_for_all(
    hub: StandIn, waits: list[float], tmp_path: Path
) -> None:
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(refuse("file", 403, after=3, times=None))
    with pytest.raises(HubError):
        pull("model", "me/it", tmp_path / "out")
    hub.plan.clear()
    hub.plan.add(refuse("info", 503, times=None))
    with pytest.raises(HubError, match="503"):
        pull("model", "me/it", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_commit_in_between_changes_nothing(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(meanwhile("head", lambda: hub.store.put("model", "me/it", {"config.json": b"[]", "more": b"1"})))
    assert without_attributes(pull("model", "me/it", tmp_path / "out")) == FILES


def test_a_full_disk(hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.store.put("model", "me/it", FILES)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(HubError, match=r"full \(0\.00 GB are needed.*same command again"):
        pull("model", "me/it", tmp_path / "out")
    monkeypatch.setattr(module.shutil, "disk_usage", roomy)
    monkeypatch.setattr(module, "snapshot_download", full)
    with pytest.raises(HubError, match=r"full \(no space is left\).*free space"):
        pull("model", "me/it", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_xet_raises_is_said(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError("Data processing error: CAS service error")

    hub.store.put("model", "me/it", FILES)
    monkeypatch.setattr(module, "snapshot_download", broken)
    with pytest.raises(HubError, match=r"CAS service error.*same command again"):
        pull("model", "me/it", tmp_path / "out")


def roomy(_: Path) -> Any:
    return SimpleNamespace(free=10**12)


def full(*_: Any, **__: Any) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["../out.txt", "a/../../b", ".cache/huggingface/x"])
def test_names_that_lead_elsewhere_are_refused(hub: StandIn, waits: list[float], tmp_path: Path, name: str) -> None:
    hub.store.put("model", "me/it", {**FILES, name: b"x"})
    with pytest.raises(ValueError, match="not pulled"):
        pull("model", "me/it", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_a_bad_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        pull("model", "a/b/c", tmp_path / "out")
    with pytest.raises(ValueError, match="kind must be one of"):
        pull("paper", "a/b", tmp_path / "out")  # type: ignore[arg-type]


def test_what_did_not_arrive_whole_is_not_passed_for_whole(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.snapshot_download

    def cut(*given: Any, local_dir: Path, **named: Any) -> str:
        found = real(*given, local_dir=local_dir, **named)
        (local_dir / "model.safetensors").write_bytes(b"half")
        return found

    hub.store.put("model", "me/it", FILES)
    monkeypatch.setattr(module, "snapshot_download", cut)
    with pytest.raises(HubError, match=r"1 of 7 files of me/it did not arrive whole \(model\.safetensors\)\. Run"):
        pull("model", "me/it", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(module, "snapshot_download", real)
    assert without_attributes(pull("model", "me/it", tmp_path / "out")) == FILES
