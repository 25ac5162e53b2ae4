"""What a session holds, and what the model reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.inference import ChatModel, Message, Prompt, Sampling
from her_hf.inference.window import Fitted, fit
from her_hf.inference.wire import estimate_tokens
from her_hf.scenes import Character, Scene
from her_hf.scenes.errors import listed
from her_hf.scenes.keyed_lore import with_keyed_lore
from her_hf.scenes.names import check_name

from .answers import received
from .context import context_messages, described, noted, prompt_limit
from .history import Alternative, History, now
from .limits import Limits
from .log import VERSION, Log, Record, dump_turn
from .records import check_speaker
from .views import AUTHOR, viewed

STRANGER = {"en": "Stranger", "zh": "陌生人"}
"""The visitor's name if the scene has no other role."""


class State:
    """The part of [`Session`] that adds no turn: scene, roles, settings, history, and prompts."""

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
        limits: Limits | None = None,
        log: str | Path | None = None,
    ) -> None:
        playable = [member.name for member in scene.characters]
        if character not in playable:
            raise ValueError(f"{character!r} is not in the cast of this scene. Choose one of: {listed(playable)}")
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
        self.limits = limits or Limits()
        self._note = ""
        self.limits.check_sampling(self.sampling)
        self.limits.check_scene(scene)
        for number, turn in enumerate(opening):
            check_speaker(turn, self.names, f"opening[{number}]")
        self.limits.check_turns(opening, "opening")
        new = Log(Path(log).expanduser(), fresh=True) if log is not None else None
        self.history = History(opening, self.header, new)

    # -- state

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The history."""
        return tuple(self.history.turns)

    @property
    def names(self) -> list[str]:
        """All possible speakers: cast, visitor, Environment."""
        return list(dict.fromkeys([*(member.name for member in self.scene.cast), self.visitor, ENVIRONMENT]))

    @property
    def awaits_reply(self) -> bool:
        """Whether the model has not spoken last."""
        return not self.history.turns or not self.spoken(len(self.history.turns) - 1)

    @property
    def place(self) -> int:
        """Index of the model's last turn if nothing came after it, else of the turn that comes next."""
        return len(self.history.turns) - (not self.awaits_reply)

    def spoken(self, index: int) -> bool:
        """Whether turn `index` is the character's, or another one that the model wrote."""
        return self.history.turns[index].name == self.character or self.history.answered(index)

    def thinks(self, speaker: str) -> bool:
        """Whether a reply of `speaker` begins with system thinking: that of Environment never does."""
        return self.thinking and speaker != ENVIRONMENT

    def next_speaker(self) -> str:
        """Who speaks next if the characters play among themselves.

        The character named last in the last turn, else the one that has been silent longest; never the visitor or who
        has just spoken. Environment if there is no other.
        """
        turns = self.history.turns
        others = [member.name for member in self.scene.characters if member.name != self.visitor]
        able = [name for name in others if not turns or turns[-1].name != name]
        if not able:
            return ENVIRONMENT
        said = turns[-1].render(view="others").partition(":")[2] if turns else ""
        named = {name: said.rfind(name) for name in able}
        if max(named.values()) >= 0:
            return max(able, key=lambda name: named[name])
        last = {turn.name: index for index, turn in enumerate(turns)}
        return min(able, key=lambda name: last.get(name, -1))

    def alternatives(self, index: int | None = None) -> tuple[Alternative, ...]:
        """The replies at a place, in the order in which they were written; by default at `place`."""
        return self.history.alternatives(self.place if index is None else index)

    def chosen(self, index: int | None = None) -> int | None:
        """Which of `alternatives` is in the history; `None` if none is."""
        return self.history.chosen(self.place if index is None else index)

    @property
    def log_path(self) -> Path | None:
        """The file to which every change is written."""
        return self.history.log.path if self.history.log else None

    def view(self, viewer: str) -> list[dict[str, Any]]:
        """The conversation as a viewer sees it, as JSON data; see [`viewed`].

        Args:
            viewer (`str`): [`AUTHOR`], who sees everything, or a name: the character's, the visitor's or another's.

        Raises:
            `ValueError`: If nobody has that name.
        """
        if viewer != AUTHOR and viewer not in self.names:
            raise ValueError(f"There is no viewer {viewer[:80]!r}: choose {AUTHOR!r} or one of {listed(self.names)}.")
        return viewed(self.history, viewer)

    @property
    def persona(self) -> str:
        """What the character is told of the visitor's role."""
        return self.scene.member(self.visitor).portrait

    @property
    def note(self) -> str:
        """The author's note, which stands in every prompt after the scenario; no viewer sees it."""
        return self._note

    def messages(self) -> list[Message]:
        """The untrimmed context of the character's next turn, in the form used for training."""
        return self._messages(self.context(), self._next())

    async def prompt(self) -> Prompt:
        """The exact prompt of the next reply, or of the character's last turn."""
        return (await self.fit(self.context(), speaker=self._next())).prompt

    def set_persona(self, text: str) -> None:
        """Replaces the description of the visitor's role in every prompt from now on."""
        self.limits.check_text(text, "persona")
        self.history.write({"kind": "persona", "text": text})
        self.scene = described(self.scene, self.visitor, received(text))

    def set_note(self, text: str) -> None:
        """Replaces the author's note; an empty text removes it."""
        self.limits.check_text(text, "note")
        self.history.write({"kind": "note", "text": text})
        self._note = received(text).strip()

    def check_room(self) -> None:
        """Raises `ValueError` if no turn may be added."""
        if len(self.history.turns) >= self.limits.turns:
            raise ValueError(f"This conversation has {self.limits.turns} turns, its maximum: start another one.")

    def settings(self) -> Record:
        """Settings that may change when a session is continued."""
        return {
            "model": self.model.name,
            "sampling": {**asdict(self.sampling), "stop": list(self.sampling.stop)},
            "thinking": self.thinking,
            "max_context_tokens": self.max_context_tokens,
        }

    def header(self) -> Record:
        """The first record of the session's log."""
        return {
            "kind": "session",
            "version": VERSION,
            "time": now(),
            "character": self.character,
            "visitor": self.visitor,
            **self.settings(),
            "scene": self.scene.model_dump(mode="json"),
            "opening": [dump_turn(turn) for turn in self.history.opening],
        }

    def context(self) -> list[Turn]:
        """The turns before the next reply, or before the last one if the character has just spoken."""
        return self.history.turns[: self.place]

    # -- the prompt

    def _next(self) -> str:
        """Whose turn is at `place`: the character's unless the model wrote it as another."""
        known = self.alternatives()
        return (known[-1].turn.name if known else None) or self.character

    def _messages(self, context: Sequence[Turn], speaker: str) -> list[Message]:
        said = [turn.render(view="others") for turn in context]
        scene = with_keyed_lore(noted(self.scene, self.note), said, self.visitor, _estimated)
        return context_messages(scene, speaker, context, self.names, thinking=self.thinks(speaker))

    async def fit(self, context: Sequence[Turn], begun: str = "", speaker: str | None = None) -> Fitted:
        """The messages of turns that fit into the window together with the reply, and with what it begins with."""
        names = [member.name for member in self.scene.cast]
        limit, speaker = await self.limit(), speaker or self.character
        messages = self._messages(context, speaker)
        if limit is not None and begun:
            limit -= estimate_tokens([{"role": "assistant", "content": begun}])
        return await fit(messages, self.model, limit, thinking=self.thinks(speaker), names=names)

    async def limit(self) -> int | None:
        """Maximum tokens of a prompt."""
        return await prompt_limit(self.model, self.max_context_tokens, self.sampling.max_tokens)


def _estimated(text: str) -> int:
    return estimate_tokens([{"role": "system", "content": text}])
