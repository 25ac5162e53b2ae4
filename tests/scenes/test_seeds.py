"""Seeds of reenactment: every kind of source, our own six, and what bad rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from her_hf.scenes import SceneError
from her_hf.scenes.seeds import HUB, bench_files, load_seeds
from her_hf.simulation.minimax import OWN_SEEDS


def row(**changes: Any) -> dict[str, Any]:
    found = {
        "id": "mill",
        "ai_name": "Ann",
        "ai_setting": "Ann keeps a mill.",
        "user_name": "Bob",
        "user_setting": "A guest.",
        "ai_prologue": "Come in.",
        "initial_user_input": "Thank you.",
    }
    return {key: value for key, value in (found | changes).items() if value is not ...}


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return file


def parquet(file: Path, *rows: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    file.parent.mkdir(parents=True, exist_ok=True)
    writer.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    return file


CHINESE = row(ai_setting="安守着一座磨坊，从不歇息。", ai_prologue="请进。", initial_user_input="多谢。")


def test_our_own_seeds() -> None:
    seeds = load_seeds(OWN_SEEDS)
    assert [seed.language for seed in seeds] == ["en"] * 3 + ["zh"] * 3
    assert len({seed.id for seed in seeds}) == 6
    for seed in seeds:
        length = len(seed.ai_setting.split()) if seed.language == "en" else len(seed.ai_setting) / 1.7
        assert 80 <= length <= 210, seed.id
        assert seed.user_setting and seed.ai_prologue and seed.initial_user_input


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_files_of_every_kind(tmp_path: Path, kind: str) -> None:
    rows = [row(id=7, ai_name=" Ann\n Lee ", more="left alone"), row(user_setting="")]
    file = tmp_path / f"seeds.{kind}"
    if kind == "jsonl":
        lines(file, *rows)
    elif kind == "json":
        file.write_text(json.dumps(rows))
    else:
        rows[0]["id"] = "7"
        parquet(file, *rows)
    first, second = load_seeds(file)
    assert (first.id, first.ai_name, first.language, first.key) == ("7", "Ann Lee", "en", ("en", "7"))
    assert second.user_setting == ""
    assert load_seeds(tmp_path) == [first, second]


def test_language_is_said_or_guessed(tmp_path: Path) -> None:
    file = lines(tmp_path / "seeds.jsonl", row(), CHINESE, row(id="said", language="Chinese"))
    assert [seed.language for seed in load_seeds(file)] == ["en", "zh", "zh"]
    assert [seed.id for seed in load_seeds(file, "en")] == ["mill"]
    with pytest.raises(ValueError, match="must be one of"):
        load_seeds(file, "fr")
    with pytest.raises(SceneError, match="none in the language 'zh'"):
        load_seeds(lines(tmp_path / "english.jsonl", row()), "zh")


def test_a_copy_of_the_hub_dataset(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "en" / "seeds.parquet", row())
    assert [seed.key for seed in load_seeds(tmp_path)] == [("en", "mill")]
    with pytest.raises(SceneError, match=r"holds no data/zh/seeds\.parquet"):
        load_seeds(tmp_path, "zh")
    parquet(tmp_path / "data" / "zh" / "seeds.parquet", CHINESE)
    parquet(tmp_path / "data" / "zh" / "dialogues.parquet", {"dialogue": "no seed"})
    assert [seed.key for seed in load_seeds(tmp_path)] == [("en", "mill"), ("zh", "mill")]


def test_the_hub_is_asked_for_the_configs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def files_of(source: str) -> list[Path]:
        asked.append(source)
        return [lines(tmp_path / "seeds.jsonl", row() if source.endswith("en") else CHINESE)]

    monkeypatch.setattr("her_hf.scenes.seeds.files_of", files_of)
    assert [seed.language for seed in load_seeds(HUB, "zh")] == ["zh"]
    assert asked == [f"{HUB}:seeds_zh"]
    assert [seed.language for seed in load_seeds(HUB)] == ["en", "zh"]
    bench_files(HUB, "dialogues", "en")
    assert asked[1:] == [f"{HUB}:seeds_en", f"{HUB}:seeds_zh", f"{HUB}:dialogues_en"]


def test_a_hub_that_cannot_be_reached_is_an_error() -> None:
    with pytest.raises(SceneError, match="the Hub has no dataset"):
        load_seeds(HUB, "zh")


@pytest.mark.parametrize("column", list(row()))
def test_a_missing_column_is_named_with_file_and_row(tmp_path: Path, column: str) -> None:
    file = lines(tmp_path / "seeds.jsonl", row(id="first"), row(**{column: ...}))
    with pytest.raises(SceneError, match=rf"seeds\.jsonl, line 2, field '{column}': is missing; the row has"):
        load_seeds(file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ai_setting": "  "}, "field 'ai_setting': is empty"),
        ({"ai_prologue": 3}, "field 'ai_prologue': must be text"),
        ({"user_name": "Ann"}, "field 'user_name': is 'Ann', the same as ai_name"),
        ({"ai_name": "Environment"}, "field 'ai_name': is 'Environment'"),
        ({"id": True}, "field 'id': must be a text or whole number"),
        ({"id": "first"}, "field 'id': is 'first', like that of an earlier en seed"),
        ({"language": "fr"}, "field 'language'"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = lines(tmp_path / "seeds.jsonl", row(id="first"), row(**changes))
    with pytest.raises(SceneError) as caught:
        load_seeds(file)
    assert "line 2" in str(caught.value) and said in str(caught.value)
