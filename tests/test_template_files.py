"""Templates of all packages: one loader, no variable forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from her_hf.judging.pairwise.prompts import PROMPT_FILES
from her_hf.template_files import load_template, template_source
from tests.support.paths import ROOT


def test_a_variable_that_is_not_given_is_an_error() -> None:
    scene = {"character": "Ann", "card": ""}
    with pytest.raises(UndefinedError, match="'reasoning' is undefined"):
        load_template("her_hf.judging.pairwise", "compact.jinja").render(scene=scene, turns=[], cand_1="a", cand_2="b")


def test_a_template_is_compiled_once_and_its_text_is_that_of_the_file() -> None:
    package, name = "her_hf.scenes", "scene_en.jinja"
    assert load_template(package, name) is load_template(package, name)
    file = ROOT / "her_hf" / "scenes" / "templates" / name
    assert template_source(package, name) == file.read_text(encoding="utf-8")


def test_packages_do_not_share_names() -> None:
    """Critics and the simulation both have a folder `minimax`; neither finds the other's files."""
    load_template("her_hf.simulation", "minimax/npc_en.jinja")
    with pytest.raises(TemplateNotFound):
        load_template("her_hf.judging.critics", "minimax/npc_en.jinja")
    with pytest.raises(FileNotFoundError, match="npc_en"):
        template_source("her_hf.judging.critics", "minimax/npc_en.jinja")


def test_a_template_includes_what_lies_beside_it() -> None:
    assert re.search(r'include "_scene\.jinja"', template_source("her_hf.judging.pairwise", "reward.jinja"))
    for name in PROMPT_FILES:
        load_template("her_hf.judging.pairwise", f"{name}.jinja")


def test_a_page_is_escaped_and_a_prompt_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "paged" / "templates").mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    for name in ("page.html.jinja", "prompt.jinja"):
        (folder / name).write_text("{{ text | twice }}")
    monkeypatch.syspath_prepend(tmp_path)
    filters = (("twice", _twice),)
    shown = {name: load_template("paged", name, filters=filters) for name in ("page.html.jinja", "prompt.jinja")}
    assert {name: one.render(text="<b>") for name, one in shown.items()} == {
        "page.html.jinja": "&lt;b&gt;&lt;b&gt;",
        "prompt.jinja": "<b><b>",
    }


def _twice(text: str) -> str:
    return text * 2


def test_no_other_module_loads_or_compiles_templates() -> None:
    """One way: who needs a template asks the loader. Errors of templates may be caught anywhere."""
    loads = re.compile(r"SandboxedEnvironment|import Environment\b|PackageLoader|from_string\(|/ \"templates\"")
    files = (ROOT / "her_hf").rglob("*.py")
    found = {file.relative_to(ROOT).as_posix() for file in files if loads.search(file.read_text(encoding="utf-8"))}
    assert found == {"her_hf/template_files.py"}
