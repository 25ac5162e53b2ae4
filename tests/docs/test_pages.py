"""What the pages name is there: files, commands and their options, targets, versions, and the picture."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

import her_hf
from tests.support.paths import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(
        page
        for name in ("recipes", "spaces", "dataset_cards", "examples")
        for page in sorted((ROOT / name).rglob("*.md"))
    ),
]
MOST_WORDS = 900
FOLDERS = ("her_hf/", "recipes/", "spaces/", "docs/", "tests/", "examples/", "dataset_cards/", ".ci/")
NOT_OUR_WORDS = r"(?i)dealt out|told apart|\btalks\b|\bmend(ed)?\b|\bis none\b|\bat once\b|\bso many\b"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def named(pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Every match on every page, with the page's name."""
    for page in PAGES:
        for found in re.finditer(pattern, text_of(page), re.DOTALL | re.MULTILINE):
            yield str(page.relative_to(ROOT)), found


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").split()) <= MOST_WORDS


def test_files_that_are_named_are_there() -> None:
    files = [
        (page, found[1])
        for page, found in named(r"`([\w./-]+)`")
        if found[1].startswith(FOLDERS) or re.fullmatch(r"[A-Za-z_]+\.(toml|txt|md)", found[1])
    ]
    written = {"README.md", "report.md"}  # of runs and data sets
    assert len(files) > 60
    assert [one for one in files if one[1] not in written and not (ROOT / one[1]).exists()] == []


def test_modules_that_are_named_are_there() -> None:
    """Also by a part of their path, such as `units.py`."""
    there = [f"/{file.relative_to(ROOT).as_posix()}" for file in ROOT.glob("[!.]*/**/*.py")]
    shown = {(page, found[1]) for page, found in named(r"`([\w./-]*\w\.py)`")}
    elsewhere = {"modules/chat.py"}  # of text-generation-webui
    assert len(shown) > 30
    missing = {one for one in shown if not any(file.endswith(f"/{one[1]}") for file in there)}
    assert sorted(one for one in missing if one[1] not in elsewhere) == []


def test_links_of_pages_outside_of_the_site_lead_somewhere() -> None:
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "recipes" / "README.md",
        ROOT / "examples" / "README.md",
    ):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text_of(page)):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_targets_that_are_named_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    shown = {(page, word) for page, found in named(r"(?:`|^)make ((?:[a-z-]+ ?)+)") for word in found[1].split()}
    assert len(shown) > 8
    assert [one for one in sorted(shown) if one[1] not in targets] == []
    part = text_of(ROOT / "docs" / "architecture.md").split("## Targets")[1]
    assert {target for target in targets if target.startswith("test")} <= set(re.findall(r"test(?:-[a-z]+)?", part))
    steps = re.search(r"for step in (.*); do", text_of(ROOT / ".ci" / "run"))
    assert steps is not None and {step.partition(":")[0] for step in steps[1].split()} <= targets


def commands() -> dict[str, set[str]]:
    """Every command of `her-hf` with its options."""
    from her_hf.cli.main import app

    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        found[name] = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        if isinstance(command, TyperGroup):
            context = typer.Context(command)
            for word in command.list_commands(context):
                walk(command.get_command(context, word), f"{name} {word}")

    walk(typer.main.get_command(app), "her-hf")
    return found


def test_commands_and_options_that_are_named_are_there() -> None:
    known = commands()
    shown = [
        (page, line)
        for page, found in named(r"`(her-hf[^`\n]*)`|^```bash\n(.*?)^```$")
        for line in (found[1] or found[2].replace("\\\n", " ")).splitlines()
        if line.startswith("her-hf")
    ]
    assert len(shown) > 30
    for page, line in shown:
        words = line.partition("#")[0].partition(" -- ")[0].split()  # what follows goes to another program
        name = words[0]
        for word in words[1:]:
            if f"{name} {word}" not in known:
                break
            name = f"{name} {word}"
        assert name != "her-hf" or len(words) == 1 or words[1].startswith(("-", "…")), f"{page}: {line}"
        options = [option for word in words if word.startswith("--") for option in word.rstrip("…,.").split("/")]
        there = known[name] | known.get(f"{name} run", set()) | {"--help"}  # a group may run by default
        assert [one for one in options if one not in there] == [], f"{page}: {line}"


def test_every_command_is_on_the_first_page() -> None:
    table = text_of(ROOT / "docs" / "quickstart.md").split("## Commands")[1]
    shown = {name for name in commands() if f"`{name}`" in table or f"`{name} " in table}
    groups = {name.rpartition(" ")[0] for name in commands()} | {"her-hf eval minimax run"}
    assert set(commands()) - groups - shown == set()


