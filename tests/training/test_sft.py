"""The SFT recipe: from a base and scenes to a folder that carries the method; kills, other runs, wrong settings."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig, TrlParser

from her_hf.durable import OtherRunError
from her_hf.hub.cards import ModelCard, hub_id, render_card
from her_hf.training.one_pass.config import DataConfig, OnePassConfig
from her_hf.training.one_pass.layers import LAYERS
from her_hf.training.run import job
from her_hf.training.sft import run_sft
from tests.support.one_pass import FIXTURES, tiny_model
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base without HER: a random model and a tokenizer with its base's own template."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(folder)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "validation"):
        shutil.copy(FIXTURES / "scenes" / "mini.jsonl", folder / f"{split}.jsonl")
    return folder


def settings(base: Path, scenes: Path, out: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model_name_or_path": str(base), "dataset": str(scenes), "output_dir": str(out), "max_steps": 6,
        "replies_per_step": 2, "learning_rate": 1e-2, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1,
        "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "dataloader_pin_memory": False, "seed": 5,
        "license": "apache-2.0", "lr_scheduler_type": "constant",
    }  # fmt: skip
    return {**values, **changes}


def configs(values: dict[str, Any]) -> tuple[DataConfig, ModelConfig, OnePassConfig]:
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    parsed: Any = TrlParser((DataConfig, ModelConfig, OnePassConfig)).parse_args_and_config(words)
    return parsed


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def finished(base: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_sft(*configs(settings(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)))
    return out


def test_folder_carries_the_method(finished: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished)
    model = AutoModelForCausalLM.from_pretrained(finished)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "===Conversation Start==="}], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<system_thinking>\n")
    parsed = tokenizer.parse_response("Ann stalls.\n</system_thinking>\nAnn: Tea?<|im_end|>", prefix=prompt)
    assert parsed["thinking"] == "Ann stalls." and parsed["content"] == "Ann: Tea?"
    assert model.generation_config.temperature == 0.7 and model.generation_config.max_new_tokens == 1024
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in model.generation_config.eos_token_id
    assert "her_branches" not in (finished / "config.json").read_text()


def test_results_and_card(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["steps"] == 6 and results["num_replies"] == 12 and results["rows"]["token_ratio"] > 1
    held_out = results["held_out_loss"]
    total = sum(held_out[layer]["tokens"] for layer in LAYERS)
    mean = (
        sum(held_out[layer]["loss"] * held_out[layer]["tokens"] for layer in LAYERS if held_out[layer]["tokens"])
        / total
    )
    assert total == results["held_out_rows"]["trained_tokens"]
    assert mean == pytest.approx(held_out["all"], rel=1e-6)
    evaluated = [
        json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines() if "eval_loss" in line
    ]
    assert [line["step"] for line in evaluated] == [0, 3, 6, 6]
    assert evaluated[-1]["eval_loss"] < evaluated[0]["eval_loss"]
    card = (finished / "README.md").read_text()
    for part in ("license: apache-2.0", "held-out loss, role thinking", "commit", "replies a step", "library_name"):
        assert part in card
    assert "licence" not in card and "widget" not in card and "base_model:" not in card and str(ROOT) not in card


def test_same_command_again_trains_nothing(finished: Path, base: Path, scenes: Path) -> None:
    stamp = (finished / "model.safetensors").stat().st_mtime_ns
    values = settings(base, scenes, finished, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    assert run_sft(*configs(values)) == json.loads((finished / "results.json").read_text())
    assert (finished / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 1e-3), ("max_tokens", 6000), ("one_pass", False)])
def test_folder_of_another_run_is_refused(finished: Path, base: Path, scenes: Path, name: str, value: Any) -> None:
    with pytest.raises(OtherRunError, match=f"another run.*{name}|another run.*rows"):
        run_sft(*configs(settings(base, scenes, finished, **{name: value})))


def test_folder_of_something_else_is_refused(base: Path, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(OtherRunError, match=r"thesis\.txt"):
        run_sft(*configs(settings(base, scenes, tmp_path)))
    assert (tmp_path / "thesis.txt").read_text() == "do not lose me"


KILL = """
import json, os, signal, sys
from transformers import TrainerCallback
from trl import ModelConfig, TrlParser
from her_hf.training import sft
from her_hf.training.run import checkpoints, job
from her_hf.training.one_pass.config import DataConfig, OnePassConfig

