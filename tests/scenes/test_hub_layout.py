"""Datasets as the Hub lays them out: splits by folder, name and card, configs, and what is downloaded of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from her_hf.hub.card_layout import hub_id
from her_hf.scenes import SceneError, load_scenes
from her_hf.scenes.layout import wanted_files
from tests.support.paths import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def scene(book: str, **changes: Any) -> str:
    row = {
        "book": book, "i_p": 1, "i_c": 0, "scenario": "A quay.",
        "dialogues": [{"character": "Nan", "message": "Cast off."}], "key_characters": [{"name": "Nan"}], **changes,
    }  # fmt: skip
    return json.dumps([row])


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


def books(source: Path | str, split: str | None = None) -> list[str]:
    return [scene.book for scene in load_scenes(source, split)]


def wanted(names: list[str], card: str = "", split: str | None = None, config: str = "") -> list[str]:
    return wanted_files(names, card, split, config, source="o/n", card_name="card").files


# -- which files make which split


@pytest.mark.parametrize(
    ("names", "split", "found"),
    [
        (["train/b1.json", "train/b2.json", "test/test_set.json"], "test", ["test/test_set.json"]),
        (["train/b1.json", "train/b2.json", "test/test_set.json"], "train", ["train/b1.json", "train/b2.json"]),
        (["data/train/a/1.jsonl", "data/dev/1.jsonl"], "train", ["data/train/a/1.jsonl"]),
        (["data/train/a/1.jsonl", "data/dev/1.jsonl"], "validation", ["data/dev/1.jsonl"]),
        (["train.jsonl", "her_dev.json", "x-test-2.parquet"], "validation", ["her_dev.json"]),
        (["evaluation.jsonl", "training 1.jsonl"], "test", ["evaluation.jsonl"]),
        (["a/train-00001-of-00002.parquet", "a/train-00000-of-00002.parquet"], "train",
         ["a/train-00000-of-00002.parquet", "a/train-00001-of-00002.parquet"]),
        (["data/ablation-00000-of-00001.parquet", "data/train-00000-of-00001-9f8e.parquet"], "ablation",
         ["data/ablation-00000-of-00001.parquet"]),
        (["scenes.jsonl", "more/scenes.jsonl", "LICENSE"], "train", ["more/scenes.jsonl", "scenes.jsonl"]),
        (["train/test/a.json", "train/b.json"], "train", ["train/b.json"]),
        (["Train/A.JSONL"], "train", ["Train/A.JSONL"]),
        (["train.json", "sub/config.json", "__pycache__/train.json", ".cache/train.json"], "train", ["train.json"]),
    ],
)  # fmt: skip
def test_splits_by_what_files_and_folders_are_called(names: list[str], split: str, found: list[str]) -> None:
    assert wanted(names, split=split) == found


_PLACES = ["", "data/", "train/", "data/train/", "data/test_sets/", "her-dev/", "other/", "other/validation/"]
_NAMES = ["train.jsonl", "test_set.json", "her_eval.json", "a.json", "training 1.json", "x-train2.jsonl"]
_NAMES += ["random-00000-of-00001.parquet", "train-00000-of-00002.parquet", "valid.json", "testament.json"]
_NAMES += ["config.json"]


@settings(max_examples=60)
@given(st.sets(st.tuples(st.sampled_from(_PLACES), st.sampled_from(_NAMES)), min_size=1, max_size=6))
def test_the_same_splits_as_datasets(tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, str]]) -> None:
    data_files = pytest.importorskip("datasets.data_files", reason="needs datasets")
    names = ["".join(file) for file in files]
    root = tree(tmp_path_factory.mktemp("tree"), dict.fromkeys(names, "{}"))
    try:
        theirs = data_files.DataFilesDict.from_patterns(data_files.get_data_patterns(str(root)), base_path=str(root))
    except data_files.EmptyDatasetError:
        with pytest.raises(SceneError, match="holds no data"):
            wanted(names)
        return
    every = [file for found in theirs.values() for file in set(found)]
    assume(len(every) == len(set(every)))  # what is in two splits there is in one here
    for split, found in theirs.items():
        assert [str(root / name) for name in wanted(names, split=str(split))] == sorted(
            set(found), key=lambda file: file.split("/")
        )


@pytest.mark.parametrize(
    ("entry", "split", "found"),
    [
        ("data_files: a/**", "train", ["a/dev.jsonl", "a/x/1.jsonl", "a/x/2.parquet"]),
        ("data_files: ['a/x/*', b.txt]", "train", ["a/x/1.jsonl", "a/x/2.parquet", "b.txt"]),
        ("data_files: [{split: odd, path: 'a/x/[1]*'}, {split: two, path: [./a/x/2.parquet]}]", "odd",
         ["a/x/1.jsonl"]),
        ("data_files: [{split: odd, path: 'a/x/[1]*'}, {split: two, path: [./a/x/2.parquet]}]", None,
         ["a/x/1.jsonl", "a/x/2.parquet"]),
        ("data_files: {test: '**/*.parquet'}", "test", ["a/x/2.parquet"]),
        ("data_dir: a", "validation", ["a/dev.jsonl"]),
        ("data_dir: a/x/", "train", ["a/x/1.jsonl", "a/x/2.parquet"]),
        ("data_dir: ./a\n  data_files: x/*.jsonl", "train", ["a/x/1.jsonl"]),
        ("default: true", "validation", ["a/dev.jsonl"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["---\n", "\ufeff---\n", "\n---\r\n"])
def test_a_card_says_which_files(entry: str, split: str | None, found: list[str], before: str) -> None:
    names = ["a/x/1.jsonl", "a/x/2.parquet", "a/x/plot.svg", "a/dev.jsonl", "b.txt", "README.md", ".gitattributes"]
    card = f"{before}license: mit\nconfigs:\n- config_name: one\n  {entry}\n---\n# Card\n"
    assert wanted(names, card, split) == found


@pytest.mark.parametrize(
    ("entry", "split", "match"),
    [
        ("data_files: gone.jsonl", None, r"card, field 'data_files': names 'gone.jsonl', but there is no such file"),
        ("data_files: 'gone/*'", None, r"card, field 'data_files': \['gone/\*'\] matches no file"),
        ("data_files: '*.csv'", None, r"matches only files with the suffixes \['.csv'\]; supported are \['.json'"),
        ("data_files: [{path: a.jsonl}]", None, "must name the split of its path, got dict"),
        ("data_dir: ../a", None, "card, field 'data_dir': names data outside its folder"),
        ("data_dir: [a]", None, r"must be a folder of the dataset, got list \['a'\]"),
        ("data_dir: none", None, "holds no data: its folder 'none/' has no file"),
        ("data_files: a.jsonl", "test", r"^o/n: has no split 'test'; it has \['train'\]"),
    ],
)
def test_a_card_that_names_what_is_not_there(entry: str, split: str | None, match: str) -> None:
    card = f"---\nconfigs:\n- config_name: one\n  {entry}\n---\n"
    with pytest.raises(SceneError, match=match):
        wanted(["a.jsonl", "b.csv"], card, split)


def test_only_the_files_of_the_wanted_split_must_be_there() -> None:
    """As in a copy that holds one split, or where only one was downloaded."""
    card = "---\nconfigs:\n- data_files: [{split: train, path: a.jsonl}, {split: test, path: b.jsonl}]\n---\n"
    assert wanted(["b.jsonl"], card, "test") == ["b.jsonl"]


@pytest.mark.parametrize(
    ("entry", "split", "found", "unread"),
    [
        ("data_files: d/*", None, ["d/test.jsonl", "d/x.json"], ["d/train.jsonl.gz", "d/y.CSV"]),
        ("data_files: d/x*", None, ["d/x.json"], []),
        ("data_dir: d", None, ["d/test.jsonl"], ["d/train.jsonl.gz", "d/y.CSV"]),
        ("data_dir: d", "test", ["d/test.jsonl"], []),
    ],
)
def test_data_that_is_not_read_is_named(entry: str, split: str | None, found: list[str], unread: list[str]) -> None:
    names = ["d/test.jsonl", "d/x.json", "d/y.CSV", "d/train.jsonl.gz", "d/notes.txt", "d/.old.zip", "e/z.zip"]
    card = f"---\nconfigs:\n- {entry}\n---\n"
    chosen = wanted_files(names, card, split, source="o/n", card_name="card")
    assert (chosen.files, chosen.unread) == (found, unread)
    with pytest.raises(SceneError, match=r"no split 'train'; it has \['test'\]; not supported are 'd/train.jsonl.gz'"):
        wanted(names, split="train")
    with pytest.raises(SceneError, match=r"holds no data: .*; not supported are 'a\.zip'"):
        wanted(["a.zip"])


def test_data_that_is_not_read_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert books(tree(tmp_path, {"train.jsonl": scene("A"), "test.jsonl.gz": ""})) == ["A"]
    assert f"{tmp_path}: files that may be data are not read; unpack them" in caplog.text
    assert caplog.text.rstrip().endswith("'test.jsonl.gz'")


CONFIGS = """---
configs:
- config_name: full_info
  data_files: full.jsonl
