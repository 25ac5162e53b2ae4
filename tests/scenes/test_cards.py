"""Cards that are written are read back as the same character, and keep what they have no field for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from her_hf.dual_layer import parse_turn
from her_hf.scenes import Character, Scene, card_of, load_scenes, write_card
from tests.support.chat import small_scene


def greeting_scene() -> Scene:
    ann = Character(name="Ann", profile="Hides a letter from Mr. Bell.", description="Calm.", motivation="Not there.")
    said = "Ann: <role_thinking>Oh.</role_thinking> <role_action>curtsies</role_action> Sir. Use {{char}}."
    return small_scene().model_copy(update={"cast": [ann, small_scene().cast[1]], "dialogue": [parse_turn(said)]})


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["ann.json", "ann.PNG"])
def test_a_card_is_read_back(name: str, version: int, tmp_path: Path) -> None:
    path = write_card(greeting_scene(), "Ann", tmp_path / "new" / name, visitor="Mr. Bell", version=version)
    (scene,) = load_scenes(path, visitor="Cleo")
    ann = scene.cast[0]
    assert (ann.name, ann.profile, ann.description) == ("Ann", "Hides a letter from Cleo.", "Calm.")
    assert scene.scenario == "A parlour. A letter lies in the drawer."
    assert scene.dialogue[0].render().replace("\u200b", "") == (
        "Ann: <role_action>curtsies</role_action> Sir. Use {{char}}."
    )
    kept = scene.extra["card"]["extensions"]["her_hf"]
    assert (kept["motivation"], kept["cast"][0]["name"]) == ("Not there.", "Mr. Bell")
    assert scene.extra["spec"] == f"chara_card_v{version}"
    with pytest.raises(FileExistsError, match="name another file"):
        write_card(greeting_scene(), "Ann", path)


def test_a_card_that_was_read_keeps_its_fields_and_no_entry_twice(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"content": "Always tea.", "constant": True, "enabled": True, "keys": []},
        {"content": "The drawer is oak.", "keys": ["drawer"], "enabled": True},
    ]
    data = {"name": "Ann", "description": "Calm.", "first_mes": "*waves* Hi.", "tags": ["tea"], "creator": "me"}
    data |= {"alternate_greetings": ["Yes, {{user}}?"], "character_book": {"entries": entries, "scan_depth": 3}}
    first = tmp_path / "first.json"
    first.write_text(json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}))
    before = load_scenes(first, visitor="Cleo")
    after = load_scenes(write_card(before[1], "Ann", tmp_path / "second.png", visitor="Cleo"), visitor="Cleo")
    assert [scene.dialogue for scene in after] == [scene.dialogue for scene in before]
    assert after[0].cast[0].profile == before[0].cast[0].profile == "Always tea.\n\nCalm."
    card = after[0].extra["card"]
    assert (card["tags"], card["creator"]) == (["tea"], "me")
    assert card["character_book"] == {"entries": entries[1:], "scan_depth": 3}


def test_a_picture_stays_and_its_old_card_goes(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (3, 2), "red").save(picture)
    first = write_card(greeting_scene(), "Ann", tmp_path / "1.png", image=picture)
    second = write_card(greeting_scene(), "Mr. Bell", tmp_path / "2.png", image=first, version=2)
    image = Image.open(io.BytesIO(second.read_bytes()))
    assert (image.size, image.getpixel((0, 0))) == ((3, 2), (255, 0, 0))
    assert sorted(Image.open(first).text) == ["ccv3", "chara"]  # type: ignore[attr-defined]
    assert load_scenes(second)[0].cast[0].name == "Mr. Bell"
    blank = write_card(greeting_scene(), "Ann", tmp_path / "blank.png")
    Image.open(blank).load()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for how, said in (
        ({"path": "ann.txt"}, "to a .json or .png file, got 'ann.txt'"),
        ({"version": 4}, r"version must be one of \[2, 3\], got 4"),
        ({"character": "Nobody"}, "'Nobody' is not in the scene"),
    ):
        given: dict[str, Any] = {"character": "Ann", "path": "ann.png", **how}
        with pytest.raises(ValueError, match=said):
            write_card(greeting_scene(), given["character"], tmp_path / given["path"], version=given.get("version", 3))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    for name, said in (("text.png", "is not a PNG file"), ("cut.png", "truncated PNG file")):
        with pytest.raises(ValueError, match=said):
            write_card(greeting_scene(), "Ann", tmp_path / "new.png", image=tmp_path / name)
    assert not (tmp_path / "new.png").exists() and card_of(greeting_scene(), "Ann")["data"]["tags"] == []
