"""The stand-in Hub behaves as the Hub does towards its own client, faults included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.support.hub import (
    READER,
    STRANGER,
    StandIn,
    lose_answer,
    meanwhile,
    refuse,
    tear_answer,
    tear_request,
    wait,
)

FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n\n# A model\n",
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": os.urandom(200_000),
    "additional_chat_templates/scene.jinja": "{{ 'Grüße, 世界' }}".encode(),
    "empty.txt": b"",
    "数据/ein Blatt.jsonl": b"{}\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        file = tmp_path / "pushed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "pushed"


@pytest.fixture
def api(waits: list[float]) -> HfApi:
    return HfApi()


def pulled(folder: str | Path) -> dict[str, bytes]:
    """The files of a folder, without the Hub's own."""
    files = (file for file in Path(folder).rglob("*") if file.is_file())
    found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
    return {name: content for name, content in found.items() if not name.startswith((".cache/", ".gitattributes"))}


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_what_is_uploaded_comes_back(api: HfApi, hub: StandIn, folder: Path, kind: str) -> None:
    if kind == "space":
        (folder / "README.md").write_bytes(b"---\nsdk: gradio\n---\n")
    api.create_repo("me/it", repo_type=kind, space_sdk="gradio" if kind == "space" else None, private=True)
    made = api.upload_folder(repo_id="me/it", repo_type=kind, folder_path=folder, commit_message="All of it")
    pushed = pulled(folder)
    assert pulled(snapshot_download("me/it", repo_type=kind)) == pushed
    assert [commit.title for commit in api.list_repo_commits("me/it", repo_type=kind)] == [
        "All of it",
        "initial commit",
    ]
    assert api.repo_info("me/it", repo_type=kind).sha == made.oid == hub.repository("me/it", kind).head.sha
    assert set(api.list_repo_files("me/it", repo_type=kind)) == {*pushed, ".gitattributes"}
    assert hub.steps("upload") == ["upload 200"]
    again = api.upload_folder(repo_id="me/it", repo_type=kind, folder_path=folder)
    assert again.oid == made.oid and hub.steps("upload") == ["upload 200"]


def test_a_commit_is_whole_or_not_at_all(api: HfApi, hub: StandIn) -> None:
    api.create_repo("me/it")
    before = hub.repository("me/it").head
    changes = [CommitOperationAdd("a.txt", b"a"), CommitOperationDelete("never.txt")]
    with pytest.raises(EntryNotFoundError):
        api.create_commit("me/it", changes, commit_message="Half of it")
    assert hub.repository("me/it").head is before
    first = api.create_commit("me/it", changes[:1], commit_message="A")
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit("me/it", [CommitOperationAdd("b.txt", b"b")], commit_message="B", parent_commit=before.sha)
    assert hub.repository("me/it").head.sha == first.oid


def test_a_card_is_checked(api: HfApi, hub: StandIn) -> None:
    api.create_repo("me/it")
    card = CommitOperationAdd("README.md", b"---\nbase_model: /home/ann/base\n---\n")
    with pytest.raises(ValueError, match=r"base_model.*not valid"):
        api.create_commit("me/it", [card], commit_message="A card")
    assert hub.steps("validate", "commit") == ["validate 400"]


