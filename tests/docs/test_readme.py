"""The Python of the README and of the pages in docs/ runs as it stands, the model's part on a tiny model."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKPOINT = "outputs/quickstart/her-sft"
BLOCKS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]


def run(code: str, names: dict[str, Any]) -> int:
    """Runs a block; what a comment behind an expression says must be its value. Returns how many were compared."""
    lines = code.splitlines()
    compared = 0
    for node in ast.parse(code).body:
        source = ast.get_source_segment(code, node)
        assert source is not None and node.end_lineno is not None
        expected = lines[node.end_lineno - 1][node.end_col_offset :].strip().removeprefix("#").strip()
        if isinstance(node, ast.Expr) and expected and "…" not in expected:
            assert eval(source, names) == eval(expected), source
            compared += 1
        else:
            exec(compile(ast.Module([node], []), source, "exec"), names)
    return compared


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the place of the quickstart's."""
    transformers = pytest.importorskip("transformers", reason="needs the extra train")
    from tests.support.tokenizers import attached

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = attached("smollm2")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("code", BLOCKS)
def test_python_of_the_pages(
    code: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "evaluate.load" in code:
        pytest.importorskip("evaluate", reason="needs the extra eval")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
    if CHECKPOINT in code:
        code = code.replace(CHECKPOINT, str(request.getfixturevalue("checkpoint")))
        code = code.replace("max_new_tokens=384", "max_new_tokens=8")
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    compared = run(code, names)
    assert compared >= len(re.findall(r"^[^#\n]*\)  # [^…\n]*$", code, re.MULTILINE))
    if "parse_response" in code:
        prompt = str(names["prompt"])
        assert prompt.endswith("<system_thinking>\n") and "You are Jo from Little Women." in prompt
        assert "She must not guess" not in prompt and "Meg: Tea?" in prompt


def test_a_wrong_comment_is_found() -> None:
    assert run("a = 1\na + 1  # 2\n", {}) == 1
    with pytest.raises(AssertionError):
        run("a = 1\na + 1  # 3\n", {})


def test_the_pages_show_python() -> None:
    shown = {str(parameter.id).partition("-")[0] for parameter in BLOCKS}
    assert {"README.md", "docs/concepts.md", "docs/checkpoints.md", "docs/data.md", "docs/evaluate.md"} <= shown
