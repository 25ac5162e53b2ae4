"""An exported checkpoint in llama.cpp's server: prompts, tokens, and both layers of thinking, as in transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.hub.base import write_base
from her_hf.hub.export import export_gguf
from her_hf.processing import attach_model
from her_hf.scenes import Scene, load_scenes
from tests.integration.llama_server import llama_server
from tests.integration.venvs import INTEGRATION, ROOT, ensure_venv
from tests.integration.vllm_server import post, stream
from tests.support.checkpoints import PRE_TOKENIZERS, random_checkpoint
from tests.support.paths import FIXTURES

pytestmark = pytest.mark.integration

WORK = ROOT / "outputs" / "integration" / "gguf"
TOKENS = 64
OPENING, CLOSING = "<system_thinking>\n", "\n</system_thinking>\n"
THOUGHT = "He counts the coins twice. She must not look at them."
REPLY = "Odile: <role_thinking>Not a word.</role_thinking> <role_action>ties the rope</role_action> You are late."
MESSAGES = [
    {"role": "system", "content": "You are Odile Marsh, who keeps the ferry."},
    {"role": "user", "content": "Pell: <role_thinking>I am short by two.</role_thinking> Is there room?"},
]

Messages = list[dict[str, Any]]


@cache
def _python() -> Path:
    pins = INTEGRATION / "engines" / "requirements.txt"
    return ensure_venv(ROOT / ".venv-engines", ["--no-deps", "-r", str(pins)], pins)


@pytest.fixture(scope="module")
def base() -> Path:
    """The embedded base with the method attached."""
    plain = write_base(ROOT / "outputs" / "base" / "smollm2-135m")
    attach_model(plain, WORK / "her")
    return WORK / "her"


@pytest.fixture(scope="module")
def servers(base: Path) -> Iterator[dict[str, str]]:
    """Servers of the base in float32 and in float16."""
    with ExitStack() as stack:
        files = {
            kind: export_gguf(base, WORK / f"{kind}.gguf", weights=kind, overwrite=True) for kind in ("f32", "f16")
        }
        yield {kind: stack.enter_context(llama_server(_python(), file)) for kind, file in files.items()}


@pytest.fixture(scope="module")
def prompts(base: Path) -> list[tuple[Messages, list[int]]]:
    """Ten conversations in English and Chinese, with their prompts' tokens in transformers."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    found: list[tuple[Messages, list[int]]] = []
    for scene in load_scenes(FIXTURES / "scenes" / "mini.jsonl"):
        for number, turn in enumerate(scene.dialogue):
            messages = scene.messages_for(turn.name, turns=number)
            found.append((messages, _prompt(tokenizer, messages)))
    assert len(found) == 10
    return found


@pytest.fixture(scope="module")
def texts(servers: dict[str, str], prompts: list[tuple[Messages, list[int]]]) -> list[tuple[list[int], list[int]]]:
    """Each prompt with the first tokens that the float32 file goes on with, without chance."""
    return [(prompt, _continued(servers["f32"], prompt, TOKENS)) for _, prompt in prompts]


def test_prompts_are_the_same_tokens(servers: dict[str, str], prompts: list[tuple[Messages, list[int]]]) -> None:
    for messages, prompt in prompts:
        assert _tokens(servers["f32"], messages) == prompt


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_frame_begins_once_and_ends(tmp_path: Path, name: str) -> None:
    """Also with a token that every text begins with, which the template writes and llama.cpp must not add again."""
    folder = random_checkpoint(tmp_path, name)
    file = export_gguf(folder, tmp_path / f"{name}.gguf", weights="f32", pre_tokenizer=PRE_TOKENIZERS[name])
    prompt = _prompt(AutoTokenizer.from_pretrained(folder), MESSAGES)
    with llama_server(_python(), file) as server:
        body = {"messages": MESSAGES, "max_tokens": 8, "grammar": 'root ::= "Yes"'}
        answer = post(f"{server}/v1/chat/completions", body)
        assert _tokens(server, MESSAGES) == prompt
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_float32_goes_on_as_transformers_does(base: Path, texts: list[tuple[list[int], list[int]]]) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    for prompt, found in texts:
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + found[:-1]])).logits[0, len(prompt) - 1 :]
        # Where each token is the most likely one after those before it, the whole is what greedy search finds.
        assert found == logits.argmax(-1).tolist()
        assert len(found) == TOKENS or found[-1] == model.config.eos_token_id


