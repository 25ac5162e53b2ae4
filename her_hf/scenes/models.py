"""Scene and Character: the data models that every reader produces and all other code uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from her_hf.dual_layer import ENVIRONMENT, Turn

from .errors import listed
from .names import one_line
from .turns import merge_turns

Language = Literal["en", "zh"]


class CharacterKind(StrEnum):
    """Whether a member of the cast is a character of the story or the world around them."""

    CHARACTER = "character"
    ENVIRONMENT = "environment"


class Character(BaseModel):
    """A member of the cast.

    Args:
        name (`str`): Name, as in the turns. Runs of white space become one space.
        kind (`CharacterKind`, *optional*): By default derived from the name: `Environment` is the world.
        profile (`str`, *optional*): Description of the character in the whole book.
        background (`str`, *optional*): Events before this scene.
        motivation (`str`, *optional*): Inner thoughts at the start of the scene; CoSER calls them `thought` or
            `motivation`.
        experience (`str`, *optional*): What happens to the character in this part of the plot. Not shown in prompts,
            since it contains the outcome.
        description (`str`, *optional*): Description of the character in this part of the plot.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    kind: CharacterKind = CharacterKind.CHARACTER
    profile: str = ""
    background: str = ""
    motivation: str = ""
    experience: str = ""
    description: str = ""

    @field_validator("name", mode="before")
    @classmethod
    def _one_line(cls, name: Any) -> Any:
        return one_line(name) if isinstance(name, str) else name

    @model_validator(mode="after")
    def _world(self) -> Character:
        if self.name == ENVIRONMENT:
            self.kind = CharacterKind.ENVIRONMENT
        return self

    @property
    def portrait(self) -> str:
        """Description and profile as one text, without the description if the profile contains it."""
        parts = [] if self.description.strip() in self.profile else [self.description.strip()]
        return "\n\n".join(filter(None, [*parts, self.profile.strip()]))


class Scene(BaseModel):
    """A scene of a book: its setting, its cast, and what is thought, done and said.

    Consecutive turns of a speaker are merged when a scene is created: indices of `dialogue` refer to merged turns.

    Args:
        book (`str`): Title of the book.
        chapter, topic, scenario, tag (`str`, *optional*): As in the source.
        i_p, i_c (`int`, *optional*): Index of the plot in the book and of the conversation in the plot.
        language (`str`, *optional*, defaults to `"en"`): `"en"` or `"zh"`.
        cast (`list[Character]`): All participants, including every speaker.
        dialogue (`list[Turn]`): The turns; each has a name.
        raw_messages (`list[dict]`, *optional*): The messages of the source; `Turn.origin_id` refers to them.
        extra (`dict`, *optional*): All other fields of the source, e.g. `plot`, `weight`, `major_characters`.

    Raises:
        `pydantic.ValidationError` (a `ValueError`): If two members of the cast share a name, or a turn's speaker is
            not in the cast.

    Example:

    ```python
    >>> scene = load_scenes("dataset_cards/her-mini", "test")[0]
    >>> scene.key, [turn.name for turn in scene.dialogue[:3]]
    (('Little Women', 1001, 0), ['Hannah', 'Meg', 'Jo'])
    >>> [message["role"] for message in scene.messages_for("Meg", turns=3)]
    ['system', 'user', 'assistant', 'user']
    ```

    Source: CoSER (ICML 2025) test set; HER, arXiv 2601.21459, appendix on data.
    """

    model_config = ConfigDict(extra="forbid")

    book: str
    chapter: str = ""
    topic: str = ""
    scenario: str = ""
    i_p: int = 0
    i_c: int = 0
    tag: str = ""
    language: Language = "en"
    cast: list[Character]
    dialogue: list[Turn] = Field(default_factory=list)
    raw_messages: list[dict[str, Any]] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("dialogue")
    @classmethod
    def _merge(cls, turns: list[Turn]) -> list[Turn]:
        return merge_turns(replace(turn, name=one_line(turn.name)) if turn.name else turn for turn in turns)

    @model_validator(mode="after")
    def _speakers_in_cast(self) -> Scene:
        names = [member.name for member in self.cast]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise ValueError(f"cast contains {listed(repeated)} more than once; give each character one entry")
        known = set(names)
        for index, turn in enumerate(self.dialogue):
            if turn.name not in known:
                raise ValueError(f"turn {index} is spoken by {turn.name!r}, who is not in the cast: {listed(names)}")
        return self

    @property
    def key(self) -> tuple[str, int, int]:
        """The identity of a scene: (book, i_p, i_c)."""
        return self.book, self.i_p, self.i_c

    @property
    def key_text(self) -> str:
        """The key as one text, as rows of pairs name their scene: `"Pride and Prejudice/70/0"`."""
        return f"{self.book}/{self.i_p}/{self.i_c}"

    @property
    def characters(self) -> list[Character]:
        """The cast without Environment."""
        return [member for member in self.cast if member.kind is CharacterKind.CHARACTER]

    def member(self, name: str) -> Character:
        """The member of the cast with this name.

        Raises:
            `ValueError`: If the cast has no such member; the message lists the cast.
        """
        wanted = one_line(name)
        for member in self.cast:
            if member.name == wanted:
                return member
        cast = listed(member.name for member in self.cast)
        raise ValueError(f"{name!r} is not in the scene {self.key}: choose one of its cast: {cast}.")

    def messages_for(
        self, character: str, *, turns: int | None = None, system_thinking: bool = True
    ) -> list[dict[str, str]]:
        """The scene as the conversation that one member of its cast sees.

        First the scene prompt, then strictly alternating user and assistant messages. The character's own turns are in
        SELF view, all others in OTHERS view, joined by blank lines; the first user message starts with
        `===Conversation Start===`.

        Args:
            character (`str`): Who is played.
            turns (`int`, *optional*): Index into `dialogue`: only the turns before it, without any system thinking, as
                needed for a prompt. By default the whole scene, as needed for training.
            system_thinking (`bool`, *optional*, defaults to `True`): Whether the prompt asks for system thinking and,
                for a whole scene, whether own turns carry it as `reasoning_content`.

        Returns:
            `list[dict]`: Messages with `role`, `content` and, where there is system thinking, `reasoning_content`.

        Raises:
            `ValueError`: If the character is not in the cast or `turns` is out of range.

        Source: HER's history rules (arXiv 2601.21459).
        """
        from .messages import messages_for

        return messages_for(self, self.member(character).name, turns=turns, system_thinking=system_thinking)
