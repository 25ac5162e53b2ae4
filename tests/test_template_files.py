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


def test_a_page_escapes_its_values_and_a_prompt_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "paged" / "templates"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "line.jinja").write_text("{{ text }}")
    monkeypatch.syspath_prepend(tmp_path)
    shown = [load_template("paged", "line.jinja", autoescape=on).render(text="<b> & co") for on in (True, False)]
    assert shown == ["&lt;b&gt; &amp; co", "<b> & co"]


def test_no_other_module_loads_or_compiles_templates() -> None:
    """One way: who needs a template asks the loader. Errors of templates may be caught anywhere."""
    loads = re.compile(r"\bEnvironment\(|SandboxedEnvironment|PackageLoader|from_string\(|/ \"templates\"")
    files = (ROOT / "her_hf").rglob("*.py")
    found = {file.relative_to(ROOT).as_posix() for file in files if loads.search(file.read_text(encoding="utf-8"))}
    assert found == {"her_hf/template_files.py"}