def test_float16_agrees_on_next_tokens(servers: dict[str, str], texts: list[tuple[list[int], list[int]]]) -> None:
    total = sum(len(found) for _, found in texts)
    differing = sum(_differing(servers["f16"], prompt, found) for prompt, found in texts)
    print(f"\nfloat16 agrees on {total - differing} of {total} next tokens")
    assert differing <= 0.01 * total


@pytest.mark.parametrize("streamed", [False, True])
def test_system_thinking_comes_apart_and_role_thinking_inline(servers: dict[str, str], streamed: bool) -> None:
    """The base has learnt no thinking: a grammar makes it write this reply, which the server must take apart."""
    written = f"{THOUGHT}{CLOSING}{REPLY}".replace("\n", "\\n")
    body = {"messages": MESSAGES, "max_tokens": 200, "grammar": f'root ::= "{written}"'}
    message, reason = _answer(servers["f32"], body, streamed)
    assert message["reasoning_content"].strip() == THOUGHT
    assert message["content"] == REPLY
    assert reason == "stop"


def test_thinking_can_be_turned_off(servers: dict[str, str]) -> None:
    body = {"messages": MESSAGES, "max_tokens": 4, "chat_template_kwargs": {"enable_thinking": False}}
    message, _ = _answer(servers["f32"], body, False)
    assert message["content"] and not message.get("reasoning_content")


def test_a_trained_checkpoint_plays_its_role(checkpoint: Path, scene: Scene) -> None:
    """By the command, in the type that it writes by default; the reply is the model's own."""
    file = WORK / "trained.gguf"
    command = [sys.executable, "-m", "her_hf.cli.main", "export", str(checkpoint), str(file), "--overwrite"]
    command += ["--pre-tokenizer", PRE_TOKENIZERS["smollm2"]]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    messages = scene.messages_for("Odile", turns=1)
    with llama_server(_python(), file) as server:
        message, reason = _answer(server, {"messages": messages, "max_tokens": 400, "temperature": 0}, False)
    assert message["reasoning_content"].strip()
    assert reason == "stop" and CLOSING.strip() not in message["content"]
    assert message["content"].startswith("Odile:")
    if "tiny" in checkpoint.name:  # it knows the scene by heart
        assert message["content"] == scene.dialogue[1].render(view="self")


def _prompt(tokenizer: Any, messages: Messages) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def _tokens(server: str, messages: Messages) -> list[int]:
    """The prompt that the server makes of a conversation."""
    text = post(f"{server}/apply-template", {"messages": messages})["prompt"]
    # Where the tokenizer begins texts with a token, llama.cpp takes the template's own away before it adds that.
    return list(post(f"{server}/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"])


def _continued(server: str, prompt: list[int], most: int) -> list[int]:
    """The tokens that follow a prompt, without chance."""
    body = {"prompt": prompt, "n_predict": most, "temperature": 0, "return_tokens": True}
    answer = post(f"{server}/completion", body)
    found = list(answer["tokens"])
    assert len(found) == most or answer["stop_type"] == "eos"
    return found


def _differing(server: str, prompt: list[int], wanted: list[int]) -> int:
    """How many next tokens differ, each asked for after the wanted ones before it."""
    differing = at = 0
    while at < len(wanted):
        found = _continued(server, [*prompt, *wanted[:at]], len(wanted) - at)
        same = next((n for n, pair in enumerate(zip(found, wanted[at:], strict=False)) if pair[0] != pair[1]), None)
        if same is None:
            break
        differing += 1
        at += same + 1
    return differing


def _answer(server: str, body: dict[str, Any], streamed: bool) -> tuple[dict[str, Any], str | None]:
    """The message of a chat completion, and why it ended."""
    url = f"{server}/v1/chat/completions"
    if not streamed:
        (choice,) = post(url, body)["choices"]
        return choice["message"], choice["finish_reason"]
    message: dict[str, str] = {}
    reason = None
    for event in stream(url, body):
        for choice in event["choices"]:
            reason = choice["finish_reason"] or reason
            for field, text in choice["delta"].items():
                message[field] = message.get(field, "") + (text or "")
    return message, reason
