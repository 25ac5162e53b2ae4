"""The base of a run: its window, and which weights it has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedConfig

from her_hf.training.run import base as run_base
from her_hf.training.sft import run_sft
from tests.support.one_pass import tiny_tokenizer
from tests.support.training import parsed, sft_values


def test_a_window_beyond_the_model_is_cut_to_it(
    base: Path, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = tmp_path / "short"
    shutil.copytree(base, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1350}))
    caplog.set_level("INFO")
    for name, asked, says in (
        ("unset", {}, "max_context is not set"),
        ("more", {"max_context": 9000}, "is 9000, but"),
    ):
        caplog.clear()
        out = tmp_path / name
        results = run_sft(*parsed(run_sft, sft_values(short, scenes, out, max_steps=1, **asked)))
        assert says in caplog.text and "1350 tokens" in caplog.text
        assert results["rows"]["dropped_turns"] > 0 and results["rows"]["tokens"] / results["rows"]["rows"] <= 1350
        assert json.loads((out / "run.json").read_text())["max_context"] == 1350
        assert "| turns dropped whole to fit the window |" in (out / "README.md").read_text()
        assert "turns dropped whole" in caplog.text


def test_a_base_of_the_hub_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        run_base, "cached_file", lambda *_, revision: f"/cache/models--a--b/snapshots/{revision}1/config.json"
    )
    assert run_base.Base("a/b", "abc", tiny_tokenizer(), PreTrainedConfig()).weights == "abc1"
