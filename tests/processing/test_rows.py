"""Rows: trunk, branches, labels, windows, and the counts of what was moved or left out."""

from __future__ import annotations

from typing import Any

import pytest

from her_hf.dual_layer import system_block
from her_hf.processing.rows import RowReport, build
from her_hf.processing.trunk import IGNORED
from her_hf.scenes import START
from her_hf.training.conversations import Conversation, RowSettings, make_rows
from tests.support.one_pass import conversation, conversations, reply, tiny_tokenizer, user
from tests.support.tokenizers import NAMES

KEYS = ["input_ids", "position_ids", "labels", "trunk_len", "branches", "reply_ids"]

OFF_TRUNK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'system' and messages|selectattr('role', 'equalto', 'user')|list|length == 2 %}(two) {% endif %}"
    "{% if m.role == 'assistant' and loop.last %}<system_thinking>\n"
    "{% generation %}{{ m.reasoning_content }}\n</system_thinking>\n{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<system_thinking>\n{% endif %}"
)


@pytest.fixture(scope="module", params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tiny_tokenizer(request.param)


def rendered(tokenizer: Any, messages: Any, **kwargs: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **kwargs)["input_ids"])


def seen(row: Any, branch: int) -> list[int]:
    """The sample that a branch stands for: what it sees of the trunk, and itself."""
    start, end, sees = row["branches"][branch]
    return row["input_ids"][:sees] + row["input_ids"][start:end]


def positions(row: Any, branch: int) -> list[int]:
    start, end, sees = row["branches"][branch]
    return row["position_ids"][:sees] + row["position_ids"][start:end]


def trained(row: Any, branch: int) -> list[int]:
    start, end, _ = row["branches"][branch]
    return [label for label in row["labels"][start:end] if label != IGNORED]


