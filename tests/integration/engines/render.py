"""Renders conversations with one engine, in a virtual environment that has it and nothing of ours.

Arguments: the engine, the file of the request and the file for the answer. The request holds conversations and, for
each frame, what carries its template: the text, a GGUF and a tokenizer's folder. An answer is a text or {"error": …}.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Carrier = dict[str, str]
Conversation = dict[str, Any]
Render = Callable[[Conversation], str]


def main() -> None:
    """Answers the request."""
    engine, asked, answered = sys.argv[1:]
    request = json.loads(Path(asked).read_text(encoding="utf-8"))
    texts = {}
    for frame, carrier in request["frames"].items():
        render = ENGINES[engine](carrier)
        texts[frame] = [_text_or_error(render, conversation) for conversation in request["conversations"]]
    Path(answered).write_text(json.dumps(texts), encoding="utf-8")


def _text_or_error(render: Render, conversation: Conversation) -> str | dict[str, str]:
    try:
        return render(conversation)
    except Exception as error:  # noqa: BLE001 (whatever an engine raises is its answer)
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def text_generation_webui(carrier: Carrier) -> Render:
    """The sandbox that text-generation-webui makes in modules/chat.py: loop controls, the time, no `generation`."""
    from datetime import datetime

    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["strftime_now"] = lambda text: datetime.now().strftime(text)
    environment.globals["raise_exception"] = _raise
    template = environment.from_string(carrier["template"])
    return lambda conversation: template.render(messages=conversation["messages"], **conversation["options"])


def minijinja_as_tgi(carrier: Carrier) -> Render:
    """minijinja as TGI sets it up: Python's methods, blocks as they stand."""
    return _minijinja(carrier["template"], trim=False)


def minijinja_as_mistral_rs(carrier: Carrier) -> Render:
    """minijinja as mistral.rs sets it up: Python's methods, blocks trimmed."""
    return _minijinja(carrier["template"], trim=True)


def _minijinja(template: str, *, trim: bool) -> Render:
    import minijinja

    environment = minijinja.Environment(trim_blocks=trim, lstrip_blocks=trim, pycompat=True)
    environment.add_function("raise_exception", _raise)
    environment.add_template("chat", template)
    return lambda conversation: environment.render_template(
        "chat", messages=conversation["messages"], **conversation["options"]
    )


def llama_cpp(carrier: Carrier) -> Render:
    """llama.cpp's engine: messages go past the server's own parsing as an argument of the template."""
    server = _LlamaServer(carrier["gguf"])
    placeholder = [{"role": "user", "content": ""}]
    return lambda conversation: server.prompt(
        placeholder, {**conversation["options"], "messages": conversation["messages"]}
    )


def llama_cpp_server(carrier: Carrier) -> Render:
    """llama.cpp's server, with messages as clients send them."""
    server = _LlamaServer(carrier["gguf"])
    return lambda conversation: server.prompt(conversation["messages"], conversation["options"])


class _LlamaServer:
    """llama-server in this process, on a port of its choice."""

    def __init__(self, model: str) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx, params.n_parallel, params.port = 256, 1, 0
        params.cpuparams.n_threads = 1
        params.warmup, params.use_jinja, params.prefill_assistant = False, True, False
        self._server = xllamacpp.Server(params)

    def prompt(self, messages: list[dict[str, Any]], arguments: dict[str, Any]) -> str:
        """What `/apply-template` makes of a chat request."""
        generate = bool(arguments.get("add_generation_prompt"))
        body = {"messages": messages, "add_generation_prompt": generate, "chat_template_kwargs": arguments}
        request = urllib.request.Request(
            f"{self._server.listening_address}/apply-template",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return str(json.load(answer)["prompt"])
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]["message"]) from error


def vllm(carrier: Carrier) -> Render:
    """vLLM's renderer, behind its parsing of messages."""
    from transformers import AutoTokenizer
    from vllm.renderers.hf import safe_apply_chat_template

    tokenizer = AutoTokenizer.from_pretrained(carrier["tokenizer"])
    return lambda conversation: safe_apply_chat_template(
        None,  # only asked where no template is given
        tokenizer,
        conversation["messages"],
        chat_template=carrier["template"],
        tokenize=False,
        **conversation["options"],
    )


def _raise(message: str) -> None:
    raise ValueError(message)


ENGINES: dict[str, Callable[[Carrier], Render]] = {
    "text-generation-webui": text_generation_webui,
    "minijinja (TGI)": minijinja_as_tgi,
    "minijinja (mistral.rs)": minijinja_as_mistral_rs,
    "llama.cpp": llama_cpp,
    "llama.cpp server": llama_cpp_server,
    "vLLM": vllm,
}

if __name__ == "__main__":
    main()