def test_revisions_ranges_and_what_is_missing(api: HfApi, hub: StandIn, tmp_path: Path) -> None:
    first = hub.store.put("model", "me/it", {"a.txt": b"one"})
    hub.store.put("model", "me/it", {"a.txt": b"two", "deep/b/c.txt": b"c", "model.safetensors": b"w" * 10})
    hub.repository("me/it").tags["v1"] = first.sha
    assert [Path(hf_hub_download("me/it", "a.txt", revision=at)).read_text() for at in ("main", "v1", first.sha)] == [
        *("two", "one", "one")
    ]
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("me/it", "a.txt", revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("me/it", "never.txt")
    names = [entry.path for entry in api.list_repo_tree("me/it", "deep")]
    assert names == ["deep/b"]
    large, deep = api.get_paths_info("me/it", ["model.safetensors", "deep", "never"])
    assert (large.path, large.lfs.size, deep.path) == ("model.safetensors", 10, "deep")
    part = get_session().get(f"{hub.url}/me/it/resolve/main/model.safetensors", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"www", "bytes 2-4/10")


def test_who_may_do_what(api: HfApi, hub: StandIn) -> None:
    api.create_repo("me/mine", private=True)
    api.create_repo("her-lab/ours")
    for token, error in ((False, RepositoryNotFoundError), (STRANGER, RepositoryNotFoundError)):
        with pytest.raises(error):
            api.repo_info("me/mine", token=token)
    assert api.repo_info("me/mine", token=READER).private
    with pytest.raises(HfHubHTTPError, match="write token"):
        api.create_commit("me/mine", [CommitOperationAdd("a", b"a")], commit_message="a", token=READER)
    with pytest.raises(HfHubHTTPError, match="rights to create"):
        api.create_repo("me/other", token=STRANGER)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")
    assert api.whoami()["name"] == "me"


def test_collections(api: HfApi, hub: StandIn) -> None:
    api.create_repo("me/it")
    made = api.create_collection("HER models", exists_ok=True)
    assert api.create_collection("HER models", exists_ok=True).slug == made.slug
    for _ in range(2):
        found = api.add_collection_item(made.slug, "me/it", "model", note="the first", exists_ok=True)
    assert [(item.item_id, item.note) for item in found.items] == [("me/it", "the first")]
    assert [found.slug for found in api.list_collections(owner="me")] == [made.slug]


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_client_repeats(api: HfApi, hub: StandIn, folder: Path, waits: list[float], status: int) -> None:
    api.create_repo("me/it")
    hub.plan.add(refuse("preupload", status, headers={"Retry-After": "3"}), refuse("upload", status, times=2))
    api.upload_folder(repo_id="me/it", folder_path=folder)
    assert hub.repository("me/it").files["model.safetensors"] == FILES["model.safetensors"]
    assert waits == [4.0, 1, 2]


def test_what_it_does_not_repeat(api: HfApi, hub: StandIn, folder: Path, waits: list[float]) -> None:
    api.create_repo("me/it")
    hub.plan.add(refuse("commit", 503))
    with pytest.raises(HfHubHTTPError, match="503"):
        api.upload_folder(repo_id="me/it", folder_path=folder)
    assert hub.steps("commit") == ["commit 503"] and not waits
    assert len(hub.repository("me/it").commits) == 1


@pytest.mark.parametrize("reset", [False, True])
def test_torn_and_lost(api: HfApi, hub: StandIn, folder: Path, waits: list[float], reset: bool) -> None:
    api.create_repo("me/it")
    hub.plan.add(tear_request("upload", reset=reset), lose_answer("commit", reset=reset))
    with pytest.raises(httpx2.TransportError):
        api.upload_folder(repo_id="me/it", folder_path=folder)
    assert hub.steps("upload", "commit") == ["upload torn", "upload 200", "commit 200, answer lost"]
    assert [commit.title for commit in hub.repository("me/it").commits] == [
        *("initial commit", "Upload folder using huggingface_hub")
    ]


def test_a_download_goes_on_where_it_was_torn(
    hub: StandIn, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # less is lost when it is torn
    hub.store.put("model", "me/it", FILES)
    hub.plan.add(tear_answer("file"))
    found = hf_hub_download("me/it", "model.safetensors")
    assert Path(found).read_bytes() == FILES["model.safetensors"]
    assert hub.steps("file") == ["file 200, answer torn", "file 206"] and waits == [1]


def test_slow_and_meanwhile(hub: StandIn, waits: list[float]) -> None:
    hub.store.put("model", "me/it", {"a.txt": b"one"})
    hub.plan.add(wait("head", 0.4), meanwhile("file", lambda: hub.store.put("model", "me/it", {"a.txt": b"two"})))
    with pytest.raises(httpx2.ReadTimeout):
        get_session().head(f"{hub.url}/me/it/resolve/main/a.txt", timeout=0.1)
    assert get_session().get(f"{hub.url}/me/it/resolve/main/a.txt").content == b"two"


def test_a_bad_commit_is_refused(api: HfApi, hub: StandIn) -> None:
    api.create_repo("me/it")
    url, token = f"{hub.url}/api/models/me/it/commit/main", {"Authorization": "Bearer hf_writer"}
    bodies: dict[bytes, str] = {
        b"": "begins with a header",
        b'{"key": "header", "value": {"summary": "s"}}\n{"key": "lfsFile", "value": {"path": "a", "oid": "0"}}': (
            "does not exist"
        ),
        b"{": "Invalid NDJSON",
    }
    for body, message in bodies.items():
        answer: Any = get_session().post(url, content=body, headers=token)
        assert answer.status_code == 400 and message in answer.json()["error"]
    assert issubclass(BadRequestError, HfHubHTTPError) and len(hub.repository("me/it").commits) == 1
