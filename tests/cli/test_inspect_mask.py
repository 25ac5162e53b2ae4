"""`her-hf inspect-mask`: the colours say what is trained, and of which layer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from her_hf.cli.inspect_mask import describe, inspect_mask
from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED
from her_hf.training.one_pass.layers import LAYERS, character_layers, label_layers
from tests.support.one_pass import FIXTURES, conversation, conversations, tiny_tokenizer

SCENES = FIXTURES / "scenes" / "mini.jsonl"


@pytest.mark.parametrize("base", ["smollm2", "qwen3", "llama3"])
def test_layers_of_trained_tokens(base: str) -> None:
    tokenizer = tiny_tokenizer(base)
    for messages in conversations():
        (row,) = build(messages, tokenizer)
        layers = label_layers(row, tokenizer)
        assert [layer == IGNORED for layer in layers] == [label == IGNORED for label in row["labels"]]
        for number, (start, end, _) in enumerate(row["branches"]):
            text = {
                name: tokenizer.decode([row["input_ids"][at] for at in range(start, end) if layers[at] == layer])
                for layer, name in enumerate(LAYERS)
            }
            message = messages[row["reply_ids"][number]]
            assert text["system_thinking"].strip() == message.get("reasoning_content", "")
            inner = message["content"].split("<role_thinking>")[1].split("</role_thinking>")[0]
            # A token of both layers (`.</`) counts for the first.
            assert text["role_thinking"].strip().removesuffix("</") == inner
            assert text["role_action"].strip().removesuffix("</") in message["content"].split("</role_thinking>")[1]
            assert text["speech"].strip() == message["content"].rsplit("> ", 1)[1]
            assert text["structure"].endswith(tokenizer.eos_token)


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("Ann: Hi", "xxxxxss"),
        ("Hi you", "ssssss"),
        ("t\n</system_thinking>\nA: s", "yy" + "x" * 18 + "x" + "xxx" + "s"),
        ("A: <role_action>a</role_action>", "xxx" + "x" * 13 + "a" + "x" * 14),
        ("A: o <role_thinking>t</role_thinking> p", "xxxs" + "x" * 16 + "t" + "x" * 17 + "s"),
        ("安娜：好", "xxxs"),
    ],
)
def test_character_layers(text: str, marks: str) -> None:
    letters = dict(zip("ytasx", range(5), strict=True))
    assert character_layers(text) == [letters[mark] for mark in marks]


def test_characters_cut_into_several_tokens() -> None:
    """Chinese in a small byte-level vocabulary: every character takes several tokens, each of which has its layer."""
    tokenizer = tiny_tokenizer()
    messages = conversation(0)
    messages.append(
        {
            "role": "assistant",
            "reasoning_content": "她拖延。",
            "content": "玛拉: <role_thinking>快走。</role_thinking> 你来早了。",
        }
    )
    (row,) = build(messages, tokenizer)
    layers = label_layers(row, tokenizer)
    kept = [row["input_ids"][at] for at, layer in enumerate(layers) if layer == LAYERS.index("role_thinking")]
    assert tokenizer.decode(kept) == "快走。"
    spoken = [row["input_ids"][at] for at, layer in enumerate(layers) if layer == LAYERS.index("speech")]
    assert tokenizer.decode(spoken).strip() == "你来早了。"


def test_describe_shows_every_token_once() -> None:
    tokenizer = tiny_tokenizer()
    (row,) = build(conversation(3), tokenizer)
    trunk, *branches = describe(row, tokenizer)
    assert len(branches) == 3 and len(describe(row, tokenizer, trunk=False)) == 3
    for number, (start, end, sees) in enumerate(row["branches"]):
        shown = branches[number].plain.split("\n", 1)
        assert shown[1] == tokenizer.decode(row["input_ids"][start:end])
        assert f"sees trunk 0-{sees} and itself" in shown[0] and f"reply {row['reply_ids'][number]}" in shown[0]
        assert f"⟨branch {number} leaves⟩" in trunk.plain
    styles = {str(span.style) for span in branches[0].spans}
    assert {"dim", "black on magenta", "black on cyan", "black on yellow", "black on green"} <= styles


def run(*words: str) -> Any:
    app = typer.Typer()
    app.command()(inspect_mask)
    return CliRunner().invoke(app, list(words))


def test_command() -> None:
    result = run(str(FIXTURES / "tokenizers" / "qwen3"), str(SCENES))
    assert result.exit_code == 0, result.output
    for part in ("The Salt Ferry", "branch 0 leaves", "sees trunk", "<system_thinking>", "times fewer"):
        assert part in result.output.replace("\n", " ") or part in result.output
    ordinary = run(str(FIXTURES / "tokenizers" / "qwen3"), str(SCENES), "--no-one-pass", "--no-trunk")
    assert ordinary.exit_code == 0 and ordinary.output.count("Row ") >= result.output.count("Row ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--example", "99"], "99"),
        (["--character", "Nobody"], "Nobody"),
    ],
)
def test_command_says_what_is_there(words: list[str], message: str) -> None:
    result = run(str(FIXTURES / "tokenizers" / "qwen3"), str(SCENES), *words)
    assert isinstance(result.exception, ValueError) and message in str(result.exception)


@pytest.mark.parametrize("name", ["Salt [/Ferry]", "Salt [red]"])
def test_names_are_no_markup(name: str, tmp_path: Path) -> None:
    row = json.loads(SCENES.read_text(encoding="utf-8").splitlines()[0])
    (tmp_path / "[bold]rows.jsonl").write_text(json.dumps({**row, "book_name": name}) + "\n")
    result = run(str(FIXTURES / "tokenizers" / "qwen3"), str(tmp_path / "[bold]rows.jsonl"), "--no-trunk")
    assert result.exit_code == 0, result.exception
    assert name in result.output and "[bold]rows.jsonl" in result.output


def test_without_colours_brackets_show_what_is_trained() -> None:
    tokenizer = tiny_tokenizer()
    (row,) = build(conversation(2), tokenizer)
    for number, (start, end, _) in enumerate(row["branches"]):
        shown = describe(row, tokenizer, trunk=False, colour=False)[number].plain.split("\n", 1)[1]
        trained = tokenizer.decode([label for label in row["labels"][start:end] if label != IGNORED])
        assert "".join(text for _, text in re.findall(r"⟦(\w+): (.*?)⟧", shown, re.DOTALL)) == trained
        assert "⟦structure: <|im_end|>⟧" in shown and "⟦system_thinking: Mara keeps ledger" in shown
        assert re.sub(r"⟦\w+: |⟧", "", shown) == tokenizer.decode(row["input_ids"][start:end])
    piped = run(str(FIXTURES / "tokenizers" / "qwen3"), str(SCENES), "--no-trunk").output
    assert "trained: ⟦layer: text⟧" in piped and "⟦role_action: " in piped


@pytest.mark.parametrize(("window", "dropped"), [(1380, 1), (1300, 2)])
def test_what_was_dropped_is_counted_in_turns(window: int, dropped: int) -> None:
    """The first message holds two turns, the Environment's and Odile's."""
    words = ["--no-trunk", "--character", "Pell Jr.", "--max-context", str(window)]
    output = run(str(FIXTURES / "tokenizers" / "smollm2"), str(SCENES), *words).output
    assert f"Turns dropped: {dropped}," in " ".join(output.split())


def test_unknown_tokenizer(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none"), str(SCENES))
    assert isinstance(result.exception, FileNotFoundError) and "none" in str(result.exception)
