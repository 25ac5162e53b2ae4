"""The benchmark of one-pass training."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.support.one_pass import tiny_model, tiny_tokenizer
from tests.support.paths import FIXTURES


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_benchmark(
    tokenizer: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures on a tiny model: both sides train the same, thinking is filled in where there is none."""
    from recipes.benchmarks import one_pass as benchmark

    tokenizer.save_pretrained(tmp_path)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path)
    row = json.loads((FIXTURES / "scenes" / "mini.jsonl").read_text(encoding="utf-8").splitlines()[0])
    for turn in row["dialogues"]:
        turn.pop("sys_thinking_revised", None)
    (tmp_path / "bare.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def figures(*words: str) -> dict[str, Any]:
        common = ["--source", str(tmp_path / "bare.jsonl"), "--model", str(tmp_path), "--device", "cpu"]
        monkeypatch.setattr("sys.argv", ["one_pass.py", *common, *words])
        benchmark.main()
        return dict(json.loads(capsys.readouterr().out))

    found = figures("--thinking", "30", "--dtype", "float64", "--conversations", "2")
    assert found["conversations"] == found["timed_conversations"] == 2 and found["replies"] == 4
    assert (
        found["token_ratio"]
        == found["timed_token_ratio"]
        == pytest.approx(found["tokens_per_reply"] / found["tokens_one_pass"], abs=1e-3)
    )
    assert found["loss_difference"] < 1e-6 and found["gradient_difference_worst"] < 1e-6
    less = figures("--thinking", "10", "--tokens-only")
    closed = 4 * 20  # 30 tokens of thinking rather than 10, in each of 4 replies
    assert found["tokens_per_reply"] - less["tokens_per_reply"] == closed
    assert "wall_time_ratio" not in less