- config_name: chats (v1.0)
  data_dir: chats
---
"""


def test_configs(tmp_path: Path) -> None:
    files = {"README.md": CONFIGS, "full.jsonl": scene("A"), "chats/train.jsonl": scene("B")}
    root = tree(tmp_path / "set", files)
    assert books(f"{root}:full_info") == books(f"{root}:full_info", "train") == ["A"]
    assert books(f"{root}:chats (v1.0)", "train") == ["B"]
    with pytest.raises(SceneError, match=r"several configs and none is the default; name one of \['full_info', 'cha"):
        load_scenes(root)
    with pytest.raises(SceneError, match=r"README.md: has no config 'other'; it has \['full_info', 'chats"):
        load_scenes(f"{root}:other")
    (root / "README.md").write_text(CONFIGS.replace("data_dir: chats", "data_dir: chats\n  default: true"))
    assert books(root) == ["B"]
    (root / "README.md").unlink()
    with pytest.raises(SceneError, match="has no config 'full_info'; its head names none"):
        load_scenes(f"{root}:full_info")


def test_a_config_of_a_local_folder_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree(tmp_path, {"data/set/a.json": ""}))
    assert [hub_id(name) for name in ("data/set:small", "data/other:small")] == [None, "data/other"]


# -- folders


def test_a_folder_in_the_layout_of_the_hub(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a.json": scene("A"), "train/b.json": scene("B"), "test/test_set.json": scene("C")})
    tree(tmp_path, {"notes/extra.json": scene("D"), "notes/tool.json": "{}", ".git/train/x.json": scene("E")})
    assert books(tmp_path, "test") == ["C"]
    assert books(tmp_path, "train") == ["A", "B"]
    assert books(tmp_path) == ["A", "B", "C", "D"]
    with pytest.raises(SceneError, match=r"no split 'validation'; it has \['test', 'train'\]"):
        load_scenes(tmp_path, "validation")


def test_a_folder_with_a_link_to_itself(tmp_path: Path) -> None:
    tree(tmp_path, {"far/train/a.json": scene("A"), "set/plain.txt": ""})
    (tmp_path / "set" / "data").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "again").symlink_to(tmp_path / "far")
    assert books(tmp_path / "set", "train") == ["A"]


def test_a_card_with_a_byte_order_mark(tmp_path: Path) -> None:
    head = "---\nconfigs:\n- config_name: default\n  data_files: [{split: test, path: odd.json}]\n---\n"
    tree(tmp_path, {"README.md": "\ufeff" + head, "odd.json": scene("A"), "train.json": scene("B")})
    assert books(tmp_path, "test") == ["A"]
    assert books(tmp_path) == ["A"]


# -- the Hub


class StandIn:
    """A server on this machine that answers as the Hub does for one dataset, and notes which files were fetched."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files, self.fetched = {name: text.encode() for name, text in files.items()}, list[str]()
        self.told = ""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(self.path.partition("?")[0])
                if path.startswith("/api/datasets/o/n/tree/"):
                    self.answer(json.dumps(stand_in.tree()).encode())
                elif path.startswith("/api/datasets/o/n"):
                    self.answer(json.dumps({"id": "o/n", "sha": COMMIT, "siblings": []}).encode())
                elif (name := path.partition("/datasets/o/n/resolve/")[2].partition("/")[2]) in stand_in.files:
                    if self.command == "GET":
                        stand_in.fetched.append(name)
                    self.answer(stand_in.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
                else:
                    self.answer(b"", {"X-Error-Code": "RepoNotFound"}, 404)

            def answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tree(self) -> list[dict[str, Any]]:
        return [{"type": "file", "path": name, "size": len(text), "oid": name} for name, text in self.files.items()]


LOAD = """
import json, sys
from her_hf.scenes import SceneError, load_scenes
try:
    print(json.dumps([scene.book for scene in load_scenes(sys.argv[1], sys.argv[2] or None)]))
except SceneError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn(
        {
            ".gitattributes": "", "README.md": "# A card without a head\n", "train/big [1].json": scene("A"),
            "train/big2.json": scene("B"), "test/test_set.json": scene("C"), "plots.parquet.zip": "",
        }
    )  # fmt: skip
    yield server
    server.server.shutdown()
    server.server.server_close()


def load(stand_in: StandIn, cache: Path, source: str, split: str = "", offline: bool = False) -> Any:
    """Loads in a process of its own: huggingface_hub reads where the Hub is when it is imported."""
    env = {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{stand_in.server.server_port}", "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        env.pop(proxy, None), env.pop(proxy.upper(), None)
    stand_in.fetched.clear()
    done = subprocess.run([sys.executable, "-c", LOAD, source, split], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    stand_in.told = done.stderr
    return json.loads(done.stdout)


def test_only_the_files_of_the_split_are_downloaded(stand_in: StandIn, tmp_path: Path) -> None:
    assert load(stand_in, tmp_path, "o/n", "test") == ["C"]
    assert sorted(stand_in.fetched) == ["README.md", "test/test_set.json"]
    assert load(stand_in, tmp_path, "o/n", "test", offline=True) == ["C"]
    assert "o/n: The Hub could not be reached (OfflineModeIsEnabled" in stand_in.told
    assert "only files downloaded before are known. Reading 1 files." in stand_in.told
    said = load(stand_in, tmp_path, "o/n", offline=True)
    assert said.startswith(
        "o/n: may have more files than are known; name a split, or give a local copy. The Hub could"
    )
    said = load(stand_in, tmp_path, "o/n", "train", offline=True)
    assert "o/n: has no split 'train'; it has ['test']. The Hub could not be reached (OfflineModeIsEnabled" in said
    assert stand_in.fetched == []
    said = load(stand_in, tmp_path, "o/n", "validation")
    assert said == "o/n: has no split 'validation'; it has ['test', 'train']." and stand_in.fetched == []
    assert load(stand_in, tmp_path, "o/n", "train") == ["A", "B"]
    assert sorted(stand_in.fetched) == ["train/big [1].json", "train/big2.json"]


def test_an_incomplete_download_is_not_a_complete_split(stand_in: StandIn, tmp_path: Path) -> None:
    shards = [f"data/train-{index:05}-of-00002{mark}.json" for index, mark in ((0, "-a1"), (1, "-b2"))]
    head = "configs:\n- data_files: [{split: train, path: data/train-*}]\n"
    stand_in.files = {name: scene("A").encode() for name in shards}
    stand_in.files["README.md"] = f"---\n{head}---\n".encode()
    for split in ("", "train"):
        assert load(stand_in, tmp_path, "o/n", split) == load(stand_in, tmp_path, "o/n", split, offline=True)
    assert len(list(tmp_path.rglob("snapshots/*/data/*"))) == 2
    next(tmp_path.rglob(Path(shards[1]).name)).unlink()
    for split in ("", "train"):
        said = load(stand_in, tmp_path, "o/n", split, offline=True)
        assert said.startswith(
            "o/n: has 1 of 2 files data/train-*; load it with a connection to the Hub. The Hub could not"
        )


def test_only_the_files_of_the_config_are_downloaded(stand_in: StandIn, tmp_path: Path) -> None:
    head = "configs:\n- config_name: small\n  data_dir: test\n- config_name: large\n  data_dir: train\n"
    stand_in.files["README.md"] = f"\ufeff---\n{head}---\n".encode()
    assert load(stand_in, tmp_path, "o/n:small", "test") == ["C"]
    assert sorted(stand_in.fetched) == ["README.md", "test/test_set.json"]
    said = load(stand_in, tmp_path, "o/n", "train")
    assert "several configs" in said and "o/n:small" in said and stand_in.fetched == []
    assert load(stand_in, tmp_path, "o/n:huge") == "o/n, README.md: has no config 'huge'; it has ['small', 'large']."


def test_a_hub_that_cannot_be_reached(stand_in: StandIn, tmp_path: Path) -> None:
    said = load(stand_in, tmp_path, "o/other")
    assert "o/other: is not a file or folder here, and the Hub has no dataset of that name (RepositoryNotFound" in said
    stand_in.server.shutdown()
    stand_in.server.server_close()
    assert "the Hub has no dataset of that name (LocalEntryNotFoundError" in load(stand_in, tmp_path, "o/n")
