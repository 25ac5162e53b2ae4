"""The result envelope: golden files, its schema, and results that are refused."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from her_hf.durable import read_json, write_json
from her_hf.runs.envelope import results_schema
from her_hf.runs.results import RESULTS, data_of, envelope, missing_part, read_results, write_results
from her_hf.scoring.replies import pattern_statistics
from tests.support.paths import ROOT
from tests.support.results import GOLDEN, SCHEMA, form_run, golden

Row = dict[str, Any]
NAMES = ("coser", "form", "minimax", "reward")


@pytest.mark.parametrize("name", NAMES)
def test_each_evaluation_writes_its_golden_file(name: str, tmp_path: Path) -> None:
    """`python -m tests.support.results` writes them anew, where a change is meant."""
    write_results(tmp_path, golden()[name])
    assert (tmp_path / RESULTS).read_bytes() == (GOLDEN / f"{name}.json").read_bytes()
    assert read_results(tmp_path, name) == read_json(GOLDEN / f"{name}.json")


def test_golden_files_show_what_can_be_missing() -> None:
    found = {name: read_json(GOLDEN / f"{name}.json") for name in NAMES}
    assert all(one["missing"]["failures"] and one["missing"]["by_cause"] for one in found.values())
    for one in found.values():
        assert set(one) == {"version", "evaluation", "settings", "counts", "missing", "figures", "intervals", "cases"}
        assert all(set(failure) == {"key", "cause", "detail"} for failure in one["missing"]["failures"])
        keys = [tuple(case.get("key") or (case["language"], case["seed_id"], case["run"])) for case in one["cases"]]
        assert len(set(keys)) == len(keys) > 1


def test_the_schema_in_the_docs_is_that_of_the_model() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == results_schema()


def test_the_page_and_the_schema_name_the_unit_of_entropy() -> None:
    assert pattern_statistics(["T", "S"])["entropy"] == pytest.approx(math.log(2))  # in bits it would be 1
    assert "`entropy` in nats" in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "In nats" in results_schema()["$defs"]["Patterns"]["properties"]["entropy"]["description"]


def test_the_page_explains_every_field() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name, part in results_schema()["$defs"].items():
        missing = [field for field in part["properties"] if f"`{field}`" not in page]
        assert not missing, f"docs/results.md does not name {missing} of {name}"


def changed(change: Callable[[Row], object]) -> Row:
    results = form_run()
    change(results)
    return results


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda row: row.pop("version"),
            r"no version: an older her_hf wrote it\. Run its .* another run, .* another --out",
        ),
        (lambda row: row.update(version=2), r"must have version 1, got 2\. Read it with the her_hf"),
        (lambda row: row.update(evaluation="gca"), r"evaluation must be one of \['coser', .* got 'gca'"),
        (
            lambda row: row["counts"].update(replies="six"),
            r"field counts\.replies: .*got 'six'\. Run its command again",
        ),
        (lambda row: row["counts"].pop("replies"), r"field counts\.replies: Field required"),
        (lambda row: row.update(spent={}), r"field spent: Extra inputs are not permitted"),
        (lambda row: row["missing"]["failures"][0].update(kind="x"), r"field missing\.failures\.0\.kind"),
        (lambda row: row["cases"][2].update(well_formed="yes"), r"field cases\.2\.well_formed: .*got 'yes'"),
        (lambda row: row["missing"].update(share=True), r"field missing\.share: .*got True"),
        (lambda row: [case.pop("leak") for case in row["cases"]], r"cases\.2\.leak.*; and 3 more\. Run"),
    ],
)
def test_another_shape_is_refused_with_what_to_do(tmp_path: Path, change: Callable[[Row], object], said: str) -> None:
    write_json(tmp_path / RESULTS, changed(change))
    with pytest.raises(ValueError, match=said) as error:
        read_results(tmp_path)
    assert str(tmp_path / RESULTS) in str(error.value) and len(str(error.value)) < 900 + len(str(tmp_path))


FREE = (
    r"settings\..*|.*\.by_cause\.\w+|counts\.(ended_by|patterns|judged\.flaws)\..*|.*\.issues\.\w+|figures\.agreement\..*|"
    r"figures\.overlap\.\w+|figures\.by_(judge|tag|book|language|kind|group|source|length)\.[^.]+|cases\.0\.judges\..*"
)
"""Tables whose names come from the data, or whose values a report only lists."""


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each field of an envelope stands; of lists those of the first entry."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*at, name)
            yield from places(inner, (*at, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


@pytest.mark.parametrize("name", NAMES)
def test_no_field_may_be_absent(name: str, tmp_path: Path) -> None:
    whole = golden()[name]
    accepted = []
    for place in list(places(whole)):
        results = copy.deepcopy(whole)
        inner: Any = results
        for part in place[:-1]:
            inner = inner[part]
        del inner[place[-1]]
        write_json(tmp_path / RESULTS, results)
        try:
            read_results(tmp_path)
        except ValueError:
            continue
        accepted.append(".".join(map(str, place)))
    assert [place for place in accepted if not re.fullmatch(FREE, place)] == []


def test_another_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no results\.json: name the --out folder"):
        read_results(tmp_path)
    write_json(tmp_path / RESULTS, {"commit": "0f", "precision": "float32"})  # of a training
    with pytest.raises(ValueError, match="has no results of her-hf eval coser or her-hf eval minimax"):
        read_results(tmp_path)
    write_json(tmp_path / RESULTS, [1])
    with pytest.raises(ValueError, match="must be a JSON object, got list"):
        read_results(tmp_path)
    (tmp_path / RESULTS).write_text('{"version": 1, "evalu', encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON"):
        read_results(tmp_path)
    write_results(tmp_path, form_run())
    with pytest.raises(ValueError, match="must have results of 'reward', got 'form': name the --out folder"):
        read_results(tmp_path, "reward")


def test_an_evaluation_cannot_write_another_shape() -> None:
    part = missing_part("reply", 2, {"status": 2})
    assert part["share"] == 1.0 and part["missing"] == 2
    with pytest.raises(ValidationError):
        envelope("form", settings={}, counts={}, missing=part, figures=None, intervals=None, cases=[])


def test_the_data_tell_no_way_to_a_folder() -> None:
    sources = ("/home/ann/sets/her-mini", "sets/her-mini", "me/her-mini", "")
    found = [data_of(source, "test", ["a"])["source"] for source in sources]
    assert found == ["…/her-mini", "sets/her-mini", "me/her-mini", ""]
