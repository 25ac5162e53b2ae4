"""Pushing, to a stand-in Hub: what is sent, in which commits, what is refused, and what a fault leaves behind."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from her_hf.hub import upload
from her_hf.hub.client import HubError, Kind
from her_hf.hub.push import push
from tests.support.hub import READER, STRANGER, StandIn, lose_answer, meanwhile, refuse, tear_request, use
from tests.support.hub.faults import Fault
from tests.support.paths import ROOT
from tests.support.pushed import CARD, dataset_folder, model_folder, space_folder, write_files

SENT = {
    *("README.md", "config.json", "model.safetensors", "additional_chat_templates/scene.jinja"),
    ".eval_results/coser.yaml",
}


def titles(hub: StandIn, repo_id: str, kind: str = "model") -> list[str]:
    return [commit.title for commit in hub.repository(repo_id, kind).commits]


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_folder_goes_in_one_commit_and_is_private(
    hub: StandIn, waits: list[float], tmp_path: Path, kind: Kind
) -> None:
    make = {"model": model_folder, "dataset": dataset_folder, "space": space_folder}[kind]
    pushed = push(kind, make(tmp_path / "it"), "me/her-small", message="The first")
    there = hub.repository("me/her-small", kind)
    assert titles(hub, "me/her-small", kind) == ["initial commit", "The first"] and there.private
    assert there.files == {name: (tmp_path / "it" / name).read_bytes() for name in pushed.files} | {
        ".gitattributes": there.files[".gitattributes"]
    }
    assert pushed.commit == there.head.sha and sorted(pushed.sent) == sorted(pushed.files)
    place = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind]
    assert pushed.address == f"{hub.url}/{place}me/her-small"


def test_results_go_along_and_the_run_stays(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    write_files(folder, {"eval/run.json": "{}", "eval/dialogues.jsonl": "{}\n", "ledger.sqlite": b"\0", ".env": "A=1"})
    write_files(folder, {"model.safetensors.123.tmp": b"half", "training_args.bin": b"\x80", "train.log": "said"})
    pushed = push("model", folder, "me/her-small")
    assert hub.repository("me/her-small").files.keys() == {*SENT, ".gitattributes"}
    assert pushed.left_out == {
        ".env": "hidden",
        "checkpoint-10/model.safetensors": "a checkpoint of the run",
        "eval/": "another run's folder",
        "ledger.sqlite": "answers of models",
        "model.safetensors.123.tmp": "a draft",
        "run.json": "settings of the run, with paths of this machine",
        "train.log": "a log",
        "training_args.bin": "settings of the run, with paths of this machine",
    }


def test_again_sends_only_what_is_missing(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    first = push("model", folder, "me/her-small")
    again = push("model", folder, "me/her-small")
    assert again.sent == [] and again.commit == first.commit and len(titles(hub, "me/her-small")) == 2
    write_files(folder, {"generation_config.json": "{}", "README.md": CARD + "\nMore.\n"})
    (folder / "additional_chat_templates/scene.jinja").unlink()
    third = push("model", folder, "me/her-small")
    assert third.sent == ["README.md", "generation_config.json"] and len(titles(hub, "me/her-small")) == 3
    assert "scene.jinja" in third.notes[0] and hub.steps("upload") == ["upload 200"]


@pytest.mark.parametrize(
    ("path", "base", "named"),
    [
        ("/home/ann/models/base", None, "base"),
        ("owner/base", None, "owner/base"),
        ("models/base", None, "models/base"),
        ("outputs/base", "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
    ],
)
def test_an_adapter_names_its_base_in_the_same_commit(
    hub: StandIn, waits: list[float], tmp_path: Path, path: str, base: str | None, named: str
) -> None:
    config = json.dumps({"base_model_name_or_path": path, "r": 4})
    folder = model_folder(tmp_path / "it", **{"adapter_config.json": config})
    push("model", folder, "me/her-small", base=base)
    assert json.loads(hub.repository("me/her-small").files["adapter_config.json"]) == {
        "base_model_name_or_path": named,
        "r": 4,
    }
    assert len(titles(hub, "me/her-small")) == 2 and (folder / "adapter_config.json").read_text() == config


def test_an_adapter_whose_base_is_no_name_is_refused(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it", **{"adapter_config.json": '{"base_model_name_or_path": 5}'})
    with pytest.raises(ValueError, match="base_model_name_or_path must be a name or a path, got 5"):
        push("model", folder, "me/her-small")
    assert not hub.journal


def test_a_metric_carries_the_wheel_and_says_where_it_is(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    pushed = push("metric", ROOT / "spaces" / "coser_gca", "me/coser_gca", public=True)
    files = hub.repository("me/coser_gca", "space").files
    (wheel,) = [name for name in files if name.endswith(".whl")]
    address = f"{hub.url}/spaces/me/coser_gca/resolve/main/{wheel}"
    assert f"\nher_hf[eval] @ {address}#sha256=" in files["requirements.txt"].decode()
    for name in ("README.md", "coser_gca.py"):
        text = files[name].decode()
        assert f"pip install 'her_hf[eval] @ {address}'" in text and "PATH_TO_CHECKOUT" not in text
    assert "her_hf/hub/push.py" in zipfile.ZipFile(BytesIO(files[wheel])).namelist()
    assert not hub.repository("me/coser_gca", "space").private and pushed.notes == []
    assert push("metric", ROOT / "spaces" / "coser_gca", "me/coser_gca", public=True).sent == []


@pytest.mark.parametrize("title", ["HER models", "me/her-models-1"])
def test_a_collection(hub: StandIn, waits: list[float], tmp_path: Path, title: str) -> None:
    if "/" in title:
        user = hub.store.users["hf_writer"]
        title = hub.store.new_collection("Mine", "me", user, private=True, description=None).slug
    for number, name in enumerate(("me/one", "me/two", "me/two")):
        folder = model_folder(tmp_path / str(number))
        pushed = push("model", folder, name, collection=title)
    (found,) = hub.store.collections.values()
    assert [item[:2] for item in found.items] == [("model", "me/one"), ("model", "me/two")] and found.private
    assert pushed.collection == f"{hub.url}/collections/{found.slug}"


def test_a_name_without_owner_is_your_own(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    assert push("model", model_folder(tmp_path / "it"), "her-small").address == f"{hub.url}/me/her-small"


def test_public_is_asked_for(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    push("model", folder, "me/her-small")
    assert hub.repository("me/her-small").private
    push("model", folder, "me/her-small", public=True)
    assert not hub.repository("me/her-small").private
    assert push("model", folder, "me/her-small").notes == ["the repository is public"]


# -- what is refused


def test_a_secret_is_refused_and_not_shown(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    secret = "hf_" + "aB3" * 11
    folder = model_folder(tmp_path / "it", **{"notes/log.md": f"one\ntwo {secret}\nsee /home/ann/x/y\n"})
    with pytest.raises(ValueError) as raised:
        push("model", folder, "me/her-small")
    assert "notes/log.md, line 2: a Hugging Face token (hf_a…)" in str(raised.value)
    assert "notes/log.md, line 3: a home path (/hom…)" in str(raised.value)
    assert secret not in str(raised.value) and not hub.journal


def test_the_token_in_use_is_a_secret_of_any_form(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it", **{"notes.md": "with hf_writer it worked\n"})
    with pytest.raises(ValueError, match=r"notes\.md, line 1: a secret of this session"):
        push("model", folder, "me/her-small")


def test_another_s_repository_is_not_overwritten(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    hub.store.put("model", "me/other", {"README.md": b"# Another\n", "config.json": b"{}"})
    with pytest.raises(FileExistsError, match=r"'Another', not 'her-small'.*README\.md, config\.json.*--force"):
        push("model", folder, "me/other")
    hub.store.put("model", "me/bare", {"config.json": b"{}"})
    with pytest.raises(FileExistsError, match="has no card"):
        push("model", folder, "me/bare")
    assert not hub.steps("commit")
    push("model", folder, "me/other", force=True)
    assert hub.repository("me/other").files["README.md"] == CARD.encode()


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "no token.*hf auth login.*HF_TOKEN"),
        (READER, "403.*write token"),
        (STRANGER, "403.*rights to create"),
        ("hf_wrong_one", "401.*not valid.*hf auth login"),
    ],
)
def test_who_may_not_write(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, message: str
) -> None:
    use(hub, tmp_path / "home", monkeypatch, token)
    with pytest.raises(HubError, match=message):
        push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert not hub.store.repositories


def test_a_paid_space(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    hub.plan.add(refuse("create", 402, "Payment required"))
    with pytest.raises(HubError, match=r"402.*static Spaces are free"):
        push("space", space_folder(tmp_path / "it"), "me/a-page")


def test_a_card_that_the_hub_refuses_stops_the_push(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    card = CARD.replace("license:", "base_model: base\nlicense:")
    with pytest.raises(ValueError, match="base_model"):
        push("model", model_folder(tmp_path / "it", **{"README.md": card}), "me/her-small")
    assert titles(hub, "me/her-small") == ["initial commit"] and not hub.steps("upload")


# -- faults


@pytest.mark.parametrize(
    "fault",
    [
        refuse("commit", 503),
        refuse("commit", 429, headers={"Retry-After": "7"}),
        tear_request("commit"),
        lose_answer("commit"),
        lose_answer("commit", reset=True),
        lose_answer("create"),
        refuse("info", 500, times=3),
        tear_request("upload"),
        refuse("batch", 502, times=2),
        refuse("tree", 504),
    ],
    ids=lambda fault: f"{fault.step} {fault.name}",
)
def test_a_fault_is_overcome_without_a_second_commit(
    hub: StandIn, waits: list[float], tmp_path: Path, fault: Fault
) -> None:
    hub.plan.add(fault)
    pushed = push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert hub.repository("me/her-small").files.keys() == {*SENT, ".gitattributes"}
    assert len(titles(hub, "me/her-small")) == 2 and pushed.commit == hub.repository("me/her-small").head.sha
    if fault.headers:
        assert waits == [7.0]


def test_a_hub_that_stays_down_is_an_error_and_again_goes_on(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    hub.plan.add(refuse("commit", 503, "Down for the night", times=None))
    with pytest.raises(HubError, match=r"503.*Down for the night.*same command again"):
        push("model", folder, "me/her-small")
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0] and titles(hub, "me/her-small") == ["initial commit"]
    hub.plan.clear()
    push("model", folder, "me/her-small")
    assert len(titles(hub, "me/her-small")) == 2 and hub.steps("upload") == ["upload 200"]


def test_somebody_else_s_commit_in_between_is_said(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it")
    hub.plan.add(meanwhile("commit", lambda: hub.store.put("model", "me/her-small", {"note.txt": b"mine"})))
    with pytest.raises(HubError, match="somebody else changed it"):
        push("model", folder, "me/her-small")
    hub.store.put("model", "me/her-small", {"README.md": CARD.encode()})
    push("model", folder, "me/her-small")
    assert hub.repository("me/her-small").files.keys() == {*SENT, ".gitattributes", "note.txt"}


def test_many_files_go_in_several_commits_and_go_on(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "COMMIT_FILES", 3)
    folder = dataset_folder(tmp_path / "it")
    write_files(folder, {f"data/more/{number}.jsonl": "{}\n" for number in range(5)})
    hub.plan.add(refuse("commit", 400, "no more today", after=1))
    with pytest.raises(HubError, match="no more today"):
        push("dataset", folder, "me/scenes", message="Scenes")
    assert titles(hub, "me/scenes", "dataset") == ["initial commit", "Scenes (part 1 of 3)"]
    assert "README.md" in hub.repository("me/scenes", "dataset").files
    push("dataset", folder, "me/scenes", message="Scenes")
    assert titles(hub, "me/scenes", "dataset")[2:] == ["Scenes (part 1 of 2)", "Scenes (part 2 of 2)"]
    assert len(hub.repository("me/scenes", "dataset").files) == 9


def test_what_a_gitignore_there_excludes_is_said(hub: StandIn, waits: list[float], tmp_path: Path) -> None:
    hub.store.put("model", "me/her-small", {"README.md": CARD.encode(), ".gitignore": b"*.safetensors\n"})
    with pytest.raises(HubError, match=r"does not hold model\.safetensors.*\.gitignore"):
        push("model", model_folder(tmp_path / "it"), "me/her-small")


def test_a_dry_run_asks_nobody(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(hub, tmp_path / "home", monkeypatch, None)
    found = push("model", model_folder(tmp_path / "it"), "me/her-small", dry_run=True)
    assert found.files.keys() == SENT and found.sent == [] and found.commit is None and not hub.journal


def test_offline_is_said(hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert waits == [] and not hub.journal


def test_a_hub_that_cannot_be_reached_is_said(
    hub: StandIn, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"could not be reached \(ConnectError.*same command again"):
        push("model", model_folder(tmp_path / "it"), "me/her-small")
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
