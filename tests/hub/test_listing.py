"""What of a folder is sent."""

from pathlib import Path

import pytest

from her_hf.hub.listing import list_folder
from tests.support.pushed import model_folder, write_files


def test_a_folder_is_listed_in_order_with_reasons(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "it", **{".gitattributes": "", "deep/.hidden": "", "deep/__pycache__/a.pyc": b""})
    found = list_folder(folder)
    assert list(found.files) == [
        *(".eval_results/coser.yaml", ".gitattributes", "README.md", "additional_chat_templates/scene.jinja"),
        *("config.json", "model.safetensors"),
    ]
    assert found.left_out == {
        "checkpoint-10/model.safetensors": "a checkpoint of the run",
        "deep/.hidden": "hidden",
        "deep/__pycache__/a.pyc": "compiled code",
        "run.json": "settings of the run, with paths of this machine",
    }


@pytest.mark.parametrize("note", ["run.json", "judging.json"])
def test_another_run_s_folder_stays_whole(tmp_path: Path, note: str) -> None:
    write_files(tmp_path / "it", {f"a/b/{note}": "{}", "a/b/c/rows.jsonl": "", "a/kept.txt": ""})
    found = list_folder(tmp_path / "it")
    assert list(found.files) == ["a/kept.txt"] and found.left_out == {"a/b/": "another run's folder"}


def test_links_are_followed_and_broken_ones_are_said(tmp_path: Path) -> None:
    write_files(tmp_path, {"blobs/1": "one", "it/a.txt": ""})
    (tmp_path / "it/b.txt").symlink_to("../blobs/1")
    found = list_folder(tmp_path / "it")
    assert Path(str(found.files["b.txt"])).read_text() == "one"
    (tmp_path / "blobs/1").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.txt is a link to a file that is not there"):
        list_folder(tmp_path / "it")
    (tmp_path / "it/b.txt").unlink()
    (tmp_path / "it/more").symlink_to("../blobs")
    with pytest.raises(ValueError, match="more is a link to a folder"):
        list_folder(tmp_path / "it")


def test_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, error in (("file", NotADirectoryError), ("none", FileNotFoundError)):
        with pytest.raises(error, match=f"{name} is not a folder here"):
            list_folder(tmp_path / name)
