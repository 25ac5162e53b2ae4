"""One-pass rows: a conversation as one shared trunk and a branch for each reply.

HER trains each reply as its own sample with the whole history before it. History never shows system thinking, so the
samples of a conversation share their prefix: the trunk. A row holds the trunk once and then one branch a reply
(assistant header, system thinking, reply). A branch takes the positions that follow its place in the trunk, and sees
that part of the trunk and itself. Tokens come from `apply_chat_template` alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from jinja2 import TemplateError

from her_hf.dual_layer import ENVIRONMENT, Issue, Layer, Turn, parse_turn
from her_hf.scenes.trimming import Message

from .templates import training_template
from .window import WindowError, fit_window

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""Label of a token that is not trained."""

_STRAY = frozenset({Issue.MISPLACED_SYSTEM_THINKING, Issue.REPEATED_SYSTEM_THINKING})


class Row(TypedDict):
    """One row for the trainer.

    `branches` holds `[start, end, sees]` a reply: its span in the row, and how many tokens of the trunk it sees.
    `reply_ids` holds the index in `messages` of the reply of each branch. `weights`, where tokens of a reply do
    not count alike, holds what each counts; those of a branch add up to 1 at most.
    """

    input_ids: list[int]
    position_ids: list[int]
    labels: list[int]
    trunk_len: int
    branches: list[list[int]]
    reply_ids: list[int]
    weights: NotRequired[list[float]]


