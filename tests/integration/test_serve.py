"""`her-hf serve` with transformers serve and with llama.cpp; test_vllm.py uses it with vLLM."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import Reply, Sampling, open_model
from her_hf.scenes import Scene
from tests.integration.engines.gguf_file import write_gguf
from tests.integration.test_engines import HERE, VENV
from tests.integration.venvs import ROOT, ensure_venv
from tests.integration.vllm_server import post, served, stream
from tests.support.tokenizers import attached

pytestmark = pytest.mark.integration

LOGS = ROOT / "outputs" / "integration" / "serve"
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "mood",
        "strict": True,
        "schema": {"type": "object", "properties": {"mood": {"enum": ["calm", "afraid"]}}, "required": ["mood"]},
    },
}
SAMPLING = Sampling(max_tokens=60, temperature=0.7, seed=7)


def asked(root: str, messages: list[dict[str, Any]]) -> tuple[Reply, list[str | Reply]]:
    """A whole reply and a streamed one, by our client."""

    async def both() -> tuple[Reply, list[str | Reply]]:
        model = open_model(f"{root}/v1")
        try:
            whole = await model.chat(messages, sampling=SAMPLING)
            return whole, [piece async for piece in model.stream(messages, sampling=SAMPLING)]
        finally:
            await model.close()

    return asyncio.run(both())


def test_transformers_serve(checkpoint: Path, scene: Scene) -> None:
    messages = scene.messages_for("Odile", turns=1)
    with served(checkpoint, LOGS / "transformers.log", "--engine", "transformers") as root:
        whole, pieces = asked(root, messages)
        body = {"model": checkpoint.name, "messages": messages, "max_tokens": 60}
        deltas = [event["choices"][0]["delta"] for event in stream(f"{root}/v1/chat/completions", body)]
        plain = {
            **body,
            "chat_template_kwargs": {"enable_thinking": False},
            "logprobs": True,
            "response_format": FORMAT,
        }
        (choice,) = post(f"{root}/v1/chat/completions", plain)["choices"]
    assert whole.text.startswith("<system_thinking>\n") and whole.reasoning
    assert isinstance(pieces[-1], Reply) and "".join(map(str, pieces[:-1])) == pieces[-1].text
    assert any(delta.get("reasoning_content") for delta in deltas)
    assert not choice["message"].get("reasoning_content")
    # What the note of her-hf serve says: both are ignored, and no error tells the client.
    assert "{" not in choice["message"]["content"] and choice.get("logprobs") is None


def test_llama_cpp(scene: Scene) -> None:
    pins = HERE / "requirements.txt"
    python = ensure_venv(VENV, ["--no-deps", "-r", str(pins)], pins)
    LOGS.mkdir(parents=True, exist_ok=True)
    model = LOGS / "her-random.gguf"
    write_gguf(model, attached("qwen3").chat_template["default"])
    with served(model, LOGS / "llama.log", "--python", str(python), "--max-context", "2048") as root:
        whole, pieces = asked(root, [{"role": "user", "content": "Bastien: Hm."}])
    # Random weights write no closing tag: all is system thinking.
    assert whole.reasoning and whole.text.startswith("<system_thinking>\n")
    assert isinstance(pieces[-1], Reply) and pieces[-1].reasoning