where = sys.argv[2]

class Killer(checkpoints.RunLog):
    def on_step_end(self, args, state, control, **kwargs):
        if where == "step" and state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

Killer.__name__ = checkpoints.RunLog.__name__
job.RunLog = Killer
if where == "card":
    job.write_card = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
words = [word for name, value in json.loads(sys.argv[1]).items() for word in (f"--{name}", str(value))]
sft.run_sft(*TrlParser((DataConfig, ModelConfig, OnePassConfig)).parse_args_and_config(words))
"""


def run_to_the_kill(values: dict[str, Any], where: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILL, json.dumps(values), where]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    assert not (Path(values["output_dir"]) / "results.json").exists()


def same_end(found: Path, wanted: Path) -> dict[str, Any]:
    """The results of a run that went on, checked against those of a run that was never killed."""
    results, whole = (json.loads((folder / "results.json").read_text()) for folder in (found, wanted))
    assert losses(found) == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in losses(wanted)]
    assert results["steps"] == whole["steps"] == 6
    assert results["held_out_loss"]["all"] == pytest.approx(whole["held_out_loss"]["all"], rel=1e-5)
    assert results["num_tokens"] == whole["num_tokens"] and results["num_replies"] == whole["num_replies"]
    return dict(results)


def test_killed_run_goes_on_to_the_same_end(finished: Path, base: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    values = settings(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    run_to_the_kill(values, "step")
    assert [step for step, _ in losses(out)] == [1, 2, 3, 4]
    # A checkpoint that the kill cut short is newer, and must be passed over.
    (out / "checkpoint-5").mkdir()
    (out / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5, "log')
    # So is a draft of a file.
    (out / "results.json.1.tmp").write_text("{")
    run_sft(*configs(values))
    assert same_end(out, finished)["resumed_from"] == "checkpoint-4"


def test_a_run_killed_after_its_last_step_trains_no_further(
    finished: Path, base: Path, scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    values = settings(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    run_to_the_kill(values, "card")
    run_sft(*configs(values))
    assert same_end(out, finished)["resumed_from"] == "checkpoint-6"
    found, wanted = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (out, finished))
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


def test_a_killed_lora_run_goes_on_to_the_same_end(base: Path, scenes: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "whole", tmp_path / "killed"]
    whole, killed = (settings(base, scenes, out, use_peft=True, lora_r=4) for out in outs)
    run_sft(*configs(whole))
    run_to_the_kill(killed, "step")
    run_sft(*configs(killed))
    assert same_end(outs[1], outs[0])["resumed_from"] == "checkpoint-4"
    found, wanted = (load_file(out / "adapter_model.safetensors") for out in reversed(outs))
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


def test_a_window_beyond_the_model_is_cut_to_it(
    base: Path, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = tmp_path / "short"
    shutil.copytree(base, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1350}))
    caplog.set_level("INFO")
    for name, asked, says in (("unset", {}, "max_tokens is not set"), ("more", {"max_tokens": 9000}, "is 9000, but")):
        caplog.clear()
        out = tmp_path / name
        results = run_sft(*configs(settings(short, scenes, out, max_steps=1, **asked)))
        assert says in caplog.text and "1350 tokens" in caplog.text
        assert results["rows"]["dropped_turns"] > 0 and results["rows"]["tokens"] / results["rows"]["rows"] <= 1350
        assert json.loads((out / "run.json").read_text())["max_tokens"] == 1350
        assert "| turns dropped whole to fit the window |" in (out / "README.md").read_text()
        assert "turns dropped whole" in caplog.text


@pytest.mark.parametrize("what", ["weights", "held out"])
def test_a_run_is_tied_to_its_base_and_held_out_data(base: Path, scenes: Path, tmp_path: Path, what: str) -> None:
    """Neither the path of the base nor that of the data tells whether they are still the same."""
    own_base, own_scenes, out = tmp_path / "base", tmp_path / "scenes", tmp_path / "out"
    shutil.copytree(base, own_base)
    shutil.copytree(scenes, own_scenes)
    values = settings(own_base, own_scenes, out, max_steps=1)
    results = run_sft(*configs(values))
    assert run_sft(*configs(values)) == results
    if what == "weights":
        model = AutoModelForCausalLM.from_pretrained(own_base)
        with torch.no_grad():
            model.model.norm.weight.add_(1)
        model.save_pretrained(own_base)
    else:
        lines = (own_scenes / "validation.jsonl").read_text().splitlines(keepends=True)
        (own_scenes / "validation.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(OtherRunError, match="base_weights" if what == "weights" else "held_out_rows"):
        run_sft(*configs(values))


def test_a_base_of_the_hub_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        job, "cached_file", lambda *_, revision: f"/cache/models--a--b/snapshots/{revision}1/config.json"
    )
    assert job._version("a/b", "abc") == "abc1"


def test_what_is_not_trained_is_told(
    base: Path, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty turn and turns without system thinking, in the log, the results and the card."""
    own, out = tmp_path / "scenes", tmp_path / "out"
    own.mkdir()
    shutil.copy(scenes / "validation.jsonl", own)
    rows = [json.loads(line) for line in (scenes / "train.jsonl").read_text().splitlines()]
    bare, empty = rows[0]["dialogues"][1], rows[0]["dialogues"][2]
    bare.pop("sys_thinking_revised")
    for name in ("message", "standard_format", "without_think", "sys_thinking_revised"):
        empty[name] = ""
    (own / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_sft(*configs(settings(base, own, out, max_steps=1)))["rows"]
    assert (found["empty"], found["without_thinking"]) == (1, 1)
    assert "training: empty replies, left out: 1" in caplog.text
    assert "training: replies without system thinking, trained as when it is switched off: 1" in caplog.text
    card = (out / "README.md").read_text()
    assert "| empty replies left out | 1 |" in card and "| replies without system thinking | 1 |" in card


class Hub:
    """Stands for `HfApi`; keeps what is uploaded, and with which token."""

    uploaded: ClassVar[dict[str, bytes]] = {}
    tokens: ClassVar[list[str | None]] = []

    def __init__(self, token: str | None = None) -> None:
        self.tokens.append(token)

    def create_repo(self, repo_id: str, **_: Any) -> Any:
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, folder_path: Path, ignore_patterns: list[str], **_: Any) -> None:
        files = [str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file()]
        for name in filter_repo_objects(files, ignore_patterns=ignore_patterns):
            self.uploaded[name] = (folder_path / name).read_bytes()

    def upload_file(self, *, path_in_repo: str, path_or_fileobj: bytes, **_: Any) -> None:
        self.uploaded[path_in_repo] = path_or_fileobj


