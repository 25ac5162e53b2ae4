"""Every fault in a push is overcome or said, leaves nothing half done, and the same call again completes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from her_hf.hub import upload
from her_hf.hub.client import HubError
from her_hf.hub.push import push
from tests.support.hub import StandIn, refuse, tear_request
from tests.support.hub.cases import PUSHES, Case
from tests.support.pushed import dataset_folder, model_folder, space_folder, write_files


@pytest.mark.parametrize("case", PUSHES, ids=lambda case: case.name)
def test_a_fault(hub: StandIn, waits: list[float], tmp_path: Path, case: Case) -> None:
    kind = "space" if case.space else "model"
    folder = (space_folder if case.space else model_folder)(tmp_path / "it")
    hub.plan.add(*case.faults())
    if case.error:
        with pytest.raises(HubError, match=case.error) as raised:
            push(kind, folder, "me/her-small")
        assert len(str(raised.value)) < 700 and "\n" not in str(raised.value)
        assert ("me/her-small is there, without files" in str(raised.value)) == is_empty(hub, kind)
    else:
        push(kind, folder, "me/her-small")
    assert sum(waits) < 60, "a push that waits longer looks dead"
    assert len(hub.journal) < 60, "a Hub that is down is not hammered"
    hub.plan.clear()
    again = push(kind, folder, "me/her-small")
    there = hub.repository("me/her-small", kind)
    assert [commit.title for commit in there.commits] == ["initial commit", f"Push of a {kind} with her-hf"]
    assert {name: there.files[name] for name in again.files} == {
        name: (folder / name).read_bytes() for name in again.files
    }
    assert (again.sent == []) == (case.error is None or "done, answer lost" in case.name)


def is_empty(hub: StandIn, kind: str) -> bool:
    """Whether the repository is there as it was created."""
    return hub.has("me/her-small", kind) and len(hub.repository("me/her-small", kind).commits) == 1


def test_what_a_push_in_parts_left_is_said(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "COMMIT_FILES", 3)
    folder = dataset_folder(tmp_path / "it")
    write_files(folder, {f"data/more/{number}.jsonl": "{}\n" for number in range(5)})
    hub.plan.add(refuse("commit", 403, "no more today", after=1))
    with pytest.raises(HubError, match=r"no more today.*3 of 8 files are there"):
        push("dataset", folder, "me/scenes")
    assert len(hub.repository("me/scenes", "dataset").files) == 4
    hub.plan.add(tear_request("commit", times=None))
    with pytest.raises(HubError, match="could not be reached") as raised:
        push("dataset", folder, "me/scenes")
    assert "are there" not in str(raised.value)  # of this push, nothing
    hub.plan.clear()
    push("dataset", folder, "me/scenes")
    assert len(hub.repository("me/scenes", "dataset").files) == 9


def test_what_fails_after_the_files_says_that_they_are_there(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    push("model", folder, "me/her-small")
    hub.plan.add(refuse("settings", 403, "Ask an owner"))
    with pytest.raises(HubError, match=r"make me/her-small public \(its files are pushed\).*Ask an owner"):
        push("model", folder, "me/her-small", public=True)
    hub.plan.add(refuse("new collection", 403, "No collections"))
    with pytest.raises(HubError, match=r"repository itself is pushed\).*No collections"):
        push("model", folder, "me/her-small", collection="Mine")


def test_a_busy_hub_is_asked_as_late_as_it_says(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    hub.plan.add(refuse("commit", 429, "Slow down", headers={"Retry-After": "7"}))
    push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert waits == [7.0]


def test_the_token_is_sent_to_the_hub_alone(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    """The address that a large file is put to is signed; on the Hub it is another host."""
    push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert {request.user for request in hub.journal if request.step == "upload"} == {None}
    assert {request.user for request in hub.journal if request.step not in ("upload", "registry")} == {"me"}
    assert all(re.search(r"her_hf/\d", request.agent) for request in hub.journal if request.step == "commit")
