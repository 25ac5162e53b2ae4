"""The chat template of a checkpoint in each engine that serves it: every conversation as transformers renders it."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from tests.integration.engines.gguf_file import write_gguf
from tests.integration.venvs import INTEGRATION, ROOT, clean_environment, ensure_node_modules, ensure_venv
from tests.integration.vllm_venv import why_not_here
from tests.support.paths import FIXTURES
from tests.support.tokenizers import FRAMES as FIXTURE_FRAMES
from tests.support.tokenizers import attached, render

pytestmark = pytest.mark.integration

HERE = INTEGRATION / "engines"
VENV = ROOT / ".venv-engines"
WORK = ROOT / "outputs" / "integration" / "engines"
FRAMES = {frame.name: name for name, frame in FIXTURE_FRAMES.items() if name != "smollm2"}
"""Frame, and the fixture tokenizer that has it."""

ENGINES = [
    "text-generation-webui",
    "minijinja (TGI)",
    "minijinja (mistral.rs)",
    "llama.cpp",
    "llama.cpp server",
    "@huggingface/jinja",
    "vLLM",
]
CONVERSATIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (HERE / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
]
REFUSED = "refused: "
SERVER_REWRITES = {
    "thinking in the last turn": "it hands on reasoning_content alone",
    "reasoning in the last turn": "it hands on reasoning_content alone",
    "reasoning_content in parts": "it takes a string",
    "two parts, one a string": "a part is an object",
    "content is missing": "every user message has content",
    "names with spaces and signs": "a name is no null",
}
"""What llama.cpp's server refuses or changes before its template sees it."""


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("engine", ENGINES)
def test_renders_as_transformers_does(engine: str, frame: str) -> None:
    answers = dict(zip(_ids(), _answers(engine)[frame], strict=True))
    wrong = {n: answers[n] for n, wanted in _wanted(frame).items() if wanted is not None and answers[n] != wanted}
    rewritten = SERVER_REWRITES if engine == "llama.cpp server" else {}
    assert {name: text for name, text in wrong.items() if name not in rewritten} == {}
    assert wrong.keys() == rewritten.keys()


@pytest.mark.parametrize("engine", ENGINES)
def test_refuses_what_transformers_refuses(engine: str) -> None:
    answers = dict(zip(_ids(), _answers(engine)["chatml"], strict=True))
    refused = {name for name, text in _wanted("chatml").items() if text is None}
    assert refused == {name for name in answers if name.startswith(REFUSED)} != set()
    assert {name for name in refused if isinstance(answers[name], str)} == set()


def test_there_are_enough_conversations() -> None:
    assert len(set(_ids())) == len(CONVERSATIONS) >= 60


def _ids() -> list[str]:
    return [conversation["id"] for conversation in CONVERSATIONS]


@cache
def _wanted(frame: str) -> dict[str, str | None]:
    """What transformers renders from the saved folder; `None` where it refuses."""
    found: dict[str, str | None] = {}
    for conversation in CONVERSATIONS:
        try:
            found[conversation["id"]] = render(conversation["messages"], FRAMES[frame], **conversation["options"])
        except TemplateError:
            found[conversation["id"]] = None
    return found


@cache
def _answers(engine: str) -> dict[str, list[Any]]:
    """What the engine renders, by frame; skips the test where the engine cannot be had."""
    WORK.mkdir(parents=True, exist_ok=True)
    asked, answered = WORK / "asked.json", WORK / "answered.json"
    request = {"conversations": CONVERSATIONS, "frames": {frame: _carrier(frame) for frame in FRAMES}}
    asked.write_text(json.dumps(request), encoding="utf-8")
    command = [*_program(engine), str(asked), str(answered)]
    done = subprocess.run(command, cwd=WORK, env=clean_environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(answered.read_text(encoding="utf-8")))


def _carrier(frame: str) -> dict[str, str]:
    template = attached(FRAMES[frame]).chat_template["default"]
    model = WORK / f"{frame}.gguf"
    write_gguf(model, template)
    return {"template": template, "gguf": str(model), "tokenizer": str(FIXTURES / "tokenizers" / FRAMES[frame])}


def _program(engine: str) -> list[str]:
    if engine == "@huggingface/jinja":
        return ["node", str(HERE / "render.mjs"), str(_node_modules())]
    if engine == "vLLM":
        python = ROOT / ".venv-vllm" / "bin" / "python"
        if not python.exists() or why_not_here():
            pytest.skip(f"vLLM: {why_not_here() or 'its environment is made by make test-vllm'}")
    else:
        pins = HERE / "requirements.txt"
        python = ensure_venv(VENV, ["--no-deps", "-r", str(pins)], pins)
    return [str(python), str(HERE / "render.py"), engine]


@cache
def _node_modules() -> Path:
    """The folder with the pinned npm package, beside the virtual environment."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("@huggingface/jinja: node and npm are not installed")
    return ensure_node_modules(VENV / "npm", HERE)
