"""One conversation between a visitor and a character: history, replies, and every change of them on disk."""

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
"""Who the visitor is when the scene has no one else to be."""


class Session:
    """A conversation in a scene. The model sees it exactly as training showed it: `Scene.messages_for` writes the
    prompt.

    Args:
        scene (`Scene`): The scene; its own dialogue is not used unless handed over as `opening`.
        character (`str`): Whom the model plays, one of the cast.
        model (`ChatModel`): See [`open_model`].
        visitor (`str`, *optional*): Whom the visitor plays: another one of the cast, or any name.
        visitor_profile (`str`, *optional*): Who a visitor of any name is, for the character to know.
        opening (`Sequence[Turn]`, *optional*): Turns the conversation begins with, for example `scene.dialogue[:4]`.
        sampling (`Sampling`, *optional*): How replies are drawn. A seed fixes the whole conversation, while asking
            again for the same turn still draws anew.
        thinking (`bool`, *optional*, defaults to `True`): Whether the character plans in system thinking first.
        max_context_tokens (`int`, *optional*): Most tokens of prompt and reply together; without it the model's own
            window.
        log (`str` or `Path`, *optional*): A new file that every change is written to at once.

    Raises:
        `ValueError`: If the character is not in the cast, or the visitor's name cannot be one.
        `FileExistsError`: If the log is another session's.

    Example:

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
            raise ValueError(f"You cannot be {self.visitor!r}: choose another one of the cast, or a name of your own.")
        if self.visitor not in others:  # in training everyone who speaks is in the cast
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

    # -- what there is

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The history."""
        return tuple(self._turns)

    @property
    def names(self) -> list[str]:
        """Everyone who can speak here: cast, visitor, Environment."""
        return list(dict.fromkeys([*(member.name for member in self.scene.cast), self.visitor, ENVIRONMENT]))

    @property
    def awaits_reply(self) -> bool:
        """Whether it is the character's turn to speak; so it is when nobody has spoken yet."""
        return not self._turns or self._turns[-1].name != self.character

    @property
    def log_path(self) -> Path | None:
        """The file every change is written to."""
        return self._log.path if self._log else None

    def messages(self) -> list[Message]:
        """The untrimmed context of the character's next turn, as training saw such contexts."""
        return self._messages(self._context())

    async def prompt(self) -> Prompt:
        """The exact prompt that the next reply, or the character's last turn, is written from."""
        return (await self._fit(self._context())).prompt

    # -- changes

    def say(self, text: str, *, name: str | None = None) -> Turn:
        """Adds what the visitor typed, as `name` if given (Environment narrates); see [`read_typed`].

        Raises:
            `ValueError`: If there is nothing in it, or `name` is the character's.
        """
        name = name or self.visitor
        if name == self.character:
            raise ValueError(f"{name!r} is played by the model; edit a turn to change its words.")
        turn = read_typed(received(text), name, self.names)
        self._put(len(self._turns), turn)
        return turn

    def edit(self, index: int, text: str) -> Turn:
        """Gives turn `index` a new text; later turns stay as they are.

        Raises:
            `IndexError`: If there is no such turn.
            `ValueError`: If the text cannot be that turn.
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
        """Takes back the last exchange: the character's last turn and what was said just before it. The opening stays.

        Returns:
            `list[Turn]`: What was taken back; empty if there was nothing.
        """
        keep = len(self._turns)
        if keep > len(self._opening) and self._turns[keep - 1].name == self.character:
            keep -= 1
        while keep > len(self._opening) and self._turns[keep - 1].name != self.character:
            keep -= 1
        return self._keep(keep)

    def clear(self) -> list[Turn]:
        """Goes back to the opening as it was at first, and returns the turns that were taken back or replaced."""
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
            `Event`: [`TurnStarted`], perhaps [`Trimmed`], [`Delta`]s, and last [`TurnFinished`] or [`Failed`].
                Closing the generator or cancelling its task stops the model; the history is then as before.

        Raises:
            `ValueError`: If the character has just spoken.
        """
        if not self.awaits_reply:
            raise ValueError(f"{self.character} has just spoken: say something, or regenerate that turn.")
        async with aclosing(self._answer(self._context())) as events:
            async for event in events:
                yield event

    async def regenerate(self) -> AsyncGenerator[Event, None]:
        """Draws the character's last turn anew; the old one stays until then. After a failure: asks again."""
        async with aclosing(self._answer(self._context())) as events:
            async for event in events:
                yield event

    def _context(self) -> list[Turn]:
        """The turns before the reply that is, or was last, to be written."""
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
        """Each turn and each try has its own seed, from the session's."""
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
        """Writes the session as it now stands, without what was undone or failed, to a log that can be continued.

        Raises:
            `FileExistsError`: If the file is there already; nothing written is overwritten.
        """
        path = Path(path).expanduser()
        if path.exists() and path.stat().st_size:
            raise FileExistsError(f"{path} is there already: name another file.")
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
        """Goes on with a logged session; new records go to the same file.

        Args:
            path (`str` or `Path`): A session's log.
            model (`ChatModel`): May be another one than before.
            sampling (`Mapping`, *optional*): Settings of [`Sampling`] that replace the logged ones; the others stay.
            thinking (`bool`, *optional*): Replaces the logged one.
            max_context_tokens (`int`, *optional*): Replaces the logged one.

        Raises:
            `FileNotFoundError`, `ValueError`: See [`read_log`]; a record that no session writes is a `ValueError` too,
                which names its line and field, and so is a setting out of range.
        """
        path = Path(path).expanduser()
        header, *records = read_log(path)
        with naming(path, 1):
            begun = Header.model_validate(header)
            session = cls(
                begun.scene,
                begun.character,
                model,
                visitor=begun.visitor,
                opening=begun.opening,
                sampling=begun.sampling,
                thinking=begun.thinking if thinking is None else thinking,
                max_context_tokens=max_context_tokens or begun.max_context_tokens,
            )
        for number, record in enumerate(records, 2):
            with naming(path, number):
                session._replay(record)
        session.sampling = replace(session.sampling, **(sampling or {}))
        session._log = Log(path, fresh=False)
        session._write({"kind": "continued", **session._settings()})
        return session

    def _settings(self) -> Record:
        """What may be another one whenever the session is gone on with."""
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
        most = len(self._turns)
        if isinstance(change, TurnChange):
            if change.index > most:
                raise ValueError(f"index: there are {most} turns before it, got {change.index}")
            check_turn(change.turn, self.character, self.names)
            self._turns[change.index : change.index + 1] = [change.turn]
            self._asked[change.index] += change.reply is not None
        elif isinstance(change, KeepChange):
            if change.turns > most:
                raise ValueError(f"turns: there are {most} turns before it, got {change.turns}")
            del self._turns[change.turns :]
        elif change is not None:
            self._asked[change.index] += 1

    def _put(self, index: int, turn: Turn, **about: Any) -> None:
        """Sets turn `index`, on disk first: what is shown as done is never lost."""
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