@pytest.mark.parametrize("number", range(3))
def test_each_branch_is_its_per_reply_sample(tokenizer: Any, number: int) -> None:
    messages = conversations()[number]
    (row,) = build(messages, tokenizer)
    assert list(row) == KEYS
    assert row["reply_ids"] == [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    assert set(row["labels"][: row["trunk_len"]]) == {IGNORED}
    for branch, index in enumerate(row["reply_ids"]):
        whole = rendered(tokenizer, messages[: index + 1])
        sample = seen(row, branch)
        assert sample == whole[: len(sample)]
        assert tokenizer.decode(whole[len(sample) :]).strip() == ""
        assert positions(row, branch) == list(range(len(sample)))
        thinks = "reasoning_content" in messages[index]
        prompt = rendered(tokenizer, messages[:index], add_generation_prompt=True, enable_thinking=thinks)
        assert sample == prompt + trained(row, branch)
        # What predicts the first trained token lies in the branch, whatever is before it in the row.
        assert row["labels"][row["branches"][branch][0]] == IGNORED


def test_labels_are_what_the_marks_mark(tokenizer: Any) -> None:
    message = reply("Mara", 7)
    (row,) = build([*conversation(0), message], tokenizer)
    wanted = f"{message['reasoning_content']}\n</system_thinking>\n{message['content']}{tokenizer.eos_token}"
    assert tokenizer.decode(trained(row, 0)) == wanted


def test_trunk_is_the_history_that_the_last_reply_sees(tokenizer: Any) -> None:
    messages = conversation(4)
    (row,) = build(messages, tokenizer)
    assert row["input_ids"][: row["trunk_len"]] == rendered(tokenizer, messages[:8])
    text = tokenizer.decode(row["input_ids"][: row["trunk_len"]])
    assert "<system_thinking>" not in text and "keeps ledger" not in text and "Ledger 2, I am done." in text


def test_inline_system_thinking_makes_the_same_row(tokenizer: Any) -> None:
    beside = conversation(2)
    inline = [
        {"role": "assistant", "content": f"{system_block(message['reasoning_content'])}\n{message['content']}"}
        if "reasoning_content" in message
        else message
        for message in beside
    ]
    assert list(build(inline, tokenizer)) == list(build(beside, tokenizer))


def test_unmerged_user_messages_make_the_same_row(tokenizer: Any) -> None:
    merged = conversation(2)
    parted = [
        {"role": "user", "content": part} if message["role"] == "user" else message
        for message in merged
        for part in (message["content"].split("\n\n") if message["role"] == "user" else [""])
    ]
    whole, split = build(merged, tokenizer), build(parted, tokenizer)
    assert split[0]["input_ids"] == whole[0]["input_ids"] and split[0]["branches"] == whole[0]["branches"]


def test_report_counts_tokens() -> None:
    rows = build(conversation(5), tiny_tokenizer())
    report = rows.report
    assert (report.conversations, report.replies, report.rows) == (1, 5, 1)
    assert report.tokens == len(rows[0]["input_ids"])
    assert report.per_reply_tokens == sum(len(seen(rows[0], branch)) for branch in range(5))
    assert report.trained_tokens == sum(label != IGNORED for label in rows[0]["labels"])
    assert report.token_ratio is not None and report.token_ratio > 1.5
    total = RowReport()
    total.add(report)
    total.add(report)
    assert total.replies == 10 and total.as_dict()["token_ratio"] == pytest.approx(report.token_ratio)


def test_per_reply_layout(tokenizer: Any) -> None:
    messages = conversation(3)
    rows = build(messages, tokenizer, one_pass=False)
    (together,) = build(messages, tokenizer)
    assert [row["reply_ids"] for row in rows] == [[2], [4], [6]]
    assert [row["input_ids"] for row in rows] == [seen(together, branch) for branch in range(3)]
    assert rows.report.tokens == rows.report.per_reply_tokens


def test_environment_is_context_and_never_trained(tokenizer: Any) -> None:
    messages = [*conversation(1), {"role": "assistant", "content": "Environment: The lamp dies."}, user("Odo: Ha.")]
    messages += [reply("Mara", 2)]
    rows = build(messages, tokenizer)
    assert rows.report.environment == 1 and rows[0]["reply_ids"] == [2, 6]
    assert "The lamp dies." in tokenizer.decode(rows[0]["input_ids"][: rows[0]["trunk_len"]])
    named = [*conversation(1), {"role": "assistant", "name": "Environment", "content": "The lamp dies."}]
    assert build(named, tokenizer).report.environment == 1


def test_window_drops_whole_turns_and_counts(tokenizer: Any) -> None:
    messages = conversation(6)
    lengths = [len(seen(build(messages, tokenizer)[0], branch)) for branch in range(6)]
    window = lengths[2]
    rows = build(messages, tokenizer, max_context=window)
    report = rows.report
    assert report.replies == 6 and report.left_out == 0
    moved = sum(length > window for length in lengths)
    assert report.shortened == report.other_window == moved > 1 and report.dropped_turns >= moved
    assert all(len(row["input_ids"]) <= window for row in rows)
    assert sorted(index for row in rows for index in row["reply_ids"]) == [2, 4, 6, 8, 10, 12]
    text = tokenizer.decode(seen(rows[-1], 0))
    assert text.count(START) == 1 and "You are Mara" in text and "Ledger 0" not in text
    assert "move 5 of many" in text


def merged_talk() -> list[dict[str, str]]:
    """Five turns of others before each reply, merged; one has a blank line and a colon of its own."""
    messages = [{"role": "system", "content": "You are Mara."}, user(START, *(f"Odo: line {at}" for at in range(5)))]
    for number in range(3):
        messages.append(reply("Mara", number))
        lines = [f"Odo: more {number}{at} is said.\n\nListen: no turn of its own." for at in range(5)]
        messages.append(user(*lines, "Environment: Rain."))
    return messages


def test_merged_turns_are_dropped_and_counted_one_by_one(tokenizer: Any) -> None:
    messages = merged_talk()[:-1]
    names = ("Mara", "Odo")
    whole = build(messages, tokenizer, names=names)
    assert whole.report.dropped_turns == 0
    longest = len(seen(whole[0], 2))
    for window, dropped in ((longest, 0), (longest - 1, 1), (longest - 80, None)):
        rows = build(messages, tokenizer, max_context=window, names=names)
        text = tokenizer.decode(seen(rows[-1], 0 if len(rows) > 1 else 2))
        turns_left = text.count("Odo:") + text.count("Environment:") + text.count("Mara:")
        every = 5 + 2 * 6 + 3  # of Odo, of Odo and the Environment, of Mara
        assert rows.report.dropped_turns == every - turns_left
        assert dropped is None or rows.report.dropped_turns == dropped
        assert text.count(START) == 1 and "Listen: no turn" in text and len(seen(rows[-1], -1)) <= window
        assert text.count("is said.\n\nListen: no turn") == text.count("is said.")
    unnamed = build(messages, tokenizer, max_context=longest - 1)  # without names a message goes whole
    assert "Odo:" not in tokenizer.decode(seen(unnamed[-1], 0)).split("Mara:")[0]


@pytest.mark.parametrize("gap", [0, 1])
def test_no_row_is_longer_than_asked(tokenizer: Any, gap: int) -> None:
    """`row_tokens` alone is the window too: a reply that is longer than a row would silently make a longer one."""
    messages = conversation(5)
    longest = max(len(row["input_ids"]) for row in build(messages, tokenizer, one_pass=False))
    rows = build(messages, tokenizer, row_tokens=longest - gap)
    assert all(len(row["input_ids"]) <= longest - gap for row in rows)
    assert rows.report.replies == 5 and bool(rows.report.dropped_turns) == bool(gap)


@pytest.mark.parametrize(
    "message",
    [
        {"content": ""},
        {"content": None},
        {"content": "Mara:"},
        {"content": "", "name": "Mara"},
        {"content": "", "reasoning_content": "A plan and no move."},
        {"content": "<system_thinking>\nA plan and no move.\n</system_thinking>"},
        {"content": [{"type": "text", "text": "Mara:"}]},
    ],
)
def test_an_empty_reply_is_not_trained_and_counted(tokenizer: Any, message: dict[str, Any]) -> None:
    messages = [*conversation(1), {"role": "assistant", **message}, user("Odo: Well?"), reply("Mara", 2)]
    rows = build(messages, tokenizer)
    assert rows.report.empty == 1 and rows.report.replies == 2
    assert sorted(index for row in rows for index in row["reply_ids"]) == [2, 6]


def test_replies_without_system_thinking_are_counted(tokenizer: Any) -> None:
    assert build(conversation(3), tokenizer).report.without_thinking == 0
    assert [build(messages, tokenizer).report.without_thinking for messages in conversations()] == [0, 1, 0]


GREETING = {"role": "assistant", "content": "Mara: <role_action>waves</role_action> You are early."}


def test_a_greeting_without_a_prompt_is_history(tokenizer: Any) -> None:
    plain = [{"role": "user", "content": "Odo: Hm."}, reply("Mara", 1)]
    for opening in ([GREETING], [reply("Mara", 0)], [GREETING, reply("Mara", 3)]):
        rows = build([*opening, *plain], tokenizer)
        assert rows.report.unprompted == 1 and rows.report.replies == len(opening)
        (row,) = rows
        assert "You are early" in tokenizer.decode(row["input_ids"][: row["trunk_len"]])
        assert 0 not in row["reply_ids"]
    assert build([conversation(1)[0], GREETING], tokenizer).report.unprompted == 0
    alone = Conversation("a", [GREETING])
    with pytest.raises(ValueError, match=r"1 conversations, 1 openings without a prompt; use another split or other"):
        make_rows([alone], tokenizer, RowSettings(), progress=False)
    rest = [Conversation("b", conversation(2)), alone]
    assert make_rows(rest, tokenizer, RowSettings(), progress=False)[1].unprompted == 1


def test_what_the_template_refuses_is_named(tokenizer: Any) -> None:
    odd = [*conversation(1), {"role": "tool", "content": "3"}, reply("Mara", 2)]
    items = [Conversation("first", conversation(1)), Conversation("second", odd)]
    with pytest.raises(ValueError, match=r"^second, reply 5: HER chat template: roles are"):
        make_rows(items, tokenizer, RowSettings(), progress=False)


@pytest.mark.parametrize(
    ("content", "stray"),
    [
        ("Mara: Wait, <think>she lies</think> now.", 1),
        ("<think>she lies</think>Mara: Wait.<think>still</think>", 1),
        ("<think>she lies</think><think>still</think>Mara: Wait.", 1),
        ("<think>she lies</think>Mara: Wait.", 0),
        ("Mara: Wait.", 0),
    ],
)
def test_system_thinking_that_is_not_trained_is_counted(tokenizer: Any, content: str, stray: int) -> None:
    messages = [*conversation(1), {"role": "assistant", "content": content}, user("Odo: Go."), reply("Mara", 2)]
    rows = build(messages, tokenizer)
    assert (rows.report.stray_thinking, rows.report.replies) == (stray, 3)
    last = tokenizer.decode(
        [label for row in rows for at in range(len(row["branches"])) for label in trained(row, at)]
    )
    assert last.count("still") == 0


def test_full_row_moves_replies_without_losing_history(tokenizer: Any) -> None:
    messages = conversation(5)
    (whole,) = build(messages, tokenizer)
    room = len(whole["input_ids"]) * 2 // 3
    rows = build(messages, tokenizer, max_context=len(whole["input_ids"]), row_tokens=room)
    assert len(rows) > 1 and rows.report.row_full > 0 and rows.report.dropped_turns == 0
    assert all(len(row["input_ids"]) <= room for row in rows)
    samples = {row["reply_ids"][at]: seen(row, at) for row in rows for at in range(len(row["branches"]))}
    assert samples == {whole["reply_ids"][at]: seen(whole, at) for at in range(5)}


def test_reply_longer_than_the_window_is_left_out_and_named(tokenizer: Any) -> None:
    messages = conversation(3)
    messages[4]["reasoning_content"] = "Mara plans on. " * 300
    limit = len(seen(build(conversation(3), tokenizer)[0], 2))
    rows = build(messages, tokenizer, max_context=limit, name="ferry")
    assert rows.report.left_out == 1 and rows.report.left_out_replies == ["ferry:4"]
    assert sorted(index for row in rows for index in row["reply_ids"]) == [2, 6]
    nothing = build(messages, tokenizer, max_context=16)
    assert list(nothing) == [] and nothing.report.left_out == 3 and nothing.report.token_ratio is None


def test_reply_off_the_trunk_gets_its_own_row() -> None:
    """A template whose system text changes with the number of user messages, as some bases' dates and hints do."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = OFF_TRUNK
    rows = build(conversation(3), tokenizer)
    assert rows.report.own_rows == 1 and rows.report.replies == 3
    assert [row["reply_ids"] for row in rows] == [[2, 6], [4]]
    assert "(two)" in tokenizer.decode(seen(rows[1], 0)) and "(two)" not in tokenizer.decode(rows[0]["input_ids"])


def test_training_leaves_the_template_that_is_saved(tokenizer: Any) -> None:
    before = dict(tokenizer.chat_template)
    assert build(conversation(2), tokenizer)
    assert tokenizer.chat_template == before
    assert "generation -%}" not in before["default"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{% generation %}", "{% if true %}", "marks no token"),
        ("<system_thinking>\n{% endif %}", "<system_thinking>\n\n{% endif %}", "not a prefix"),
        ("{% if add_generation_prompt %}", "{% if messages[-1].role == 'user' %}", "does not append"),
    ],
)
def test_templates_that_would_train_something_else_are_refused(old: str, new: str, words: str) -> None:
    tokenizer = tiny_tokenizer()
    assert old in OFF_TRUNK
    template = OFF_TRUNK.replace(old, new)
    tokenizer.chat_template = template.replace("{% endgeneration %}", "{% endif %}") if "if true" in new else template
    with pytest.raises(ValueError, match=words):
        build(conversation(1), tokenizer)