@dataclass
class RowReport:
    """What became of the replies; nothing is left out without being counted here.

    Args:
        conversations (`int`): Conversations read.
        replies (`int`): Replies that are trained.
        rows (`int`): Rows they lie in.
        tokens (`int`): Tokens of all rows.
        per_reply_tokens (`int`): Tokens of the same replies as samples of their own.
        trained_tokens (`int`): Tokens with a label.
        own_rows (`int`): Replies in a row of their own because their prompt is no prefix of the trunk.
        other_window (`int`): Replies moved to another row because they need another window.
        row_full (`int`): Replies moved to another row because the row was full.
        shortened (`int`): Replies whose oldest turns were dropped.
        dropped_turns (`int`): Turns dropped, summed over those replies.
        left_out (`int`): Replies left out because they do not fit into the window even alone.
        environment (`int`): Assistant messages of the Environment, never trained.
        history (`int`): Assistant messages that the caller did not want trained.
        unprompted (`int`): Assistant messages that open a conversation without any prompt, never trained: history.
        empty (`int`): Assistant messages in which nothing is thought, done or said, never trained.
        without_thinking (`int`): Replies trained without system thinking, as after a prompt that does not open it.
        stray_thinking (`int`): Replies with system thinking elsewhere than once at their front, which no template
            shows, so that it is not trained.
        left_out_replies (`list[str]`): Name of each reply left out: `"conversation:index"`.
    """

    conversations: int = 0
    replies: int = 0
    rows: int = 0
    tokens: int = 0
    per_reply_tokens: int = 0
    trained_tokens: int = 0
    own_rows: int = 0
    other_window: int = 0
    row_full: int = 0
    shortened: int = 0
    dropped_turns: int = 0
    left_out: int = 0
    environment: int = 0
    history: int = 0
    unprompted: int = 0
    empty: int = 0
    without_thinking: int = 0
    stray_thinking: int = 0
    left_out_replies: list[str] = field(default_factory=list)

    @property
    def token_ratio(self) -> float | None:
        """How many times fewer tokens than per-reply samples; `None` without rows."""
        return self.per_reply_tokens / self.tokens if self.tokens else None

    def add(self, other: RowReport) -> None:
        """Adds the counts of `other` to this report."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, Any]:
        """The counts and the token ratio, for JSON."""
        return {**asdict(self), "token_ratio": self.token_ratio}


class Rows(list[Row]):
    """The rows of a conversation, with the `report` that counts what became of its replies."""

    def __init__(self, rows: Iterable[Row] = (), report: RowReport | None = None) -> None:
        super().__init__(rows)
        self.report = report or RowReport()


@dataclass(frozen=True, slots=True)
class _Sample:
    """A reply as per-reply training sees it: its tokens, and where the history in them ends."""

    index: int
    ids: list[int]
    trained: list[bool]
    history_len: int
    dropped: int
    thinks: bool

    @property
    def history(self) -> list[int]:
        return self.ids[: self.history_len]

    @property
    def branch_len(self) -> int:
        return len(self.ids) - self.history_len


def build(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    row_length: int | None = None,
    one_pass: bool = True,
    name: str = "conversation",
    names: Sequence[str] = (),
    trained: Container[int] | None = None,
    **template_kwargs: Any,
) -> Rows:
    """Builds the rows of one conversation.

    Args:
        messages (`Sequence[Mapping]`): The conversation. Its assistant messages are trained, save the Environment's,
            empty ones and one that opens it: nothing stands before it that a model could answer.
        tokenizer (`PreTrainedTokenizerBase`): Carries the HER chat template.
        max_length (`int`, *optional*): The window: what a reply may see and be, in tokens. The oldest turns go
            whole to fit. `row_length` if that is less.
        row_length (`int`, *optional*): Most tokens of a row, trunk and branches; `max_length` if not given. Branches
            that find no room go to another row with the same trunk, so no history is lost to it.
        one_pass (`bool`, *optional*, defaults to `True`): `False` gives each reply a row of its own: the ordinary way.
        name (`str`, *optional*): Names the conversation in the report and in errors.
        names (`Sequence[str]`, *optional*): Who speaks in it; see [`~her_hf.processing.window.fit_window`].
        trained (`Container[int]`, *optional*): Indices in `messages` of the replies that are trained; all if not
            given.
        **template_kwargs: Passed to `apply_chat_template`.

    Returns:
        [`Rows`]: A list of rows, `input_ids, position_ids, labels, trunk_len, branches, reply_ids` each, and its
            `report`.

    Raises:
        `ValueError`: If the template refuses a message or marks no tokens of a reply, or a prompt is no prefix of
            the sample it begins; the message names the conversation and the reply.

    Example:

    ```python
    >>> rows = build(scene.messages_for("Ann"), tokenizer, max_length=4096)
    >>> rows.report.token_ratio
    2.7
    ```
    """
    report = RowReport(conversations=1)
    window = min((length for length in (max_length, row_length) if length is not None), default=None)
    sampler = _Sampler(tokenizer, template_kwargs, window, names)
    samples: list[_Sample] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if trained is not None and index not in trained:
            report.history += 1
            continue
        turn = _turn(message, names)
        if turn.name == ENVIRONMENT:
            report.environment += 1
            continue
        if all(segment.layer is Layer.SYSTEM_THINKING for segment in turn.segments):
            report.empty += 1
            continue
        if index == 0:
            report.unprompted += 1
            continue
        try:
            samples.append(sampler.sample(messages, index))
        except WindowError:
            report.left_out += 1
            report.left_out_replies.append(f"{name}:{index}")
        except (ValueError, TemplateError) as error:
            raise ValueError(f"{name}, reply {index}: {error}") from error
        else:
            report.stray_thinking += not _STRAY.isdisjoint(turn.issues)
    room = row_length if row_length is not None else max_length
    rows = [_row(group) for group in _groups(samples, room, one_pass, report)]
    report.replies = len(samples)
    report.rows = len(rows)
    report.tokens = sum(len(row["input_ids"]) for row in rows)
    report.per_reply_tokens = sum(len(sample.ids) for sample in samples)
    report.trained_tokens = sum(label != IGNORED for row in rows for label in row["labels"])
    report.shortened = sum(sample.dropped > 0 for sample in samples)
    report.dropped_turns = sum(sample.dropped for sample in samples)
    report.without_thinking = sum(not sample.thinks for sample in samples)
    return Rows(rows, report)


def take(row: Row, branches: Sequence[int]) -> Row:
    """The row with only the given branches, and no more trunk than they see.

    Args:
        row (`Row`): A row of [`build`].
        branches (`Sequence[int]`): Indices into `row["branches"]`, at least one.

    Returns:
        `Row`: A row that trains those replies exactly as the whole row does.
    """
    if len(branches) == len(row["branches"]):
        return row
    chosen = [row["branches"][index] for index in branches]
    trunk_len = max(sees for _, _, sees in chosen)
    part = Row(
        input_ids=row["input_ids"][:trunk_len],
        position_ids=row["position_ids"][:trunk_len],
        labels=row["labels"][:trunk_len],
        trunk_len=trunk_len,
        branches=[],
        reply_ids=[row["reply_ids"][index] for index in branches],
    )
    if "weights" in row:
        part["weights"] = row["weights"][:trunk_len]
    for start, end, sees in chosen:
        at = len(part["input_ids"])
        part["input_ids"] += row["input_ids"][start:end]
        part["position_ids"] += row["position_ids"][start:end]
        part["labels"] += row["labels"][start:end]
        if "weights" in row:
            part["weights"] += row["weights"][start:end]
        part["branches"].append([at, at + end - start, sees])
    return part


class _Sampler:
    """Renders replies with one tokenizer, and remembers how long its generation prompt is."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template_kwargs: dict[str, Any],
        max_length: int | None,
        names: Sequence[str],
    ) -> None:
        self._tokenizer, self._kwargs, self._max_length = tokenizer, template_kwargs, max_length
        self._names = names
        template = tokenizer.get_chat_template(template_kwargs.get("chat_template"))
        self._marked = {**template_kwargs, "chat_template": training_template(template)}
        self._header_len: dict[bool, int] = {}

    def sample(self, messages: Sequence[Message], index: int) -> _Sample:
        """The sample of the reply at `index`, with as few of its oldest turns dropped as make it fit."""
        until = [dict(message) for message in messages[: index + 1]]
        ids, mask = self._whole(until)
        dropped = 0
        behind = (
            mask[::-1].index(1) if any(mask) else 0
        )  # what follows the end of turn is never seen, so it costs nothing
        if self._max_length is not None and len(ids) - behind > self._max_length:
            window = self._max_length + behind
            until, dropped = fit_window(until, self._tokenizer, window, names=self._names, **self._kwargs)
            ids, mask = self._whole(until)
        prompt, thinks = self._prompt(until[:-1], ids)
        if not any(mask[len(prompt) :]):
            raise ValueError(
                "the chat template marks no token of it for training. Its {% generation %} block must hold the last "
                "assistant turn: attach the HER template (her-hf attach)."
            )
        end = len(ids) - behind
        trained = [bool(marked) and at >= len(prompt) for at, marked in enumerate(mask[:end])]
        history_len = len(prompt) - self._header(until[:-1], thinks)
        return _Sample(index, ids[:end], trained, history_len, dropped, thinks)

    def _whole(self, messages: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
        rendered = self._tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **self._marked
        )
        return list(rendered["input_ids"]), list(rendered["assistant_masks"])

    def _ids(self, messages: list[dict[str, Any]], **extra: Any) -> list[int]:
        kwargs = {**self._kwargs, **extra}
        return list(
            self._tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **kwargs)["input_ids"]
        )

    def _prompt(self, history: list[dict[str, Any]], whole: list[int]) -> tuple[list[int], bool]:
        """The prompt that the reply answers, and whether it opens system thinking."""
        for thinks in (True, False):
            extra = {} if thinks else {"enable_thinking": False}
            prompt = self._ids(history, add_generation_prompt=True, **extra)
            if whole[: len(prompt)] == prompt:
                return prompt, thinks
        raise ValueError(
            "its prompt is no prefix of the sample it begins, so training would not "
            "see what generation sees. The prompt ends in "
            f"{self._tokenizer.decode(self._ids(history, add_generation_prompt=True)[-8:])!r}. Attach the HER "
            "template (her-hf attach), whose prompts end at a token boundary."
        )

    def _header(self, history: list[dict[str, Any]], thinks: bool) -> int:
        """Tokens of the generation prompt (assistant header and prefill); measured once, as it does not change."""
        if thinks not in self._header_len:
            asked = [*history, {"role": "user", "content": "?"}]  # a reply that ends a history is shown as trained
            extra = {} if thinks else {"enable_thinking": False}
            before = self._ids(asked, add_generation_prompt=False)
            prompt = self._ids(asked, add_generation_prompt=True, **extra)
            if prompt[: len(before)] != before or len(before) == len(prompt):
                raise ValueError(
                    "the chat template does not append its generation prompt to the history, so replies cannot "
                    "branch off it. Attach the HER template (her-hf attach)."
                )
            self._header_len[thinks] = len(prompt) - len(before)
        return self._header_len[thinks]


