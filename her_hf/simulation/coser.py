"""Given-circumstance acting: a scene of a book, played by models from its first turn.

Three agents take part: the actor (the model under test) plays every character, another model plays Environment, and a
third names the next speaker. Each sees only what its role allows: its own turns without system thinking, others'
without any thinking.

Source: CoSER (ICML 2025), section on GCA; HER does the same with other limits. Prompts are our own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn, parse_turn
from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Sampling
from her_hf.inference.window import WindowFull
from her_hf.runs.addresses import failure_of
from her_hf.scenes import Character, Scene
from her_hf.scenes.models import CharacterKind
from her_hf.scenes.prompt import LANGUAGES, scene_prompt_source
from her_hf.scenes.turns import merge_turns
from her_hf.settings import setting
from her_hf.template_files import template_source

from .next_speaker import END_CHAT, next_speaker_messages, parse_next_speaker
from .replies import Played, take_turn
from .styles import STYLES, ActorSettings, actor_messages, actor_prompt

END_COUNTS_FROM = 5
"""First round (counted from 0) in which the end mark ends a scene."""

Memory = Callable[[Scene, Sequence[Turn], str], list[str]]
"""Looks up relevant passages of the book, given the scene, the turns so far and the speaker."""


@dataclass(frozen=True)
class CoserSettings(ActorSettings):
    """How scenes are played.

    Args:
        style (`str`, *optional*, defaults to `"her"`): How the actor is prompted: `"her"`, `"coser"` or `"plain"`.
        rounds (`int`, *optional*): Maximum turns of a scene, including those of the original; by default the style's.
        continue_from (`int`, *optional*, defaults to 0): Number of turns taken from the original.
        max_tokens (`int`, *optional*): Maximum tokens of an actor's turn; by default the style's.
        temperature (`float`, *optional*): Temperature of the actor; by default the style's.
        top_p (`float`, *optional*, defaults to 0.9): Of actor and Environment.
        environment_max_tokens (`int`, *optional*, defaults to 256): Maximum tokens of a turn of Environment.
        environment_temperature (`float`, *optional*, defaults to 0.7): Temperature of Environment.
        attempts (`int`, *optional*, defaults to 3): Maximum calls for a turn, if nothing of a reply is visible.
        seed (`int`, *optional*, defaults to 42): The seed of each call is derived from this and its position.

    Raises:
        `ValueError`: If the style is unknown or no turn is left to play.
    """

    rounds: int | None = setting(
        None,
        help="Maximum turns of a dialogue, one by one character or Environment, opening turns (--continue-from) "
        "included; by default 10 for her, 20 for others.",
        min=1,
    )
    continue_from: int = setting(0, help="Number of opening turns taken from the original dialogue.", min=0)
    environment_max_tokens: int = setting(256, help="Maximum tokens of a turn of Environment.", min=1)
    environment_temperature: float = setting(0.7, help="Sampling temperature of Environment.", min=0)
    attempts: int = setting(3, help="Maximum attempts at a turn of which nothing is visible.", min=1)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if not 0 <= self.continue_from < self.turns:
            raise ValueError(
                f"--continue-from (continue_from) must be below --rounds, from 0 to {self.turns - 1}, got "
                f"{self.continue_from}"
            )

    @property
    def turns(self) -> int:
        """Maximum turns of a scene."""
        return self.how.rounds if self.rounds is None else self.rounds

    @property
    def environment_sampling(self) -> Sampling:
        """Sampling of Environment, without a seed."""
        return Sampling(self.environment_max_tokens, self.environment_temperature, self.top_p)

    def as_dict(self) -> dict[str, Any]:
        """Every value that determines the dialogues, for JSON."""
        sampling = self.sampling()
        return {
            **asdict(self),
            "rounds": self.turns,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "prompts": prompts_digest(),
        }


def prompts_digest() -> str:
    """A digest of all prompts used to play a scene: with other prompts it is another run."""
    own = [template_source(__package__, f"coser/{name}.jinja") for name in ("actor", "next_speaker")]
    return digest([*own, *map(scene_prompt_source, LANGUAGES)])


@dataclass(frozen=True)
class Troupe:
    """The models that play a scene: three callers, which may be the same.

    Args:
        actor ([`~her_hf.inference.Caller`]): The model under test, for every character.
        environment ([`~her_hf.inference.Caller`]): The world.
        next_speaker ([`~her_hf.inference.Caller`]): Names the next speaker.
    """

    actor: Caller
    environment: Caller
    next_speaker: Caller


@dataclass
class Performance:
    """A scene as it was played.

    Args:
        key (`tuple`): The scene's (book, i_p, i_c).
        turns (`list[Played]`): The turns in order.
        ended_by (`str`): `"rounds"`, `"end_chat"` or `"failed"`.
        failure (`dict`, *optional*): `cause` and `detail` of the failed call.
        named, drawn (`int`): How often the next speaker was named, and how often drawn because the answer had no name.
    """

    key: tuple[str, int, int]
    turns: list[Played] = field(default_factory=list)
    ended_by: str = "rounds"
    failure: dict[str, str] | None = None
    named: int = 0
    drawn: int = 0


def speakers_of(scene: Scene) -> list[str]:
    """The possible speakers in the scene's order, else by frequency; Environment comes last if it is not listed."""
    listed = scene.extra.get("speaking_characters_w_env")
    if isinstance(listed, list) and listed:
        names = [str(name) for name in listed]
    else:
        counts = Counter(turn.name or "" for turn in scene.dialogue)
        names = sorted(counts, key=lambda name: -counts[name]) or [member.name for member in scene.characters]
    return names if ENVIRONMENT in names else [*names, ENVIRONMENT]


