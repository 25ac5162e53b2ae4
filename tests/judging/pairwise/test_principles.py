"""The library of principles and its loader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from her_hf.judging import load_principles
from her_hf.judging.pairwise.principles import Principles

HER_DIMENSIONS = {
    "Character Development", "Relationship Development", "Emotional Expression", "Action Description",
    "Atmosphere & Environment", "Dialogue & Interaction", "Narrative & Plot", "Conflict & Tension",
    "Details & Description", "Overall Quality", "Safety & Boundaries", "Worldview Consistency",
}  # fmt: skip


def library() -> dict[str, Any]:
    return load_principles().model_dump(mode="json")


def test_our_library_has_hers_dimensions_and_at_least_as_many_principles() -> None:
    found = load_principles()
    assert set(found.dimensions.values()) == HER_DIMENSIONS
    assert len(found.principles) >= 51
    assert {one.polarity for one in found.principles} == {"positive", "negative"}
    assert {one.level for one in found.principles} == {"sentence", "session"}
    assert all(found.of_dimension(key) for key in found.dimensions)


def test_the_file_says_whose_it_is() -> None:
    import her_hf.judging

    text = (Path(her_hf.judging.__file__).parent / "pairwise" / "principles.yaml").read_text(encoding="utf-8")
    assert "own" in text.partition("version:")[0] and "not published" in text.partition("version:")[0]


def test_examples_of_keeping_and_breaking_differ() -> None:
    for one in load_principles().principles:
        assert one.keeps != one.breaks and 5 <= len(one.keeps.split()) <= 40 and 5 <= len(one.breaks.split()) <= 40


@pytest.mark.parametrize("name", ["Assistant Voice", "assistant_voice", " assistant  VOICE "])
def test_a_judge_may_spell_a_name_its_own_way(name: str) -> None:
    found = load_principles().named(name)
    assert found is not None and found.key == "assistant_voice"


def test_a_principle_of_the_judges_own_is_not_one_of_ours() -> None:
    assert load_principles().named("Good Hair") is None
    with pytest.raises(KeyError, match="good_hair"):
        load_principles().keyed("good_hair")


def _drop_level(value: dict[str, Any]) -> None:
    del value["principles"][3]["level"]


def _odd_polarity(value: dict[str, Any]) -> None:
    value["principles"][2]["polarity"] = "neutral"


def _twice(value: dict[str, Any]) -> None:
    value["principles"][1]["name"] = value["principles"][0]["name"]


def _unknown_dimension(value: dict[str, Any]) -> None:
    value["principles"][0]["dimension"] = "weather"


def _few(value: dict[str, Any]) -> None:
    value["principles"] = value["principles"][:50]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop_level, r"principles\.3\.level.*required"),
        (_odd_polarity, r"principles\.2\.polarity.*neutral"),
        (_twice, "each name must be unique"),
        (_unknown_dimension, "weather"),
        (_few, "a principle, got none|at least 51"),
    ],
)
def test_an_invalid_library_is_refused_by_file_and_entry(
    change: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    value = library()
    change(value)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(value), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"(?s)mine\.yaml.*{words}"):
        load_principles(file)


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("principles: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml is not YAML"):
        load_principles(tmp_path / "mine.yaml")


def test_ones_own_library_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(library()), encoding="utf-8")
    assert load_principles(tmp_path / "mine.yaml") == Principles.model_validate(library())