def test_names_in_snake_case_are_in_the_code() -> None:
    """Settings, functions and fields that pages name: a page must follow when one gets another name."""
    known = {file.stem for file in (ROOT / "tests").rglob("*.py")}
    for folder in ("her_hf", "recipes", "spaces", "examples", "dataset_cards"):
        for file in (ROOT / folder).rglob("*"):
            known.add(file.stem)
            if file.suffix in {".py", ".jinja", ".yaml", ".json"}:
                known |= set(re.findall(r"\w+", text_of(file)))
    elsewhere = {"disable_any_whitespace", "test_set"}  # a setting of vLLM, a file of CoSER
    shown = {
        (page, word)
        for page, found in named(r"`([^`\n]+)`")
        for word in re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", found[1])
        if not word.startswith("test_a_") and word not in elsewhere
    }
    assert len(shown) > 150
    assert sorted((page, word) for page, word in shown if word not in known) == []


def test_the_layers_are_those_of_the_contract() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = [sorted(re.findall(r"her_hf\.(\w+)", layer)) for layer in contract["layers"]]
    part = text_of(ROOT / "docs" / "architecture.md").split("## The layers of packages")[1].split("\n## ")[0]
    rows = re.findall(r"^\| .+ \| ([^|]+) \|$", part, re.MULTILINE)
    assert [sorted(re.findall(r"`(\w+)`", row)) for row in rows if "`" in row] == layers


def test_the_versions_are_those_that_are_installed() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text_of(ROOT / "constraints.txt"), re.MULTILINE))
    row = re.search(r"^\| train \|(.*)\|$", text_of(ROOT / "docs" / "versions.md"), re.MULTILINE)
    assert row is not None
    shown = dict(re.findall(r"\b([a-z]+) (\d[\w.]+)", row[1]))
    assert len(shown) == 6
    assert shown == {name: pins[name] for name in shown}


def test_every_page_is_in_the_site_and_every_package_in_the_api() -> None:
    site = text_of(ROOT / "mkdocs.yml")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f"- {page}" not in site} == set()
    shown = set(
        re.findall(
            r"^::: (her_hf\.\w+)$",
            "\n".join(text_of(page) for page in (ROOT / "docs" / "api").glob("*.md")),
            re.MULTILINE,
        )
    )
    parts = {path.stem for path in Path(str(her_hf.__file__)).parent.iterdir() if not path.name.startswith("_")}
    inner = {"py", "cli", "demo"}  # a marker, and what is used as a program
    assert {f"her_hf.{part}" for part in parts - inner} == shown


def test_nothing_is_fetched_by_the_site() -> None:
    site = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    assert site["theme"]["font"] is False and not {"extra_css", "extra_javascript"} & set(site)
    picture = text_of(ROOT / "docs" / "assets" / "chat.svg")
    assert "@font-face" not in picture and "url(http" not in picture


def test_the_pages_keep_to_the_glossary() -> None:
    assert [(page, found[0]) for page, found in named(NOT_OUR_WORDS)] == []


def test_the_code_keeps_to_the_glossary() -> None:
    """Names, docstrings, help and errors; prompts are files of their own."""
    words = NOT_OUR_WORDS.replace(r"|\bis none\b", r"|(?-i:(?<!there )\bis none\b)")
    assert words != NOT_OUR_WORDS and re.search(words, "It is none.") and not re.search(words, "x is None")
    files = [
        file for name in ("her_hf", "recipes", "spaces", "docs", "examples") for file in (ROOT / name).rglob("*.py")
    ]
    assert len(files) > 250
    found = [(file.name, match[0]) for file in files for match in re.finditer(words, text_of(file))]
    assert found == []


def test_the_picture_is_what_the_command_shows() -> None:
    from docs.picture import PICTURE, chat_output, picture

    assert picture(chat_output()) == text_of(PICTURE), "renew it with: python -m docs.picture"


def test_the_citation_is_sound() -> None:
    cited = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)
    assert cited["license"] == "Apache-2.0" and "version" not in cited  # the version stands in her_hf alone
    assert "https://arxiv.org/abs/2601.21459" in {one["url"] for one in cited["references"]}


@pytest.mark.parametrize("page", ["glossary.md"])
def test_words_of_the_glossary_come_once(page: str) -> None:
    words = re.findall(r"^\| ([^|]+) \|", text_of(ROOT / "docs" / page), re.MULTILINE)
    terms = [term.strip() for row in words for term in row.split(",") if term.strip() not in {"word", "---"}]
    assert len(terms) > 50
    assert sorted(term for term in set(terms) if terms.count(term) > 1) == []


def test_the_hooks_do_what_lint_does() -> None:
    lint = re.search(r"^lint:.*?\n((?:\t.*\n)+)", text_of(ROOT / "Makefile"), re.MULTILINE)
    hooks = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))["repos"]
    assert lint is not None and [repo["repo"] for repo in hooks] == ["local"]  # nothing is fetched
    entries = [hook["entry"].replace(".venv/bin/", "$(BIN)/") for hook in hooks[0]["hooks"]]
    assert entries == [line.strip().removesuffix(" .") for line in lint[1].splitlines()]
