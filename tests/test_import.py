"""`import her_hf` is light: quick, without heavy libraries, and dual_layer stands on the standard library alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from her_hf.scenes import coser_row, load_scenes
from tests.support.paths import ROOT

ALLOWED_CIRCLE = ("her_hf.scenes.models", "her_hf.scenes.messages")
"""`Scene.messages_for` calls the function that makes the messages of a scene; no other two modules need each other."""
HEAVY = ("transformers", "torch", "trl", "gradio", "vllm")
OF_REPORTS = ("matplotlib", "scipy", "nltk", "numpy", "datasets", "pandas", "krippendorff")
"""Needed after the last answer: an evaluation that imports them first keeps its servers waiting."""
COMMAND = """
from her_hf.cli.main import app
try:
    app({words!r}, standalone_mode=False)
except Exception as error:
    assert type(error).__name__ == {error!r}, repr(error)
"""
PROBE = """
import json, sys, time
before = set(sys.modules)
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


def probe(statement: str) -> tuple[float, set[str]]:
    """Seconds that a statement takes in a fresh interpreter, and the top-level names of the modules it loads."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, {name.partition(".")[0] for name in modules}


def test_import_takes_less_than_half_a_second() -> None:
    runs = [probe("import her_hf")[0] for _ in range(5)]
    assert statistics.median(runs) < 0.5, runs


def test_the_help_of_all_commands_takes_less_than_half_a_second() -> None:
    statement = COMMAND.format(words=["--help"], error="")
    runs = [probe(statement)[0] for _ in range(5)]
    assert statistics.median(runs) < 0.5, runs
    assert not probe(statement)[1] & {*HEAVY, *OF_REPORTS, "openai", "aiohttp"}


def test_an_evaluation_asks_its_first_question_before_it_loads_what_reports_need(tmp_path: Path) -> None:
    scenes = json.dumps([coser_row(scene) for scene in load_scenes(ROOT / "dataset_cards" / "her-mini", split="test")])
    (tmp_path / "scenes.json").write_text(scenes, encoding="utf-8")
    nobody = "http://127.0.0.1:9"
    words = ["eval", "coser", "--scenes", str(tmp_path / "scenes.json"), "--actor", nobody, "--judge", nobody]
    words += ["--retries", "0", "--out", str(tmp_path / "out")]
    seconds, loaded = probe(COMMAND.format(words=words, error="ModelError"))  # nobody answers the first question
    assert {"openai", "pydantic"} <= loaded and not loaded & {*HEAVY, *OF_REPORTS}
    runs = [seconds, *(probe(COMMAND.format(words=words, error="ModelError"))[0] for _ in range(2))]
    assert statistics.median(runs) < 1.5, runs


@pytest.mark.parametrize(
    "statement",
    [
        "import her_hf",
        "import her_hf; dir(her_hf)",
        "import her_hf; her_hf.parse_turn('Hi')",
        "import her_hf.dual_layer",
    ],
)
def test_import_loads_nothing_heavy(statement: str) -> None:
    assert not probe(statement)[1] & set(HEAVY)


def test_the_probe_notices_what_is_loaded() -> None:
    assert "json" in sys.stdlib_module_names and "pydantic" in probe("import pydantic")[1]


def test_dual_layer_needs_only_the_standard_library() -> None:
    loaded = probe("import her_hf.dual_layer")[1]
    assert loaded - {"her_hf"} <= set(sys.stdlib_module_names)


def test_an_unknown_name_says_what_there_is() -> None:
    import her_hf

    with pytest.raises(AttributeError, match=r"no_such_name.*parse_turn"):
        her_hf.no_such_name  # noqa: B018


def test_no_two_modules_need_each_other() -> None:
    graph = grimp.build_graph("her_hf", cache_dir=None)  # imports inside functions and for types count as well
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    assert len(imports) > 100
    with pytest.raises(CycleError, match=ALLOWED_CIRCLE[0]):
        TopologicalSorter(imports).prepare()
    importer, imported = ALLOWED_CIRCLE
    imports[importer].remove(imported)
    TopologicalSorter(imports).prepare()
