"""A recipe as a user starts it: what the user can fix is one line."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
from trl import ModelConfig

from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.run.launch import launch, settings_of
from her_hf.training.sft import SFTDataConfig, run_sft
from tests.support.paths import ROOT
from tests.support.training import sft_values


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("learning_rat: 0.1", "learning_rat"),
        ("max_length: 512", "max_context"),
        ("trust_remote_code: true", "trust_remote_code"),
        ("ignore_data_skip: true", "train the data again"),
        ("train_split: nosuch", "nosuch"),
        ("model_name_or_path: ./not_there", "not_there"),
        ("languages: [zh, fr]\nmax_scenes: 0", "no scene"),
        ("license: [unclosed", "not valid YAML"),
        ("attn_implementation: flash_attention_2", "lash"),
    ],
)
def test_what_the_user_can_fix_is_one_line(
    base: Path, scenes: Path, tmp_path: Path, line: str, words: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    values = sft_values(base, scenes, tmp_path / "out")
    key = line.split(":")[0]
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items() if name != key) + line + "\n"
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["sft.py", "--config", str(tmp_path / "config.yaml")])
    assert launch(run_sft) == 1
    error = capsys.readouterr().err
    assert "Error:" in error and words in error
    # The run's note alone may be there: the next start takes it over.
    assert [path.name for path in tmp_path.glob("out/*")] in ([], ["run.json"])


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        ("sft", ["--last_reply_only", "--replies_per_step", "--lora_r"]),
        ("rm_sft", ["--decision_share", "--replies_per_step", "--lora_r"]),
        ("rm_rl", ["--min_uncertainty", "--num_generations", "--lora_r"]),
    ],
)
def test_each_script_offers_the_settings_of_its_run(
    script: str, settings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "recipes" / f"{script}.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"{name} " in shown for name in settings)


def test_the_settings_of_a_run_are_its_parameters_in_order() -> None:
    assert settings_of(run_sft) == (SFTDataConfig, ModelConfig, OnePassConfig)


def test_an_abbreviated_option_is_an_unknown_one(
    base: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        word
        for name, value in sft_values(base, scenes, tmp_path / "out").items()
        for word in (f"--{name}", str(value))
    ]
    monkeypatch.setattr(sys, "argv", ["sft.py", *words, "--one_pas", "false"])
    assert launch(run_sft) == 1
    assert "--one_pas" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "expected"), [(None, "32"), ("64", "64")])
def test_the_memory_of_training_on_a_cpu_is_bounded_unless_told(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["sft.py", "--help"])
    with pytest.raises(SystemExit):
        launch(run_sft)
    assert os.environ[name] == expected