@pytest.mark.parametrize("lora", [False, True])
def test_a_push_tells_no_secret(
    base: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool
) -> None:
    """Neither the token, here on the command line, nor a path of this machine goes out; a second call pushes too."""
    token = "hf_SECRETSECRET"
    out = tmp_path / "run"
    values = settings(
        base, scenes, out, max_steps=2, push_to_hub=True, hub_token=token, hub_model_id="ann/her", use_peft=lora
    )
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["recipes/sft.py", *words, f"--hub_token={token}", f"--logging_dir={tmp_path}"])
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    for _ in range(2):
        Hub.uploaded.clear()
        Hub.tokens.clear()
        run_sft(*configs(values))
        assert Hub.tokens == [token]
        weights = "adapter_model.safetensors" if lora else "model.safetensors"
        assert {weights, "README.md", "results.json", "chat_template.jinja"} <= set(Hub.uploaded)
        assert not any(name.startswith("checkpoint") for name in Hub.uploaded)
        for name, content in Hub.uploaded.items():
            assert token.encode() not in content, name
            assert str(tmp_path).encode() not in content and str(base).encode() not in content, name
    kept = [path for path in out.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []
    if lora:
        assert json.loads(Hub.uploaded["adapter_config.json"])["base_model_name_or_path"] == base.name


def test_lora(base: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    results = run_sft(*configs(settings(base, scenes, out, max_steps=2, use_peft=True, lora_r=4, eval_split="")))
    assert (out / "adapter_config.json").exists() and results["held_out_loss"] == {}
    assert AutoTokenizer.from_pretrained(out).response_template
    assert "library_name: peft" in (out / "README.md").read_text()
    assert json.loads((out / "generation_config.json").read_text())["top_p"] == 0.9


def recipe() -> Any:
    spec = importlib.util.spec_from_file_location("sft_recipe", ROOT / "recipes" / "sft.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("learning_rat: 0.1", "learning_rat"),
        ("max_length: 512", "max_tokens"),
        ("trust_remote_code: true", "trust_remote_code"),
        ("ignore_data_skip: true", "train again what it has seen"),
        ("train_split: nosuch", "nosuch"),
        ("model_name_or_path: ./not_there", "not_there"),
        ("languages: [zh, fr]\nmax_scenes: 0", "no scene"),
        ("license: [unclosed", "no valid YAML"),
        ("attn_implementation: flash_attention_2", "lash"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    base: Path, scenes: Path, tmp_path: Path, line: str, words: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    values = settings(base, scenes, tmp_path / "out")
    key = line.split(":")[0]
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items() if name != key) + line + "\n"
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["sft.py", "--config", str(tmp_path / "config.yaml")])
    assert recipe().main() == 1
    error = capsys.readouterr().err
    assert "Error:" in error and words in error
    # The run's note alone may be there: the next start mends it.
    assert [path.name for path in tmp_path.glob("out/*")] in ([], ["run.json"])


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*/sft/config.yaml")), ids=lambda file: file.parts[-3])
def test_shipped_recipes_parse(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--config", str(file), "--use_cpu", "true", "--bf16", "false", "--report_to", "none"]
    data, model, args = TrlParser((DataConfig, ModelConfig, OnePassConfig)).parse_args_and_config(words)
    assert data.dataset and model.model_name_or_path and args.one_pass
    for name in ("bf16", "gradient_checkpointing", "seed", "replies_per_step", "max_tokens"):
        assert f"\n{name}:" in file.read_text()


def test_card_claims_only_what_is_known() -> None:
    card = render_card(ModelCard(name="m", base="/some/where", dataset="owner/data:config", method="SFT."))
    front = card.split("---")[1]
    assert "datasets:\n- owner/data" in front and "base_model" not in front and "license" not in front
    assert "/some/where" not in card and "not stated" in card
    assert [hub_id(name) for name in ("a/b", "./a/b", "a", "a/b/c")] == ["a/b", None, None, None]


@pytest.mark.slow
def test_two_ranks_train_the_same(finished: Path, base: Path, scenes: Path, tmp_path: Path) -> None:
    """Two processes over gloo: the same steps, the same losses, the same held-out loss, no row counted twice."""
    out = tmp_path / "ranks"
    values = settings(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    values.pop("use_cpu")
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [*launch, str(ROOT / "recipes" / "sft.py"), *words], env=env, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-3000:]
    found, wanted = (json.loads((folder / "results.json").read_text()) for folder in (out, finished))
    assert losses(out) == [(step, pytest.approx(loss, rel=1e-3)) for step, loss in losses(finished)]
    assert found["num_replies"] == wanted["num_replies"]
    for layer in LAYERS:
        assert found["held_out_loss"][layer]["tokens"] == wanted["held_out_loss"][layer]["tokens"]
    assert found["held_out_loss"]["all"] == pytest.approx(wanted["held_out_loss"]["all"], rel=1e-3)
