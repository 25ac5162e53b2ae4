"""The scripts of examples/ run as their first lines say, offline, and show what they are there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import FIXTURES, ROOT

pytest.importorskip("transformers", reason="needs the extra train")
pytest.importorskip("evaluate", reason="needs the extra eval")

BASE = str(FIXTURES / "tokenizers" / "smollm2")


def output(script: str, *arguments: str, cache: Path) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, f"examples/{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parse_reply(tmp_path: Path) -> None:
    shown = output("parse_reply.py", cache=tmp_path)
    assert "view others: 'Ann: <role_action>pours tea</role_action> Sugar, Mr. Bell?'" in shown
    assert "never closes: ['unclosed']" in shown and "others see 'Ann:'" in shown
    assert "the streamed turn is the same: True" in shown


def test_attach_method(tmp_path: Path) -> None:
    shown = output("attach_method.py", BASE, str(tmp_path / "out"), cache=tmp_path)
    facts = shown.splitlines()[-4:]
    assert [fact.rpartition(": ")[2] for fact in facts[:3]] == ["False", "False", "True"]
    assert r"opens with '<system_thinking>\n'" in facts[3]
    assert (tmp_path / "out" / "chat_template.jinja").is_file()


def test_chat_stream(tmp_path: Path) -> None:
    from tests.support.chat import BODY, THINKING, serving

    with serving(body=BODY.replace("Ann:", "Jo:")) as server:
        shown = output("chat_stream.py", server.url, "64", cache=tmp_path)
        heard = [body["messages"][-1]["content"] for body in server.chats]
    assert shown.count(f"[SYSTEM_THINKING] {THINKING}") == 2
    assert shown.count("[ROLE_THINKING] Not the drawer.") == shown.count("pattern 'TAS'") == 2
    assert "What would you do, Jo?" in heard[-1] and THINKING not in str(heard)


def test_chat_stream_with_a_model_in_this_process(tmp_path: Path) -> None:
    from tests.inference.test_interface import tiny_checkpoint

    shown = output("chat_stream.py", str(tiny_checkpoint(tmp_path / "tiny", "smollm2")), "24", cache=tmp_path)
    assert shown.count("\n-- ") == 2  # a turn, or why there is none: the model is untrained


def test_score_dialogue(tmp_path: Path) -> None:
    shown = output("score_dialogue.py", cache=tmp_path)
    assert "own role: 1.0, well-formed: 1.0" in shown
    assert "'SC': 89.5" in shown and "'SQ': None" in shown and "'avg': None" in shown and "'missing': 1" in shown


def test_inspect_rows(tmp_path: Path) -> None:
    shown = output("inspect_rows.py", BASE, cache=tmp_path)
    assert "4 replies, " in shown and shown.count("are trained:") == 4
    tokens, samples = (int(word) for word in shown.splitlines()[-1].split() if word.isdigit() and len(word) > 2)
    assert tokens < samples / 2


def test_every_script_is_tried_and_short() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    tried = Path(__file__).read_text(encoding="utf-8")
    assert len(scripts) == 5
    assert [script.name for script in scripts if f'output("{script.name}"' not in tried] == []
    assert [script.name for script in scripts if len(script.read_text(encoding="utf-8").splitlines()) > 45] == []