def first_speaker(scene: Scene, names: Sequence[str]) -> str:
    """The first listed speaker who is not Environment, unless the original opens with it."""
    if scene.dialogue and scene.dialogue[0].name == ENVIRONMENT:
        return ENVIRONMENT
    return next((name for name in names if name != ENVIRONMENT), ENVIRONMENT)


def stage(scene: Scene, names: Sequence[str]) -> Scene:
    """The scene before its first turn, with all possible speakers in its cast."""
    known = {member.name for member in scene.cast}
    missing = [
        Character(name=name, kind=CharacterKind.ENVIRONMENT if name == ENVIRONMENT else CharacterKind.CHARACTER)
        for name in names
        if name not in known
    ]
    return scene.model_copy(update={"cast": [*scene.cast, *missing], "dialogue": []})


async def play_scene(
    scene: Scene,
    troupe: Troupe,
    settings: CoserSettings | None = None,
    *,
    memory: Memory | None = None,
    on_turn: Callable[[Played], None] | None = None,
) -> Performance:
    """Plays one scene, turn by turn.

    Args:
        scene (`Scene`): The scene, with the original conversation as its dialogue.
        troupe ([`Troupe`]): The models.
        settings ([`CoserSettings`], *optional*): Limits, sampling, style.
        memory (`Callable`, *optional*): Looks up passages of the book for the actor.
        on_turn (`Callable`, *optional*): Called with each turn, for a progress bar.

    Returns:
        [`Performance`]: If a call fails after all retries, the turns until then, with `ended_by="failed"`.

    Example (not run: it needs a model):

    ```python
    >>> performance = await play_scene(scene, Troupe(actor, world, director), CoserSettings(rounds=6))
    >>> [turn.name for turn in performance.turns]
    ['Mr Bennet', 'Elizabeth Bennet', 'Mr Bennet', 'Environment', 'Elizabeth Bennet', 'Mr Bennet']
    ```
    """
    return await _Play(scene, troupe, settings or CoserSettings(), memory, on_turn).run()


