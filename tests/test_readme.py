"""The README's Python runs as it stands, the model's part on a tiny model."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_parse_and_render() -> None:
    names: dict[str, object] = {}
    checked = 0
    for line in next(block for block in BLOCKS if "parse_turn" in block).splitlines():
        code, _, expected = line.partition("#")
        if expected:
            assert eval(code, names) == eval(expected)
            checked += 1
        else:
            exec(code, names)
    assert checked == 4


def test_plain_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install her_hf[train]")
    from tests.support.tokenizers import attached

    tokenizer = attached("smollm2")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    block = next(block for block in BLOCKS if "parse_response" in block)
    names: dict[str, object] = {}
    exec(
        block.replace("outputs/quickstart/her-sft", str(tmp_path)).replace("max_new_tokens=384", "max_new_tokens=8"),
        names,
    )
    prompt = str(names["prompt"])
    assert prompt.endswith("<system_thinking>\n") and "You are Jo from Little Women." in prompt
    assert "She must not guess" not in prompt and "Meg: Tea?" in prompt
