"""One conversation between a visitor and a character: history, replies, and every change on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.inference import ChatModel, Continues
from her_hf.scenes.errors import listed

from .answers import received
from .events import Event, Failed
from .history import Alternative
from .limits import Limits
from .log import Record
from .replying import answer, draft
from .saved import branched, dumped, load_session, restored, save_session
from .state import State
from .typed import read_edited, read_typed


class Session(State):
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
        limits (`Limits`, *optional*): How large the session may become.
        log (`str` or `Path`, *optional*): A new file to which every change is written immediately.

    Raises:
        `ValueError`: If the character is not in the cast, the visitor's name is not valid, or a limit is exceeded.
        `FileExistsError`: If the log belongs to another session.

    Example (not run: it needs a model):

    ```python
    >>> session = Session(scene, "Mr. Darcy", model, visitor="Elizabeth Bennet")
    >>> session.say("(turns) You here, sir?")
    >>> async for event in session.reply():
    ...     print(event)
    ```
    """

    # -- changes

    def say(self, text: str, *, name: str | None = None) -> Turn:
        """Adds what the visitor typed, as `name` if given (Environment narrates); see [`read_typed`].

        Raises:
            `ValueError`: If the text is empty or too long, or `name` is the character's.
        """
        name = name or self.visitor
        if name == self.character:
            raise ValueError(f"{name!r} is played by the model; edit a turn to change its text.")
        self.limits.check_text(text, "text")
        turn = read_typed(received(text), name, self.names)
        self.check_room()
        self.history.put(len(self.history.turns), turn)
        return turn

    def edit(self, index: int, text: str) -> Turn:
        """Replaces the text of turn `index`; later turns are not changed.

        Raises:
            `IndexError`: If there is no such turn.
            `ValueError`: If the text is not valid for that turn.
        """
        if not 0 <= index < len(self.history.turns):
            raise IndexError(f"There is no turn {index}: the conversation has {len(self.history.turns)}.")
        self.limits.check_text(text, "text")
        old, text = self.history.turns[index], received(text)
        if self.spoken(index) and old.name != ENVIRONMENT:
            turn = read_edited(text, old, self.names)
        else:
            turn = replace(read_typed(text, old.name or self.visitor, self.names), origin_id=old.origin_id)
        self.history.put(index, turn)
        return turn

    def choose(self, number: int) -> Turn:
        """Puts another of the last reply's alternatives into the history.

        Args:
            number (`int`): Its index in `alternatives`.

        Raises:
            `IndexError`: If there is no such alternative.
            `ValueError`: If it broke off.
        """
        if self._alternative(number).finished:
            return self.history.choose(self.place, number)
        raise ValueError(f"Reply {number + 1} broke off and is in no prompt: continue it, or choose another.")

    def branch(self, index: int, *, log: str | Path | None = None) -> Session:
        """Another session with the turns up to and including turn `index`; this one is not changed.

        Args:
            index (`int`): The last turn that both share.
            log (`str` or `Path`, *optional*): A new file for the branch.

        Raises:
            `IndexError`: If there is no such turn.
        """
        if not 0 <= index < len(self.history.turns):
            raise IndexError(f"There is no turn {index}: the conversation has {len(self.history.turns)}.")
        return branched(self, index + 1, log)

    def undo(self) -> list[Turn]:
        """Removes the last exchange: the character's last turn and the turns before it. The opening is kept.

        Returns:
            `list[Turn]`: The removed turns; empty if there were none.
        """
        keep = len(self.history.turns)
        if keep > len(self.history.opening) and self.spoken(keep - 1):
            keep -= 1
        while keep > len(self.history.opening) and not self.spoken(keep - 1):
            keep -= 1
        return self.history.keep(keep)

    def clear(self) -> list[Turn]:
        """Resets the conversation to its original opening; returns the turns that were removed or replaced."""
        pairs = zip(self.history.turns, self.history.opening, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        gone = self.history.keep(same)
        for turn in self.history.opening[same:]:
            self.history.put(len(self.history.turns), turn)
        return gone

    # -- replies

    async def reply(self, speaker: str | None = None) -> AsyncGenerator[Event, None]:
        """Lets the character speak, or another member of the cast or Environment, whom the model then plays.

        Args:
            speaker (`str`, *optional*): Who speaks; by default the character.

        Yields:
            `Event`: [`TurnStarted`], possibly [`Trimmed`], [`Delta`]s, and finally [`TurnFinished`] or [`Failed`].
                Closing the generator or cancelling its task stops the model; the history is then unchanged, and what
                was written is an unfinished alternative.

        Raises:
            `ValueError`: If `speaker` has just spoken, is the visitor or not in the cast, or a limit is reached.
        """
        speaker = speaker or self.character
        if speaker == self.visitor or speaker not in self.names:
            able = listed(name for name in self.names if name != self.visitor)
            raise ValueError(f"The model cannot speak as {speaker[:80]!r}: choose one of {able}.")
        if self.history.turns and self.history.turns[-1].name == speaker:
            raise ValueError(f"{speaker} has just spoken: say something, or regenerate the last turn.")
        async with aclosing(answer(self, speaker, len(self.history.turns))) as events:
            async for event in events:
                yield event

    async def play(self, turns: int = 1) -> AsyncGenerator[Event, None]:
        """Lets the characters play among themselves, see `next_speaker`; ends early if a reply fails."""
        for _ in range(turns):
            async with aclosing(self.reply(self.next_speaker())) as events:
                async for event in events:
                    yield event
            if isinstance(event, Failed):
                return

    async def impersonate(self) -> AsyncGenerator[Event, None]:
        """Drafts the visitor's next turn.

        Yields:
            `Event`: As `reply`, but the last event is [`Drafted`] or [`Failed`].
        """
        async with aclosing(draft(self)) as events:
            async for event in events:
                yield event

    async def regenerate(self) -> AsyncGenerator[Event, None]:
        """Generates the model's last turn again; the old one stays an alternative. After a failure, retries it."""
        async with aclosing(answer(self, self._next(), self.place)) as events:
            async for event in events:
                yield event

    async def continue_reply(self, number: int | None = None) -> AsyncGenerator[Event, None]:
        """Continues a reply that was cut at the token limit or broke off; its text so far comes first.

        Args:
            number (`int`, *optional*): Index of the alternative; by default the newest one that is not ended.

        Raises:
            `IndexError`: If there is no such alternative.
            `ValueError`: If there is none to continue, or the model cannot.
        """
        if not isinstance(self.model, Continues):
            raise ValueError(f"{self.model.name} cannot continue a reply: a model in process can. Regenerate it.")
        cut = [at for at, one in enumerate(self.alternatives()) if not one.ended]
        if number is not None and self._alternative(number).ended:
            raise ValueError(f"Reply {number + 1} was ended by the model: there is nothing to continue.")
        if not cut:
            raise ValueError("There is no reply that was cut or broke off.")
        chosen = cut[-1] if number is None else number
        speaker = self.alternatives()[chosen].turn.name or self.character
        async with aclosing(answer(self, speaker, self.place, chosen)) as events:
            async for event in events:
                yield event

    def _alternative(self, number: int) -> Alternative:
        known = self.alternatives()
        if not 0 <= number < len(known):
            raise IndexError(f"There is no reply {number + 1}: there are {len(known)}.")
        return known[number]

    # -- saving

    def dump(self) -> Record:
        """The session as JSON data for `restore`, with its alternatives."""
        return dumped(self)

    @classmethod
    def restore(
        cls, data: Mapping[str, Any], model: ChatModel, *, limits: Limits | None = None, log: str | Path | None = None
    ) -> Session:
        """A session from the data of `dump`, which may come from a stranger.

        Nothing in it is trusted: every turn is read again from its text and guarded as typed text is, so that it holds
        no line of another speaker and no part of a prompt; sizes, cast and sampling must be within `limits`.

        Args:
            data (`Mapping`): What `dump` returned.
            model (`ChatModel`): The model; it may be another one.
            limits (`Limits`, *optional*): How large the session may be.
            log (`str` or `Path`, *optional*): A new file to which every change is written.

        Raises:
            `ValueError`: If it is not such data, or too large; the message names the field.
        """
        return restored(cls, data, model, limits, log)

    def save(self, path: str | Path) -> Path:
        """Writes the current session, without undone turns and causes of failures, to a log that can be continued.

        Raises:
            `FileExistsError`: If the file exists and is not empty.
        """
        return save_session(self, path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: ChatModel,
        *,
        sampling: Mapping[str, Any] | None = None,
        thinking: bool | None = None,
        max_context_tokens: int | None = None,
        limits: Limits | None = None,
    ) -> Session:
        """Continues a logged session; new records are appended to the same file.

        Args:
            path (`str` or `Path`): The log of a session.
            model (`ChatModel`): The model; it may differ from the logged one.
            sampling (`Mapping`, *optional*): Settings of [`Sampling`] that replace the logged ones.
            thinking (`bool`, *optional*): Replaces the logged setting.
            max_context_tokens (`int`, *optional*): Replaces the logged setting.
            limits (`Limits`, *optional*): How large the session may be.

        Raises:
            `FileNotFoundError`, `ValueError`: See [`read_log`]. A record that no session writes and a setting out of
                range are a `ValueError` too; the message names line and field.
        """
        logged = load_session(cls, path, model, thinking, max_context_tokens, limits)
        logged.sampling = replace(logged.sampling, **(sampling or {}))
        logged.limits.check_sampling(logged.sampling)
        logged.history.go_on(Path(path).expanduser(), logged.settings())
        return logged
