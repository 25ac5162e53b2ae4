"""Chat data: what is kept, what is refused, what comes back whole, and what of it is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from her_hf.cli.inspect_mask import inspect_mask
from her_hf.dual_layer import parse_turn
from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED
from her_hf.scenes import ChatSample, Scene, SceneError, load_conversations, load_samples, load_scenes
from her_hf.training.conversations import RowSettings, conversations, make_rows
from tests.support.chat_data import asked, said, small_base, train, write
from tests.support.one_pass import FIXTURES, tiny_tokenizer


def read(tmp_path: Path, row: dict[str, Any]) -> ChatSample:
    (sample,) = load_samples(write(tmp_path / "chat.jsonl", row))
    assert isinstance(sample, ChatSample)
    assert load_conversations(tmp_path / "chat.jsonl") == [sample.messages]
    return sample


# -- what is read


SYSTEM = {"role": "system", "content": "You are Bel."}
TEXT = [{"type": "text", "text": "Is it"}, "late?", {"type": "input_text", "text": "Well?", "image_url": None}]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"messages": [asked(), said()]}, [asked(), said()]),
        ({"conversations": [{"from": "human", "value": "Is it late?"}, {"from": "gpt", "value": "Hm."}]},
         [asked(), said("Hm.")]),
        ({"system": "You are Bel.", "conversations": [{"from": "human", "value": "Is it late?"}]}, [SYSTEM, asked()]),
        ({"system": "You are Bel.", "messages": [SYSTEM, asked(), said()]}, [SYSTEM, asked(), said()]),
        ({"system": None, "messages": [{"role": "Developer", "content": "You are Bel."}]}, [SYSTEM]),
        ({"messages": json.dumps([asked(), {"role": "model", "content": "Hm."}])}, [asked(), said("Hm.")]),
        ({"messages": [asked(name=" Ann ", reasoning_content=None), said(name="Bel")]},
         [asked(name="Ann"), said(name="Bel")]),
        ({"messages": [asked(TEXT), said([])]}, [asked("Is it\nlate?\nWell?"), said("")]),
        ({"messages": [asked(reasoning_content=""), said(reasoning_content="Bel stalls. ")]},
         [asked(), said(reasoning_content="Bel stalls. ")]),
        ({"system_prompt": "You are Bel.", "messages": [asked()]}, [SYSTEM, asked()]),
        ({"system": "You are Bel. ", "messages": [SYSTEM, asked()]}, [SYSTEM, asked()]),
        ({"prompt": "Is it late?", "instruction": "", "messages": [asked()]}, [asked()]),
        ({"messages": [asked(character="Ann"), said(name="Bel", speaker="Bel")]},
         [asked(name="Ann"), said(name="Bel")]),
        ({"messages": [asked(**{"from": "human", "value": "Is it late?"})]}, [asked()]),
        ({"messages": [said(None, reasoning="Stall.", reasoning_details=[{"text": "Stall."}])]},
         [said("", reasoning_content="Stall.")]),
        ({"messages": [said(thinking="Stall.", reasoning="Stall.")]}, [said(reasoning_content="Stall.")]),
        ({"messages": [said(sys_thinking="C", sys_thinking_revised="A", sys_thinking_original="B")]},
         [said(reasoning_content="A")]),
        ({"messages": [said("<system_thinking>Stall.</system_thinking>Bel: Hm.", reasoning_content=" Stall.")]},
         [said("<system_thinking>Stall.</system_thinking>Bel: Hm.", reasoning_content=" Stall.")]),
        ({"messages": [asked(tool_calls=None, images=[]), said(weight=1, train=True)], "tools": None, "images": []},
         [asked(), said()]),
        # A table of two sources has the columns of both.
        ({"messages": None, "conversations": [{"from": "human", "value": "Is it late?", "role": None}]}, [asked()]),
        ({"conversations": None, "messages": [asked(**{"from": None, "value": None})]}, [asked()]),
    ],
)  # fmt: skip
def test_what_is_kept(tmp_path: Path, row: dict[str, Any], messages: list[dict[str, str]]) -> None:
    assert read(tmp_path, row).messages == messages


@pytest.mark.parametrize(
    ("row", "field", "match"),
    [
        ({"messages": [asked(tool_calls=[{"id": 1}])]}, "messages[0].tool_calls", "cannot be kept"),
        ({"messages": [asked()], "tools": [{"name": "f"}]}, "tools", "cannot be kept"),
        ({"messages": [asked()], "images": [{"bytes": "x"}]}, "images", "cannot be kept"),
        ({"messages": [asked()], "rejected": [said()]}, "rejected", "cannot be kept"),
        ({"messages": [asked(), {"role": "tool", "content": "3"}]}, "messages[1].role", "as a user message"),
        ({"messages": [asked([{"type": "image_url", "image_url": {"url": "x"}}])]}, "messages[0].content[0]", "text"),
        ({"messages": [asked([{"type": "reasoning", "text": "x"}])]}, "messages[0].content[0]", "only text"),
        ({"messages": [asked([{"type": "text", "text": "x", "image": "y"}])]}, "messages[0].content[0].image", "kept"),
        ({"messages": [asked([["x"]])]}, "messages[0].content[0]", "must be a part with text"),
        ({"messages": [asked({"text": "x"})]}, "messages[0].content", "a list of text parts, got dict"),
        ({"messages": [said(None)]}, "messages[0].content", "must be text"),
        ({"messages": [asked()], "instruction": "Be dry."}, "instruction", "is in no message; put it into the system"),
        ({"messages": [asked()], "persona": ["A smith."]}, "persona", "is in no message"),
        ({"messages": [SYSTEM], "system_prompt": "You are Ann."}, "system_prompt", "is not what the system message"),
        ({"messages": [asked()], "system": "A", "system_prompt": "B"}, "system_prompt", "differs from 'system'"),
        ({"messages": [asked()], "mask": [0]}, "mask", "says which replies are trained"),
        ({"messages": [asked()], "train": False}, "train", "says that this row is not trained, got bool False"),
        ({"messages": [said(weight="0")]}, "messages[0].weight", "this reply is not trained, got str '0'"),
        ({"messages": [said(thoughts="x")]}, "messages[0].thoughts", "call system thinking reasoning_content"),
        ({"messages": [said(think="x", thinking="y")]}, "messages[0].think", "is thinking in a field that is not"),
        ({"messages": [said(reasoning_details=[{"text": "x"}])]}, "messages[0].reasoning_details", "not read"),
        ({"messages": [said(thinking_blocks=[1])]}, "messages[0].thinking_blocks", "not read"),
        ({"messages": [said(name="Bel", character="Ann")]}, "messages[0].character", "differs from 'name'"),
        ({"messages": [asked(**{"from": "gpt"}, value="No.")]}, "messages[0].from", "differs from 'role'; keep one"),
        ({"messages": [asked(value="No.")]}, "messages[0].value", "differs from 'content'; keep one"),
        ({"messages": [said(weight=0)]}, "messages[0].weight", "this reply is not trained, got int 0"),
        ({"messages": [said(train=False)]}, "messages[0].train", "end the conversation before it"),
        ({"messages": [asked(reasoning_content="x")]}, "messages[0].reasoning_content", "only replies have it"),
        ({"messages": [said(reasoning_content="x", reasoning="y")]}, "messages[0].reasoning", "differs from 'reas"),
        ({"messages": [said("<think>y</think>Hm.", reasoning_content="x")]}, "messages[0].reasoning_content",
         "differs from the system thinking in 'content'"),
        ({"messages": [said(name=3)]}, "messages[0].name", "must be text"),
        ({"messages": [SYSTEM], "system": "You are Ann."}, "system", "is not what the system message says"),
        ({"messages": [asked()], "conversations": [asked("No.")]}, "conversations", "is given as well as 'messages'"),
        ({"messages": ["Hm."]}, "messages[0]", "must be a dict"),
        ({"conversations": [{"from": "human"}]}, "conversations[0].value", "must be text"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(tmp_path: Path, row: dict[str, Any], field: str, match: str) -> None:
    path = write(tmp_path / "chat.jsonl", {"messages": [asked()]}, row)
    for load in (load_conversations, load_samples):
        with pytest.raises(SceneError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}, line 2, field {field!r}: ") and match in str(caught.value)
        assert len(str(caught.value)) < 500


def test_what_is_not_used_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = {"type": "text", "text": "Late?", "cache_control": {"type": "x"}}
    row = {"id": 7, "source": "quay", "note": None, "language": "English", "messages": [asked([part], origin_id=[3])]}
    sample = read(tmp_path, row)
    assert sample.unused == ("id", "source", "messages[].origin_id", "messages[].content[].cache_control")
    assert sample.language == "en"
    assert (
        "fields of conversations that are not used: 'id (1)', 'source (1)', 'messages[].origin_id (1)'" in caplog.text
    )


@pytest.mark.parametrize(
    ("load", "says"), [(load_conversations, "is not a conversation"), (load_samples, "an unknown kind")]
)
def test_a_file_that_is_neither(tmp_path: Path, load: Any, says: str) -> None:
    path = write(tmp_path / "x.jsonl", {"instruction": "Say hm.", "output": "Hm."})
    with pytest.raises(SceneError, match=says) as caught:
        load(path)
    assert "`messages` (role, content) or `conversations` (from, value)" in str(caught.value)
    assert "`dialogues`" in str(caught.value) or load is load_conversations


def test_splits(tmp_path: Path) -> None:
    for name in ("chats.jsonl", "her_dev.jsonl"):
        write(tmp_path / name, {"messages": [asked(name)]})
    assert len(load_samples(tmp_path / "chats.jsonl", "train")) == 1
    assert load_conversations(tmp_path / "her_dev.jsonl", "validation") == [[asked("her_dev.jsonl")]]
    with pytest.raises(SceneError, match="is one file and has no split 'validation'; all of it is 'train'"):
        load_samples(tmp_path / "chats.jsonl", "validation")
    with pytest.raises(SceneError, match="no split 'train'; all of it is 'validation'"):
        load_conversations(tmp_path / "her_dev.jsonl", "train")
    assert load_conversations(tmp_path, "validation") == [[asked("her_dev.jsonl")]]
    with pytest.raises(SceneError, match=r"recipes/sft.py trains on it, load_conversations reads it"):
        load_scenes(tmp_path / "chats.jsonl")


# -- what messages_for wrote


_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["<system_thinking>x</system_thinking>", "Ann: hm", "===Conversation Start===", "<|im_end|>", "[{", "\n\n", "  "]
)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    names = ["Ann", "Bel", "Environment"]
    turns = [
        parse_turn(f"{name}: {draw(_TEXTS)}<role_action>{draw(_TEXTS)}</role_action>{draw(_TEXTS)}", names=names)
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=5))
    ]
    turns = [
        replace(turn, system_thinking=draw(_TEXTS)) if turn.name != "Environment" and draw(st.booleans()) else turn
        for turn in turns
    ]
    cast = [{"name": name, "profile": draw(_TEXTS)} for name in names]
    return Scene(book=draw(_TEXTS), scenario=draw(_TEXTS), cast=cast, dialogue=turns)


SHARE = {"system": "system", "user": "human", "assistant": "gpt"}


def share(message: dict[str, str]) -> dict[str, str]:
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    return {"from": SHARE[message["role"]], "value": message["content"], **more}


@settings(max_examples=100)
@given(scenes(), st.booleans())
def test_what_messages_for_wrote_comes_back_whole(
    tmp_path_factory: pytest.TempPathFactory, scene: Scene, thinking: bool
) -> None:
    written = [scene.messages_for(name, system_thinking=thinking) for name in ("Ann", "Bel")]
    written += [scene.messages_for("Ann", turns=1, system_thinking=thinking)]
    folder = tmp_path_factory.mktemp("chats")
    write(folder / "a.jsonl", *({"messages": messages} for messages in written))
    write(folder / "b.jsonl", *({"conversations": list(map(share, messages))} for messages in written))
    write(folder / "c.jsonl", *({"messages": json.dumps(messages)} for messages in written))
    for name in ("a", "b", "c"):
        assert load_conversations(folder / f"{name}.jsonl") == written


def test_what_messages_for_wrote_is_trained_alike(tmp_path: Path) -> None:
    """As a table, too, which has a column `reasoning_content` for every message."""
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    tokenizer = tiny_tokenizer()
    found = load_scenes(FIXTURES / "scenes" / "mini.jsonl")
    for thinking in (True, False):
        direct = conversations(found, system_thinking=thinking)
        table = datasets.Dataset.from_list([{"messages": one.messages} for one in direct])
        table.to_parquet(tmp_path / "chats.parquet")
        chats = conversations(load_samples(tmp_path / "chats.parquet"))
        assert [one.messages for one in chats] == [one.messages for one in direct]
        rows = [make_rows(part, tokenizer, RowSettings(), progress=False) for part in (direct, chats)]
        assert rows[0][0].to_dict() == rows[1][0].to_dict()
        assert rows[0][1].without_thinking == (0 if thinking else rows[0][1].replies)


# -- what is trained


CHAT = [
    SYSTEM,
    asked("===Conversation Start===\n\nAnn: <role_thinking>I fear her.</role_thinking> Late?"),
    said("Bel: Hm.", reasoning_content="Bel stalls."),
    asked("Well?", name="Ann"),
    said("<system_thinking>Bel yields.</system_thinking>\nBel: <role_action>nods</role_action> Yes."),
    asked("Environment: A bell."),
    said("Bel: Go."),
    asked("Ann goes."),
    said("Environment: The door."),
]


def branches(messages: list[dict[str, str]], **changes: Any) -> list[tuple[str, str]]:
    """What each reply sees, and what of it is trained."""
    tokenizer = tiny_tokenizer()
    (found,) = conversations([ChatSample(messages)], **changes)
    (row,) = build(found.messages, tokenizer, name=found.name, names=found.names, trained=found.trained)
    return [
        (
            tokenizer.decode(row["input_ids"][:sees] + row["input_ids"][start:end]),
            tokenizer.decode([label for label in row["labels"][start:end] if label != IGNORED]),
        )
        for start, end, sees in row["branches"]
    ]


def test_each_reply_is_trained_after_a_history_without_thinking() -> None:
    seen, trained = zip(*branches(CHAT), strict=True)
    assert trained == (
        "Bel stalls.\n</system_thinking>\nBel: Hm.<|im_end|>",
        "Bel yields.\n</system_thinking>\nBel: <role_action>nods</role_action> Yes.<|im_end|>",
        "Bel: Go.<|im_end|>",
    )
    for before, own in zip(seen, trained, strict=True):
        assert before.endswith(own) and before.startswith("<|im_start|>system\nYou are Bel.<|im_end|>")
        assert "I fear her" not in before and "Bel stalls" not in before.removesuffix(own)
    # A reply with system thinking answers a prompt that opens it, one without a prompt that does not.
    prompts = [before.removesuffix(own) for before, own in zip(seen, trained, strict=True)]
    opened = [prompt.rpartition("<|im_start|>assistant\n")[2] for prompt in prompts]
    assert opened == ["<system_thinking>\n", "<system_thinking>\n", ""]
    assert "Ann: Well?" in seen[1] and "Bel: Hm.<|im_end|>" in seen[1]


def test_the_ablation_trains_the_same_without_system_thinking() -> None:
    seen, trained = zip(*branches(CHAT, system_thinking=False), strict=True)
    assert trained == (
        "Bel: Hm.<|im_end|>", "Bel: <role_action>nods</role_action> Yes.<|im_end|>", "Bel: Go.<|im_end|>"
    )  # fmt: skip
    assert all("system_thinking" not in before and "You are Bel." in before for before in seen)


def test_the_last_reply_alone_is_trained_after_the_same_history() -> None:
    whole = branches(CHAT[:-2])
    assert branches(CHAT[:-2], last_reply_only=True) == whole[-1:] and len(whole) == 3
    assert branches(CHAT[:4], last_reply_only=True) == whole[:1]


# -- the recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("base"))


def test_the_recipe_trains_on_conversations(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = tmp_path / "chats"
    row = {"messages": CHAT, "id": 1, "language": "fr"}
    scene = json.loads((FIXTURES / "scenes" / "mini.jsonl").read_text(encoding="utf-8").splitlines()[0])
    write(data / "train" / "a.jsonl", row, {"messages": [asked()]}, scene)
    write(data / "validation.jsonl", {"messages": [SYSTEM, asked("Now?"), said()]}, row)
    results = train(base, data, tmp_path / "out", max_eval_scenes=2)
    rows = results["rows"]
    assert results["samples"] == {"scenes": 1, "chat_samples": 2}
    assert rows["conversations"] > 3 and rows["environment"] == 1 and rows["without_thinking"] == 1
    assert results["held_out_rows"]["conversations"] == 2 and results["held_out_loss"]["all"] > 0
    for line in (
        "training: turns of the Environment, never trained: 1",
        "training: conversations without a reply: 1",
        "training: fields of conversations that are not used: id (1)",
        "held-out: 1 of 2 conversations are trained too",
    ):
        assert line in caplog.text
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "| scenes | 1 |",
        "| conversations of chat data | 2 |",
        "2 conversations are trained as the data has",
    ):
        assert part in card
    assert "language:\n- en\n- fr\n" in card and "No reply has system thinking" not in card


def test_the_card_of_data_without_thinking_and_language(base: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "chats.jsonl", *[{"messages": [asked(), said()]}] * 4)
    results = train(base, data, tmp_path / "out", eval_split="", max_scenes=2)
    assert results["samples"] == {"scenes": 0, "chat_samples": 2} and results["rows"]["replies"] == 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "No reply has system thinking: pass enable_thinking=False to the chat template." in card
    assert "system thinking, role thinking" not in card and "language:" not in card.split("---")[1]


def test_samples_of_one_reply(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As HER's single-turn data: one row a reply, in whose history no reply thinks."""
    caplog.set_level("INFO")
    rows = [{"messages": [asked(), said("Bel: Hm."), asked(), said("Bel: No.", reasoning_content="Bel stalls.")]}] * 2
    data = write(tmp_path / "chats.jsonl", *rows)
    assert train(base, data, tmp_path / "all", eval_split="")["rows"]["replies"] == 4
    assert "system thinking in their last reply only: 2. If each is a sample of that reply, set last" in caplog.text
    caplog.clear()
    found = train(base, data, tmp_path / "last", eval_split="", last_reply_only=True)["rows"]
    assert (found["replies"], found["history"], found["without_thinking"]) == (2, 2, 0)
    assert "training: replies before the last, kept as history: 2" in caplog.text and "set last" not in caplog.text
    assert "| replies before the last, kept as history | 2 |" in (tmp_path / "last" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({}, "no split 'validation'; all of it is 'train'. This is the held-out data: eval_split names its split"),
        ({"eval_split": "", "languages": "en"}, "languages is set, but 1 of 1 conversations of .* do not name theirs"),
        ({"eval_split": "", "max_scenes": 0}, "holds no scene or conversation in any language"),
        ({"eval_split": "", "train_split": "test"}, "no split 'test'; all of it is 'train'.$"),
    ],
)
def test_settings_that_do_not_fit_the_data(base: Path, tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    data = write(tmp_path / "chats.jsonl", {"messages": [asked(), said()]})
    with pytest.raises(ValueError, match=match):
        train(base, data, tmp_path / "out", **changes)


def test_nothing_is_left_to_train(base: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "chats.jsonl", {"messages": [asked(), said("Environment: A bell.")]})
    with pytest.raises(ValueError, match=r"no reply is left to train: 1 conversations.*1 turns of the Environment"):
        train(base, data, tmp_path / "out", eval_split="")


def test_inspect_mask_shows_a_conversation(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(inspect_mask)
    words = [str(FIXTURES / "tokenizers" / "smollm2"), str(write(tmp_path / "chats.jsonl", {"messages": CHAT}))]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert "chats.jsonl, conversation 0" in result.output and "⟦system_thinking: Bel stalls." in result.output
    result = CliRunner().invoke(app, [*words, "--character", "Bel"])
    assert "--character is for scenes" in str(result.exception)