class _Play:
    """One scene while it is played."""

    def __init__(
        self,
        scene: Scene,
        troupe: Troupe,
        settings: CoserSettings,
        memory: Memory | None,
        on_turn: Callable[[Played], None] | None,
    ) -> None:
        self._original, self._troupe, self._settings, self._memory = scene, troupe, settings, memory
        self._on_turn = on_turn
        self._names = speakers_of(scene)
        self._stage = stage(scene, self._names)
        self._turns: list[Turn] = []
        self._prompts: dict[str, str] = {}  # by speaker; constant in a scene, except for passages
        self._done = Performance(scene.key)

    async def run(self) -> Performance:
        self._start()
        speaker: str | None = None if self._turns else first_speaker(self._original, self._names)
        try:
            for index in range(len(self._turns), self._settings.turns):
                speaker = speaker or await self._next_speaker(index)
                if speaker == END_CHAT:
                    self._done.ended_by = "end_chat"
                    break
                self._add(await self._turn(speaker, index))
                speaker = None
        except (ModelError, WindowFull) as error:
            self._done.ended_by = "failed"
            self._done.failure = failure_of(error)
        return self._done

    def _start(self) -> None:
        """Adds the turns that come from the original."""
        for turn in self._original.dialogue[: self._settings.continue_from]:
            self._add(Played.of_original(turn))

    def _add(self, played: Played) -> None:
        self._done.turns.append(played)
        self._turns.append(played.turn)
        if self._on_turn:
            self._on_turn(played)

    def _seed(self, *parts: Any) -> int:
        return derive_seed(self._settings.seed, list(self._original.key), *parts)

    async def _turn(self, speaker: str, index: int) -> Played:
        """One turn of a character or of Environment."""
        scene = self._stage.model_copy(update={"dialogue": merge_turns(self._turns)})
        world = speaker == ENVIRONMENT
        style = STYLES["her"] if world else self._settings.how
        passages = self._memory(scene, self._turns, speaker) if self._memory and not world else []
        prompt = self._prompts.get(speaker)
        if prompt is None or passages:
            prompt = self._prompts[speaker] = actor_prompt(scene, speaker, style, passages=passages)
        return await take_turn(
            self._troupe.environment if world else self._troupe.actor,
            actor_messages(scene, speaker, style, prompt=prompt),
            speaker,
            [member.name for member in scene.cast],
            notation=style.notation,
            thinking=style.thinking and not world,
            sampling=self._settings.environment_sampling if world else self._settings.sampling(),
            attempts=self._settings.attempts,
            seed=lambda attempt: self._seed("turn", index, attempt),
        )

    async def _next_speaker(self, index: int) -> str:
        """The speaker of turn `index`, named by the predictor or drawn."""
        current = self._turns[-1].name or ""
        may_end = index - 1 >= END_COUNTS_FROM  # the predictor is called in the round of the previous turn
        sampling = Sampling(max_tokens=64, temperature=0.0, top_p=1.0, seed=self._seed("next", index))
        asked = await self._question(may_end, sampling.max_tokens)
        reply = await self._troupe.next_speaker.ask(asked, sampling=sampling, thinking=False)
        found = parse_next_speaker(reply.content or reply.text, self._names, current)
        if found is not None and (found != END_CHAT or may_end):
            self._done.named += 1
            return found
        self._done.drawn += 1
        return draw_speaker(self._original, self._names, current, seed=self._seed("draw", index))

    async def _question(self, may_end: bool, max_tokens: int) -> list[Message]:
        """The messages for the predictor, with as many of the newest turns as fit into its window."""
        newest = list(self._turns)
        while True:
            asked = next_speaker_messages(self._stage, newest, self._names, may_end=may_end)
            try:
                return (await self._troupe.next_speaker.fit(asked, max_tokens=max_tokens, thinking=False)).messages
            except WindowFull:
                if len(newest) == 1:
                    raise
                newest = newest[(len(newest) + 1) // 2 :]


def draw_speaker(scene: Scene, names: Sequence[str], current: str, *, seed: int) -> str:
    """Draws a speaker with a seed: from the main characters and Environment except the current one, else from all."""
    majors = scene.extra.get("major_characters") or [name for name in names if name != ENVIRONMENT]
    pool = sorted({name for name in names if name in majors or name == ENVIRONMENT} - {current})
    pool = pool or sorted(set(names) - {current}) or sorted(set(names))
    return random.Random(seed).choice(pool)


def replayed(name: str, text: str) -> Turn:
    """A turn from its record: the stored text, by the stored speaker."""
    return parse_turn(f"{name}: {text}", names=[name])
