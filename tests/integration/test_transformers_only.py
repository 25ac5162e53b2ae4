"""The checkpoint in the hands of somebody who has transformers and nothing of ours."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from her_hf.dual_layer import Layer, Turn, View, parse_turn
from her_hf.scenes import scene_variables
from tests.integration.venvs import INTEGRATION, ROOT, clean_environment, plain_python

if TYPE_CHECKING:
    from her_hf.scenes import Scene

pytestmark = pytest.mark.integration

ROLE = "Odile"
TURNS = 3
MAX_NEW_TOKENS = 320
OPENING = "<system_thinking>\n"
UNHEARD = ("I could still turn back.", "She knows already.", "Ask for shelter plainly", "He gives a half truth")
"""What Bastien thinks in the scene, and what is planned for him; nobody else may see it."""


@pytest.fixture(scope="module")
def answer(checkpoint: Path, scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What chat_plain.py did with the checkpoint: three turns, prompts and replies."""
    told = [turn.render(view=View.FULL) for turn in scene.dialogue]
    heard = [text for text, turn in zip(told, scene.dialogue, strict=True) if turn.name != ROLE]
    own = [turn.name == ROLE for turn in scene.dialogue]
    known = [{"role": "assistant" if mine else "user", "content": text} for mine, text in zip(own, told, strict=True)]
    request = {
        "scene": scene_variables(scene, ROLE),
        "said": [["===Conversation Start===", heard[0]], *([text] for text in heard[1:TURNS])],
        "known": [*scene.messages_for(ROLE, turns=0), *known[:-1]],
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    done = subprocess.run(
        [str(plain_python()), str(INTEGRATION / "chat_plain.py"), str(checkpoint)],
        input=json.dumps(request),
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


@pytest.fixture
def prompts(answer: dict[str, Any]) -> list[str]:
    """The prompt of each turn, and the whole conversation as it is rendered at the end."""
    return [*(turn["prompt"] for turn in answer["turns"]), answer["last_prompt"]]


def test_nothing_of_ours_is_there(answer: dict[str, Any]) -> None:
    assert not answer["her_hf_found"]
    pinned = re.search(r"^transformers==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and answer["transformers"] == pinned[1]


def test_no_remote_code_is_asked_for(checkpoint: Path, answer: dict[str, Any]) -> None:
    named = [file.name for file in checkpoint.glob("*.json") if "auto_map" in file.read_text(encoding="utf-8")]
    assert named == []
    assert list(checkpoint.glob("*.py")) == []
    assert answer["processor"] == answer["tokenizer"], "AutoProcessor gives something else than the plain tokenizer"


def test_scene_prompt_is_in_the_checkpoint(answer: dict[str, Any], scene: Scene) -> None:
    assert answer["system"] == scene.messages_for(ROLE, turns=1)[0]["content"]


def test_prompts_open_the_thinking(answer: dict[str, Any]) -> None:
    assert [turn["prompt"].endswith("assistant\n" + OPENING) for turn in answer["turns"]] == [True] * TURNS
    assert answer["without_thinking"].endswith("assistant\n")


def test_thinking_and_content_are_parsed(answer: dict[str, Any]) -> None:
    for turn in answer["turns"]:
        thinking, closed, rest = turn["raw"].partition("</system_thinking>")
        reply = turn["reply"]
        assert reply["role"] == "assistant"
        assert reply["thinking"] == thinking.removesuffix(answer["eos"]).strip()
        assert reply.get("content", "").strip() == (rest.removesuffix(answer["eos"]).strip() if closed else "")


def test_replies_are_dual_layer(answer: dict[str, Any], checkpoint: Path) -> None:
    names = (ROLE, "Bastien")
    turns = [parse_turn(OPENING + turn["raw"].removesuffix(answer["eos"]), names=names) for turn in answer["turns"]]
    ended = [turn["ended"] for turn in answer["turns"]]
    good = [turn.well_formed and turn.name == ROLE and end for turn, end in zip(turns, ended, strict=True)]
    # How often a checkpoint succeeds at a scene that it has never seen is measured elsewhere; here it must do so once.
    least = TURNS if checkpoint.name == "her-tiny" else 1
    assert sum(good) >= least, [turn["raw"] for turn in answer["turns"]]


def test_history_has_no_system_thinking(answer: dict[str, Any], prompts: list[str], scene: Scene) -> None:
    for number, turn in enumerate(answer["turns"]):
        thinking = turn["reply"]["thinking"]
        assert not any(thinking and thinking in prompt for prompt in prompts[number + 1 : TURNS])
    planned = [turn.system_thinking for turn in scene.dialogue if turn.system_thinking]
    assert len(planned) == len(scene.dialogue)
    assert [thinking for thinking in planned if thinking in answer["known_prompt"]] == []
    for prompt in [*prompts[:TURNS], answer["known_prompt"]]:
        assert "system_thinking" not in prompt.removesuffix(OPENING).split(answer["system"])[1]
    # The last message is no history: rendered for training, it is whole, and it alone.
    talk = answer["last_prompt"].split(answer["system"])[1]
    assert talk.count("<system_thinking>") == 1
    assert answer["turns"][-1]["reply"]["thinking"] in talk


def test_others_thoughts_are_invisible(answer: dict[str, Any], prompts: list[str]) -> None:
    rendered = [*prompts, answer["known_prompt"]]
    assert [thought for thought in UNHEARD for prompt in rendered if thought in prompt] == []
    assert all("<role_action>wrings the sea out of his hat</role_action>" in prompt for prompt in rendered)


def test_own_thoughts_are_remembered(answer: dict[str, Any], prompts: list[str], scene: Scene) -> None:
    for number, turn in enumerate(answer["turns"][:-1]):
        for thought in thoughts(parse_turn(turn["reply"].get("content", ""))):
            assert all(thought in prompt for prompt in prompts[number + 1 :])
    own = [thought for turn in scene.dialogue[:-1] if turn.name == ROLE for thought in thoughts(turn)]
    assert len(own) == 2
    assert all(f"<role_thinking>{thought}</role_thinking>" in answer["known_prompt"] for thought in own)


def thoughts(turn: Turn) -> list[str]:
    """The role thinking of a turn."""
    return [segment.text.strip() for segment in turn.segments if segment.layer is Layer.ROLE_THINKING]


def test_prompts_are_those_of_training(answer: dict[str, Any], scene: Scene, tokenizer: Any, checkpoint: Path) -> None:
    from her_hf.processing.rows import build

    row = build(scene.messages_for(ROLE), tokenizer)[0]
    trained = []
    for start, end, sees in row["branches"]:
        header = next(at for at in range(start, end) if row["labels"][at] != -100)
        trained.append(row["input_ids"][:sees] + row["input_ids"][start:header])
    known = tokenizer(answer["known_prompt"], add_special_tokens=False)["input_ids"]
    assert known == trained[-1]
    # The first prompt depends on no reply; the others are those of the scene if the replies are.
    same = len(trained) if checkpoint.name == "her-tiny" else 1
    assert [turn["prompt_ids"] for turn in answer["turns"]][:same] == trained[:same]
