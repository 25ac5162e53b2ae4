"""One conversation between a visitor and a character: history, replies, and every change on disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn, TurnStream
from her_hf.durable import derive_seed
from her_hf.inference import ChatModel, Message, ModelError, Prompt, Reply, Sampling
from her_hf.inference.window import Fitted, WindowFull, fit
from her_hf.scenes import Character, Scene
from her_hf.scenes.names import check_name

from .answers import about, deltas_of, received, why_empty
from .context import context_messages, prompt_limit
from .events import Event, Failed, Trimmed, TurnFinished, TurnStarted
from .log import VERSION, Log, Record, dump_turn, read_log, write_whole
from .records import Header, KeepChange, TurnChange, check_speaker, check_turn, naming, read_change
from .typed import read_edited, read_typed

STRANGER = {"en": "Stranger", "zh": "陌生人"}
"""The visitor's name if the scene has no other role."""


class Session:
    """A conversation in a scene. The model sees it as in training: `Scene.messages_for` writes the prompt.

    Args:
        scene (`Scene`): The scene; its own dialogue is not used unless passed as `opening`.
        character (`str`): Whom the model plays, a member of the cast.
        model (`ChatModel`): See [`open_model`].
        visitor (`str`, *optional*): Whom the visitor plays: another member of the cast, or any name.
        visitor_profile (`str`, *optional*): A description of a visitor who is not in the cast, for the character.
        opening (`Sequence[Turn]`, *optional*): First turns of the conversation, for example `scene.dialogue[:4]`.
        sampling (`Sampling`, *optional*): How replies are sampled. A seed fixes the whole conversation; each attempt
            at the same turn still has its own sample.
        thinking (`bool`, *optional*, defaults to `True`): Whether the character first plans in system thinking.
        max_context_tokens (`int`, *optional*): Maximum tokens of prompt and reply together; by default the window of
            the model.
        log (`str` or `Path`, *optional*): A new file to which every change is written immediately.

    Raises:
        `ValueError`: If the character is not in the cast, or the visitor's name is not valid.
        `FileExistsError`: If the log belongs to another session.

    Example (not run: it needs a model):

    ```python
    >>> session = Session(scene, "Mr. Darcy", model, visitor="Elizabeth Bennet")
    >>> session.say("(turns) You here, sir?")
    >>> async for event in session.reply():
    ...     print(event)
    ```
    """

    def __init__(
        self,
        scene: Scene,
        character: str,
        model: ChatModel,
        *,
        visitor: str | None = None,
        visitor_profile: str = "",
        opening: Sequence[Turn] = (),
        sampling: Sampling | None = None,
        thinking: bool = True,
        max_context_tokens: int | None = None,
        log: str | Path | None = None,
    ) -> None:
        playable = [member.name for member in scene.characters]
        if character not in playable:
            raise ValueError(f"{character!r} is not in the cast of this scene. Choose one of: {', '.join(playable)}")
        others = [name for name in playable if name != character]
        if visitor is not None and visitor not in others:
            visitor = check_name(visitor)
        self.visitor = visitor or (others or [STRANGER[scene.language]])[0]
        taken = (character.casefold(), ENVIRONMENT.casefold())
        if self.visitor not in others and self.visitor.casefold() in taken:
            raise ValueError(f"You cannot be {self.visitor!r}: choose another member of the cast, or any other name.")
        if self.visitor not in others:  # in training every speaker is in the cast
            scene = scene.model_copy(
                update={"cast": [*scene.cast, Character(name=self.visitor, profile=visitor_profile)]}
            )
        self.scene, self.character, self.model = scene, character, model
        self.sampling = sampling or Sampling()
        self.thinking = thinking
        self.max_context_tokens = max_context_tokens
        self._opening = tuple(opening)
        for number, turn in enumerate(self._opening):
            check_speaker(turn, self.names, f"opening[{number}]")
        self._turns = list(self._opening)
        self._asked: Counter[int] = Counter()
        self._log = Log(Path(log).expanduser(), fresh=True) if log is not None else None

    # -- state

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The history."""
        return tuple(self._turns)

    @property
    def names(self) -> list[str]:
        """All possible speakers: cast, visitor, Environment."""
        return list(dict.fromkeys([*(member.name for member in self.scene.cast), self.visitor, ENVIRONMENT]))

    @property
    def awaits_reply(self) -> bool:
        """Whether it is the character's turn to speak, also before the first turn."""
        return not self._turns or self._turns[-1].name != self.character

    @property
    def log_path(self) -> Path | None:
        """The file to which every change is written."""
        return self._log.path if self._log else None

    def messages(self) -> list[Message]:
        """The untrimmed context of the character's next turn, in the form used for training."""
        return self._messages(self._context())

    async def prompt(self) -> Prompt:
        """The exact prompt of the next reply, or of the character's last turn."""
        return (await self._fit(self._context())).prompt

    # -- changes

    def say(self, text: str, *, name: str | None = None) -> Turn:
        """Adds what the visitor typed, as `name` if given (Environment narrates); see [`read_typed`].

        Raises:
            `ValueError`: If the text is empty, or `name` is the character's.
        """
        name = name or self.visitor
        if name == self.character:
            raise ValueError(f"{name!r} is played by the model; edit a turn to change its text.")
        turn = read_typed(received(text), name, self.names)
        self._put(len(self._turns), turn)
        return turn

    def edit(self, index: int, text: str) -> Turn:
        """Replaces the text of turn `index`; later turns are not changed.

        Raises:
            `IndexError`: If there is no such turn.
            `ValueError`: If the text is not valid for that turn.
        """
        if not 0 <= index < len(self._turns):
            raise IndexError(f"There is no turn {index}: the conversation has {len(self._turns)}.")
        old, text = self._turns[index], received(text)
        if old.name == self.character:
            turn = read_edited(text, old, self.names)
        else:
            turn = replace(read_typed(text, old.name or self.visitor, self.names), origin_id=old.origin_id)
        self._put(index, turn)
        return turn

    def undo(self) -> list[Turn]:
        """Removes the last exchange: the character's last turn and the turns before it. The opening is kept.

        Returns:
            `list[Turn]`: The removed turns; empty if there were none.
        """
        keep = len(self._turns)
        if keep > len(self._opening) and self._turns[keep - 1].name == self.character:
            keep -= 1
        while keep > len(self._opening) and self._turns[keep - 1].name != self.character:
            keep -= 1
        return self._keep(keep)

    def clear(self) -> list[Turn]:
        """Resets the conversation to its original opening; returns the turns that were removed or replaced."""
        pairs = zip(self._turns, self._opening, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        gone = self._keep(same)
        for turn in self._opening[same:]:
            self._put(len(self._turns), turn)
        return gone

    # -- replies

    async def reply(self) -> AsyncGenerator[Event, None]:
        """Lets the character speak.

        Yields:
            `Event`: [`TurnStarted`], possibly [`Trimmed`], [`Delta`]s, and finally [`TurnFinished`] or [`Failed`].
                Closing the generator or cancelling its task stops the model; the history is then unchanged.

        Raises:
            `ValueError`: If the character has just spoken.
        """
        if not self.awaits_reply:
            raise ValueError(f"{self.character} has just spoken: say something, or regenerate the last turn.")
        async with aclosing(self._answer(self._context())) as events:
            async for event in events:
                yield event

    async def regenerate(self) -> AsyncGenerator[Event, None]:
        """Generates the character's last turn again, which replaces the old one; after a failure, retries it."""
        async with aclosing(self._answer(self._context())) as events:
            async for event in events:
                yield event

    def _context(self) -> list[Turn]:
        """The turns before the next reply, or before the last one if the character has just spoken."""
        return self._turns[:] if self.awaits_reply else self._turns[:-1]

    async def _answer(self, context: list[Turn]) -> AsyncGenerator[Event, None]:
        index = len(context)
        sampling = self._sampling_of(index)
        self._asked[index] += 1
        written: list[str] = []
        reply: Reply | None = None
        stream = TurnStream(prefilled=False, speaker=self.character, names=self.names)
        yield TurnStarted(index, self.character)
        try:
            fitted = await self._fit(context)
            if fitted.dropped:
                trimmed = Trimmed(fitted.dropped, fitted.prompt.tokens, await self._limit() or 0)
                self._write({"kind": "trimmed", "index": index, **asdict(trimmed)})
                yield trimmed
            async with aclosing(
                self.model.stream(fitted.messages, sampling=sampling, thinking=self.thinking)
            ) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        reply = piece
                        continue
                    written.append(received(piece))
                    for delta in deltas_of(stream.feed(written[-1])):
                        yield delta
        except (ModelError, WindowFull) as error:
            kind = error.kind if isinstance(error, ModelError) else "window"
            yield self._failed(index, kind, str(error), "".join(written))
            return
        except (asyncio.CancelledError, GeneratorExit):
            self._write({"kind": "stopped", "index": index, "reply": "".join(written)})
            raise
        turn = stream.close()
        for delta in deltas_of(stream.last_events):
            yield delta
        if reply is None or not turn.segments:
            yield self._failed(index, "empty", why_empty(turn, reply), "".join(written))
            return
        labelled = turn.name == self.character
        turn = replace(turn, name=self.character)
        self._put(index, turn, reply=about(reply, labelled=labelled))
        yield TurnFinished(index, turn, reply.ended, reply.usage, labelled)

    def _sampling_of(self, index: int) -> Sampling:
        """The sampling of a turn: each turn and each attempt has its own seed, derived from the session's."""
        if self.sampling.seed is None:
            return self.sampling
        return replace(self.sampling, seed=derive_seed(self.sampling.seed, index, self._asked[index]))

    def _failed(self, index: int, kind: str, message: str, text: str) -> Failed:
        self._write({"kind": "failed", "index": index, "cause": kind, "message": message, "reply": text})
        return Failed(kind, message, text)

    # -- the prompt

    def _messages(self, context: Sequence[Turn]) -> list[Message]:
        return context_messages(self.scene, self.character, context, self.names, thinking=self.thinking)

    async def _fit(self, context: Sequence[Turn]) -> Fitted:
        names = [member.name for member in self.scene.cast]
        return await fit(self._messages(context), self.model, await self._limit(), thinking=self.thinking, names=names)

    async def _limit(self) -> int | None:
        return await prompt_limit(self.model, self.max_context_tokens, self.sampling.max_tokens)

    # -- the log

    def save(self, path: str | Path) -> Path:
        """Writes the current session, without undone or failed turns, to a log that can be continued.

        Raises:
            `FileExistsError`: If the file exists and is not empty.
        """
        path = Path(path).expanduser()
        if path.exists() and path.stat().st_size:
            raise FileExistsError(f"{path} exists already: name another file.")
        turns = [{"kind": "turn", "index": index, "turn": dump_turn(turn)} for index, turn in enumerate(self._turns)]
        write_whole(path, [self._header(), *turns])
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: ChatModel,
        *,
        sampling: Mapping[str, Any] | None = None,
        thinking: bool | None = None,
        max_context_tokens: int | None = None,
    ) -> Session:
        """Continues a logged session; new records are appended to the same file.

        Args:
            path (`str` or `Path`): The log of a session.
            model (`ChatModel`): The model; it may differ from the logged one.
            sampling (`Mapping`, *optional*): Settings of [`Sampling`] that replace the logged ones.
            thinking (`bool`, *optional*): Replaces the logged setting.
            max_context_tokens (`int`, *optional*): Replaces the logged setting.

        Raises:
            `FileNotFoundError`, `ValueError`: See [`read_log`]. A record that no session writes and a setting out of
                range are a `ValueError` too; the message names line and field.
        """
        path = Path(path).expanduser()
        header, *records = read_log(path)
        with naming(path, 1):
            logged = Header.model_validate(header)
            session = cls(
                logged.scene,
                logged.character,
                model,
                visitor=logged.visitor,
                opening=logged.opening,
                sampling=logged.sampling,
                thinking=logged.thinking if thinking is None else thinking,
                max_context_tokens=max_context_tokens or logged.max_context_tokens,
            )
        for number, record in enumerate(records, 2):
            with naming(path, number):
                session._replay(record)
        session.sampling = replace(session.sampling, **(sampling or {}))
        session._log = Log(path, fresh=False)
        session._write({"kind": "continued", **session._settings()})
        return session

    def _settings(self) -> Record:
        """Settings that may change when a session is continued."""
        return {
            "model": self.model.name,
            "sampling": asdict(self.sampling),
            "thinking": self.thinking,
            "max_context_tokens": self.max_context_tokens,
        }

    def _header(self) -> Record:
        return {
            "kind": "session",
            "version": VERSION,
            "time": _now(),
            "character": self.character,
            "visitor": self.visitor,
            **self._settings(),
            "scene": self.scene.model_dump(mode="json"),
            "opening": [dump_turn(turn) for turn in self._opening],
        }

    def _replay(self, record: Record) -> None:
        change = read_change(record)
        count = len(self._turns)
        if isinstance(change, TurnChange):
            if change.index > count:
                raise ValueError(f"index: must be at most {count}, the number of turns before it, got {change.index}")
            check_turn(change.turn, self.character, self.names)
            self._turns[change.index : change.index + 1] = [change.turn]
            self._asked[change.index] += change.reply is not None
        elif isinstance(change, KeepChange):
            if change.turns > count:
                raise ValueError(f"turns: must be at most {count}, the number of turns before it, got {change.turns}")
            del self._turns[change.turns :]
        elif change is not None:
            self._asked[change.index] += 1

    def _put(self, index: int, turn: Turn, **about: Any) -> None:
        """Sets turn `index`, on disk first, so that a turn that was shown is never lost."""
        self._write({"kind": "turn", "index": index, "turn": dump_turn(turn), **about})
        self._turns[index : index + 1] = [turn]

    def _keep(self, keep: int) -> list[Turn]:
        gone = self._turns[keep:]
        if gone:
            self._write({"kind": "keep", "turns": keep})
            del self._turns[keep:]
        return gone

    def _write(self, record: Record) -> None:
        if self._log:
            header = [] if self._log.started else [self._header()]
            self._log.write(*header, {**record, "time": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
