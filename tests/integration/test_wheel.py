"""The wheel in a bare virtual environment, away from the checkout: the core, then the extra that its error names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import her_hf
from tests.integration.venvs import clean_environment
from tests.support.chat import serving
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

HER_MINI = ROOT / "dataset_cards" / "her-mini"
HEAVY = ("torch", "transformers", "numpy", "datasets", "evaluate", "matplotlib", "gradio")
DIALOGUE = {
    "key": ["The Mill", 1, 0],
    "ended_by": "rounds",
    "settings": {"style": "her"},
    "turns": [
        {"name": "Ann", "text": "Ann: <role_thinking>Not now.</role_thinking> Tea?"},
        {"name": "Bob", "text": "Bob: <role_action>nods</role_action> Please."},
    ],
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that `make build` left."""
    file = ROOT / "dist" / f"her_hf-{her_hf.__version__}-py3-none-any.whl"
    assert file.is_file(), f"{file} is missing: run `make test-wheel`, which builds it first"
    return file


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new virtual environment that holds the wheel and its core dependencies."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    install(folder / "bin", str(wheel))
    return folder / "bin"


def install(bin_folder: Path, what: str) -> None:
    pip = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = call([*pip, "-c", str(ROOT / "constraints.txt"), what], bin_folder, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]


def call(command: list[str], folder: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(MPLBACKEND="agg")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)


def test_wheel_and_source_hold_every_file_of_the_package(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "her_hf"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        assert sorted(set(listed) - set(archive.namelist())) == []
    assert (wheel.parent / f"her_hf-{her_hf.__version__}.tar.gz").is_file()


def test_the_core_parses_and_loads_scenes_with_nothing_heavy(bin_folder: Path) -> None:
    code = f"""
import importlib.util, json
import her_hf
turn = her_hf.parse_turn("<system_thinking>Ann stalls.</system_thinking>Ann: <role_thinking>No.</role_thinking> Tea?")
scenes = her_hf.load_scenes({str(HER_MINI)!r}, "test")
messages = scenes[0].messages_for(scenes[0].characters[0].name)
heavy = [name for name in {HEAVY} if importlib.util.find_spec(name)]
print(json.dumps([her_hf.__file__, her_hf.__version__, turn.render(view="others"), messages[0]["role"], heavy]))
"""
    done = call([str(bin_folder / "python"), "-c", code], bin_folder)
    assert done.returncode == 0, done.stderr
    file, version, others, role, heavy = json.loads(done.stdout)
    assert Path(file).is_relative_to(bin_folder.parent) and version == her_hf.__version__
    assert (others, role, heavy) == ("Ann: Tea?", "system", [])


@pytest.mark.parametrize(
    "command", [[], ["chat"], ["attach"], ["judge"], ["eval"], ["eval", "form"], ["eval", "coser"]]
)
def test_the_core_shows_every_help(bin_folder: Path, command: list[str]) -> None:
    done = call([str(bin_folder / "her-hf"), *command, "--help"], bin_folder)
    assert done.returncode == 0, done.stderr
    assert "Usage: her-hf" in done.stdout


@pytest.fixture(scope="module")
def evaluating(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same programs, once the line was run that an evaluation names where its libraries are missing."""
    folder = tmp_path_factory.mktemp("bare_evaluation")
    bare = call(form(bin_folder, folder), folder)
    assert bare.returncode == 1 and "Traceback" not in bare.stderr, bare.stderr
    named = re.search(r"pip install '(her_hf\[\w+\])'", bare.stderr)
    assert named is not None, bare.stderr
    install(bin_folder, named[1])  # the line as it stands: her_hf itself is not looked for, it is there
    return bin_folder


def form(bin_folder: Path, folder: Path) -> list[str]:
    """The command that scores one dialogue that was played."""
    file = folder / "dialogues.jsonl"
    file.write_text(json.dumps(DIALOGUE) + "\n", encoding="utf-8")
    return [str(bin_folder / "her-hf"), "eval", "form", "--dialogues", str(file), "--out", str(folder / "form")]


def test_the_line_that_the_error_names_makes_the_evaluation_run(evaluating: Path, tmp_path: Path) -> None:
    done = call(form(evaluating, tmp_path), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Report:" in done.stdout and (tmp_path / "form" / "report.md").is_file()


def test_an_evaluation_asks_a_server_without_torch(evaluating: Path, tmp_path: Path) -> None:
    with serving() as server:
        asked = [
            "--model",
            server.url,
            "--scenes",
            str(HER_MINI),
            "--split",
            "test",
            "--max-replies",
            "2",
            "--max-tokens",
            "256",
        ]
        command = [str(evaluating / "her-hf"), "eval", "form", *asked, "--out", str(tmp_path / "form")]
        done = call(command, tmp_path)
        assert len(server.chats) == 2
    assert done.returncode == 0, done.stdout + done.stderr
    assert call([str(evaluating / "python"), "-c", "import torch"], tmp_path).returncode == 1


def test_the_metrics_load_beside_the_wheel(evaluating: Path, tmp_path: Path) -> None:
    folders = [str(ROOT / "spaces" / name) for name in ("coser_gca", "minimax_rpb", "dual_layer")]
    code = f"import evaluate\nprint([evaluate.load(folder).name for folder in {folders}])"
    done = call([str(evaluating / "python"), "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['coser_gca', 'minimax_rpb', 'dual_layer']"
