"""One-pass rows: a conversation as one shared trunk and a branch for each reply.

HER trains each reply as its own sample with the whole history before it. History never shows system thinking, so the
samples of a conversation share their prefix: the trunk. A row holds the trunk once and then one branch a reply
(assistant header, system thinking, reply). A branch has the positions that follow its place in the trunk, and attends
to that part of the trunk and to itself. All tokens come from `apply_chat_template`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from her_hf.dual_layer import ENVIRONMENT, Issue, Layer, Turn, parse_turn
from her_hf.scenes.trimming import Message

from .templates import training_template
from .trunk import IGNORED, Row, Sample, build_row
from .window import WindowError, fit_window, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_STRAY = frozenset({Issue.MISPLACED_SYSTEM_THINKING, Issue.REPEATED_SYSTEM_THINKING})


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
        own_rows (`int`): Replies in a row of their own because their history is not a prefix of the trunk.
        other_window (`int`): Replies moved to another row because they need another window.
        row_full (`int`): Replies moved to another row because the row was full.
        shortened (`int`): Replies whose oldest turns were dropped.
        dropped_turns (`int`): Turns dropped, summed over those replies.
        left_out (`int`): Replies left out because they do not fit into the window even without history.
        environment (`int`): Assistant messages of the Environment, never trained.
        history (`int`): Assistant messages that the caller excluded from training.
        unprompted (`int`): Assistant messages that open a conversation without any prompt, never trained: history.
        empty (`int`): Assistant messages in which nothing is thought, done or said, never trained.
        without_thinking (`int`): Replies trained without system thinking, as after a prompt that does not open it.
        stray_thinking (`int`): Replies with system thinking elsewhere than once at their start, which no template
            renders, so that it is not trained.
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
class _Reply(Sample):
    """A reply with its prompt, and what was done to make it fit.

    Args:
        dropped (`int`): Turns dropped to fit the window.
        thinks (`bool`): Whether its prompt opens system thinking.
    """

    dropped: int = 0
    thinks: bool = True


def build(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_context: int | None = None,
    row_tokens: int | None = None,
    one_pass: bool = True,
    name: str = "conversation",
    names: Sequence[str] = (),
    trained: Container[int] | None = None,
    **template_kwargs: Any,
) -> Rows:
    """Builds the rows of one conversation.

    Args:
        messages (`Sequence[Mapping]`): The conversation. Its assistant messages are trained, save the Environment's,
            empty ones and one that opens it, before which there is nothing to answer.
        tokenizer (`PreTrainedTokenizerBase`): Carries the HER chat template.
        max_context (`int`, *optional*): The window: most tokens of a prompt and its reply together. The oldest
            turns are dropped whole to fit. `row_tokens` if that is less.
        row_tokens (`int`, *optional*): Most tokens of a row, trunk and branches; `max_context` if not given. Branches
            that do not fit are moved to another row with the same trunk, so no history is lost.
        one_pass (`bool`, *optional*, defaults to `True`): `False` gives each reply a row of its own, as ordinary
            training does.
        name (`str`, *optional*): Names the conversation in the report and in errors.
        names (`Sequence[str]`, *optional*): Who speaks in it; see [`~her_hf.processing.window.fit_window`].
        trained (`Container[int]`, *optional*): Indices in `messages` of the replies that are trained; all if not
            given.
        **template_kwargs: Passed to `apply_chat_template`.

    Returns:
        [`Rows`]: A list of rows, `input_ids, position_ids, labels, trunk_len, branches, reply_ids` each, and its
            `report`.

    Raises:
        `ValueError`: If the template refuses a message or marks no tokens of a reply, or a prompt is not a prefix
            of its sample; the message names the conversation and the reply.

    Example (not run: it needs a model):

    ```python
    >>> rows = build(scene.messages_for("Ann"), tokenizer, max_context=4096)
    >>> rows.report.token_ratio
    2.7
    ```
    """
    report = RowReport(conversations=1)
    window = min((length for length in (max_context, row_tokens) if length is not None), default=None)
    sampler = _Sampler(tokenizer, template_kwargs, window, names)
    samples: list[_Reply] = []
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
    room = row_tokens if row_tokens is not None else max_context
    rows = [build_row(group) for group in _groups(samples, room, one_pass, report)]
    report.replies = len(samples)
    report.rows = len(rows)
    report.tokens = sum(len(row["input_ids"]) for row in rows)
    report.per_reply_tokens = sum(len(sample.ids) for sample in samples)
    report.trained_tokens = sum(label != IGNORED for row in rows for label in row["labels"])
    report.shortened = sum(sample.dropped > 0 for sample in samples)
    report.dropped_turns = sum(sample.dropped for sample in samples)
    report.without_thinking = sum(not sample.thinks for sample in samples)
    return Rows(rows, report)


class _Sampler:
    """Renders replies with one tokenizer, and remembers how long its generation prompt is."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template_kwargs: dict[str, Any],
        max_context: int | None,
        names: Sequence[str],
    ) -> None:
        self._tokenizer, self._kwargs, self._max_context = tokenizer, template_kwargs, max_context
        self._names = names
        template = tokenizer.get_chat_template(template_kwargs.get("chat_template"))
        self._marked = {**template_kwargs, "chat_template": training_template(template)}
        self._header_len: dict[bool, int] = {}

    def sample(self, messages: Sequence[Message], index: int) -> _Reply:
        """The sample of the reply at `index`, with as few of its oldest turns dropped as make it fit."""
        until = [dict(message) for message in messages[: index + 1]]
        ids, mask = self._whole(until)
        dropped = 0
        # What follows the end of the turn is never generated, so it takes no room.
        behind = mask[::-1].index(1) if any(mask) else 0
        if self._max_context is not None and len(ids) - behind > self._max_context:
            window = self._max_context + behind
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
        # A branch holds the token before the first trained one, which predicts it, also where a reply has no header.
        history_len = len(prompt) - max(1, self._header(until[:-1], thinks))
        return _Reply(ids[:end], trained, history_len, index, dropped=dropped, thinks=thinks)

    def _whole(self, messages: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
        rendered = self._tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **self._marked
        )
        return list(rendered["input_ids"]), list(rendered["assistant_masks"])

    def _ids(self, messages: list[dict[str, Any]], **extra: Any) -> list[int]:
        return token_ids(messages, self._tokenizer, **{**self._kwargs, **extra})

    def _prompt(self, history: list[dict[str, Any]], whole: list[int]) -> tuple[list[int], bool]:
        """The prompt that the reply answers, and whether it opens system thinking."""
        for thinks in (True, False):
            extra = {} if thinks else {"enable_thinking": False}
            prompt = self._ids(history, add_generation_prompt=True, **extra)
            if whole[: len(prompt)] == prompt:
                return prompt, thinks
        raise ValueError(
            "its prompt is not a prefix of its sample, so training would not "
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
            if prompt[: len(before)] != before or (thinks and len(before) == len(prompt)):
                raise ValueError(
                    "the chat template does not append its generation prompt to the history, so replies cannot "
                    "branch off it. Attach the HER template (her-hf attach)."
                )
            self._header_len[thinks] = len(prompt) - len(before)
        return self._header_len[thinks]


def _turn(message: Message, names: Sequence[str]) -> Turn:
    """The turn of a message, with its speaker."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
    turn = parse_turn(content, names=names)
    return replace(turn, name=message["name"]) if message.get("name") else turn


def _groups(samples: Sequence[_Reply], room: int | None, one_pass: bool, report: RowReport) -> list[list[_Reply]]:
    """The replies that share a row: those of one window whose history is a prefix of the trunk, while they fit."""
    if not one_pass:
        return [[sample] for sample in samples]
    groups: list[list[_Reply]] = []
    for window in _windows(samples):
        if groups:
            report.other_window += len(window)
        trunk = window[-1].trunk
        shared = [sample for sample in window if trunk[: sample.shared] == sample.trunk]
        alone = [sample for sample in window if trunk[: sample.shared] != sample.trunk]
        report.own_rows += len(alone)
        parts = _fill(shared, room)
        report.row_full += sum(len(part) for part in parts[1:])
        groups += parts + [[sample] for sample in alone]
    return sorted(groups, key=lambda group: group[0].reply_id)


def _windows(samples: Sequence[_Reply]) -> list[list[_Reply]]:
    """Runs of replies that dropped the same number of turns."""
    runs: list[list[_Reply]] = []
    for sample in samples:
        if runs and runs[-1][0].dropped == sample.dropped:
            runs[-1].append(sample)
        else:
            runs.append([sample])
    return runs


def _fill(samples: Sequence[_Reply], room: int | None) -> list[list[_Reply]]:
    """Divides a run of replies into rows of at most `room` tokens; a row's trunk ends where its last reply begins."""
    parts: list[list[_Reply]] = []
    branches = 0
    for sample in samples:
        if parts and (room is None or sample.shared + branches + sample.branch_len <= room):
            parts[-1].append(sample)
            branches += sample.branch_len
        else:
            parts.append([sample])
            branches = sample.branch_len
    return parts