def _turn(message: Message, names: Sequence[str]) -> Turn:
    """What a message says, and who says it."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
    turn = parse_turn(content, names=names)
    return replace(turn, name=message["name"]) if message.get("name") else turn


def _groups(samples: Sequence[_Sample], room: int | None, one_pass: bool, report: RowReport) -> list[list[_Sample]]:
    """Which replies share a row: those of one window whose history is a prefix of the trunk, while there is room."""
    if not one_pass:
        return [[sample] for sample in samples]
    groups: list[list[_Sample]] = []
    for window in _windows(samples):
        if groups:
            report.other_window += len(window)
        trunk = window[-1].history
        shared = [sample for sample in window if trunk[: sample.history_len] == sample.history]
        alone = [sample for sample in window if trunk[: sample.history_len] != sample.history]
        report.own_rows += len(alone)
        parts = _fill(shared, room)
        report.row_full += sum(len(part) for part in parts[1:])
        groups += parts + [[sample] for sample in alone]
    return sorted(groups, key=lambda group: group[0].index)


def _windows(samples: Sequence[_Sample]) -> list[list[_Sample]]:
    """Runs of replies that dropped the same number of turns."""
    runs: list[list[_Sample]] = []
    for sample in samples:
        if runs and runs[-1][0].dropped == sample.dropped:
            runs[-1].append(sample)
        else:
            runs.append([sample])
    return runs


def _fill(samples: Sequence[_Sample], room: int | None) -> list[list[_Sample]]:
    """Cuts a run of replies into rows of at most `room` tokens; a row's trunk ends where its last reply begins."""
    parts: list[list[_Sample]] = []
    branches = 0
    for sample in samples:
        if parts and (room is None or sample.history_len + branches + sample.branch_len <= room):
            parts[-1].append(sample)
            branches += sample.branch_len
        else:
            parts.append([sample])
            branches = sample.branch_len
    return parts


def _row(samples: Sequence[_Sample]) -> Row:
    """Trunk and branches of one group, the trunk being the history of its last reply."""
    trunk = samples[-1].history
    row = Row(
        input_ids=list(trunk),
        position_ids=list(range(len(trunk))),
        labels=[IGNORED] * len(trunk),
        trunk_len=len(trunk),
        branches=[],
        reply_ids=[sample.index for sample in samples],
    )
    for sample in samples:
        start, sees = len(row["input_ids"]), sample.history_len
        row["input_ids"] += sample.ids[sees:]
        row["position_ids"] += range(sees, len(sample.ids))
        row["labels"] += [
            token if trained else IGNORED
            for token, trained in zip(sample.ids[sees:], sample.trained[sees:], strict=True)
        ]
        row["branches"].append([start, start + sample.branch_len, sees])
    return row
