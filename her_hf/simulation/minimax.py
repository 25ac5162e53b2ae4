"""Sessions of MiniMax's Role-Play Bench: one model plays the character of a seed, another the user, turn by turn.

The character opens with its prologue (round 0), the user answers with the first input (round 1); all later rounds are
generated. Neither side sees the other's thinking.

Source: MiniMax's post on M2-her and the card of MiniMaxAI/role-play-bench; what is not published (the user simulator,
sampling) is ours or that of re-implementations, and is a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from her_hf.dual_layer import Layer, Segment, Turn, View, foreign_start, visible_runs
from her_hf.dual_layer.text import separator
from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Reply, Sampling
from her_hf.inference.window import WindowFull
from her_hf.runs.addresses import failure_of
from her_hf.scenes import Character, Scene, read_turn
from her_hf.scenes.messages import messages_for
from her_hf.scenes.prompt import LANGUAGES, scene_prompt_source, scene_variables
from her_hf.scenes.seeds import Seed
from her_hf.settings import setting
from her_hf.template_files import load_template, template_source

NPC, USER = "ai", "user"
"""Roles, as named in the public dialogues."""

STYLES = ("her", "plain")

OWN_SEEDS = Path(str(files("her_hf.simulation"))) / "seeds"
"""Six original seeds, three Chinese and three English, for use without the Hub."""

_ROUND_BRACKETS = {"en": "({})", "zh": "（{}）"}


RUNS = 3
"""How many times each seed is played, unless a run says otherwise."""


@dataclass(frozen=True)
class MinimaxSettings:
    """How seeds are played.

    Args:
        style (`str`): The character's model: `"her"` gets HER's scene prompt and thinks in both layers, `"plain"` is
            any instruction-tuned model. Chosen, never guessed.
        turns (`int`, *optional*, defaults to 100): Number of generated turns, of both sides together.
        seed (`int`, *optional*, defaults to 42): The seed of each call is derived from this and its turn.
        npc_temperature, npc_max_tokens (*optional*, default to 0.8 and 512): Sampling of the character's turns.
        thinking_tokens (`int`, *optional*, defaults to 1024): Additional tokens for the system thinking of a `"her"`
            model.
        user_temperature, user_max_tokens (*optional*, default to 1.0 and 200): Sampling of the user's turns.
        attempts (`int`, *optional*, defaults to 3): Maximum calls for a turn, if nothing of a reply is visible.

    Raises:
        `ValueError`: If the style is unknown or a number is out of range.
    """

    style: str = setting(
        choices=("her", "plain"),
        help="Prompt format of the character's model: her (HER checkpoints) or plain (any other).",
    )
    turns: int = setting(100, help="Turns that are generated, of both sides together.", min=1)
    seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")
    npc_temperature: float = setting(0.8, help="Sampling temperature of the character's turns.", min=0)
    npc_max_tokens: int = setting(512, help="Maximum tokens of a turn of the character.", min=1)
    thinking_tokens: int = setting(
        1024, help="Extra tokens for system thinking, added to --npc-max-tokens (style her only).", min=0
    )
    user_temperature: float = setting(1.0, help="Sampling temperature of the user's turns.", min=0)
    user_max_tokens: int = setting(200, help="Maximum tokens of a turn of the user.", min=1)
    attempts: int = setting(3, help="Maximum attempts at a turn of which nothing is visible.", min=1)

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"the style of the character's model must be one of {list(STYLES)}, got {self.style!r}")
        for name, minimum in {"turns": 1, "npc_max_tokens": 1, "thinking_tokens": 0, "attempts": 1}.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {getattr(self, name)}")
        for role in (NPC, USER):
            self.sampling(role, 0)

    def thinks(self, role: str) -> bool:
        """Whether this side's turns open with system thinking."""
        return role == NPC and self.style == "her"

    def sampling(self, role: str, seed: int) -> Sampling:
        """Sampling of a turn of this side."""
        if role == USER:
            return Sampling(self.user_max_tokens, self.user_temperature, top_p=1.0, seed=seed)
        extra = self.thinking_tokens if self.thinks(role) else 0
        return Sampling(self.npc_max_tokens + extra, self.npc_temperature, top_p=1.0, seed=seed)

    def as_dict(self) -> dict[str, Any]:
        """Everything that determines the dialogues besides seeds and models, including the prompts."""
        names = [f"minimax/{role}_{code}.jinja" for role in ("npc", "user") for code in LANGUAGES]
        prompts = [template_source(__package__, name) for name in names]
        return {**asdict(self), "prompts": digest(prompts + [scene_prompt_source(code) for code in LANGUAGES])}


@dataclass(frozen=True)
class Line:
    """One turn of a dialogue.

    Args:
        role (`str`): `"ai"` or `"user"`.
        name (`str`): Who speaks.
        round (`int`): Its index; the prologue is 0.
        text (`str`): The text visible to both sides, actions in parentheses; `""` is silence.
        turn (`Turn`): What its own side remembers: without system thinking, with role thinking.
        reply (`str`, *optional*): The model's reply, if more than the label was removed from it.
        repeated_calls (`int`): Number of retries because nothing was visible.
    """

    role: str
    name: str
    round: int
    text: str
    turn: Turn
    reply: str | None = None
    repeated_calls: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The row of `dialogues.jsonl`."""
        row: dict[str, Any] = {"role": self.role, "name": self.name, "text": self.text, "round": self.round}
        return row if self.reply is None else {**row, "reply": self.reply}


@dataclass(frozen=True)
class Session:
    """A dialogue as it was played.

    Args:
        lines (`list[Line]`): The turns, starting with the two of the opening.
        failure (`dict`, *optional*): Why it ended early: `cause` and `detail`.
        dropped_turns (`dict[str, int]`): By role, the maximum number of turns dropped from a prompt.
    """

    lines: list[Line]
    failure: dict[str, str] | None
    dropped_turns: dict[str, int]

    @property
    def repeated_calls(self) -> int:
        """Number of retries because nothing was visible."""
        return sum(line.repeated_calls for line in self.lines)


async def play_session(
    seed: Seed,
    run: int,
    npc: Caller,
    user: Caller,
    settings: MinimaxSettings,
    *,
    on_turn: Callable[[Line], object] = lambda line: None,
) -> Session:
    """Plays one seed once.

    Args:
        seed (`Seed`): The setting and its opening.
        run (`int`): Index of the run, if a seed is played several times.
        npc (`Caller`): The model under test.
        user (`Caller`): The model that plays the user.
        settings ([`MinimaxSettings`]): How to play.
        on_turn (`Callable`, *optional*): Called with each generated turn.

    Returns:
        [`Session`]: Also if it failed, because a call failed after all retries or the prompt no longer fits.
    """
    callers, dropped = {NPC: npc, USER: user}, {NPC: 0, USER: 0}
    scene, lines = scene_of(seed), opening(seed)
    failure: dict[str, str] | None = None
    while len(lines) < settings.turns + 2 and failure is None:
        role = NPC if lines[-1].role == USER else USER
        try:
            line, left_out = await _next(seed, run, scene, lines, role, callers[role], settings)
        except (ModelError, WindowFull) as error:
            failure = failure_of(error)
            continue
        dropped[role] = max(dropped[role], left_out)
        lines.append(line)
        on_turn(line)
    return Session(lines, failure, dropped)


async def _next(
    seed: Seed,
    run: int,
    scene: Scene,
    lines: Sequence[Line],
    role: str,
    caller: Caller,
    settings: MinimaxSettings,
) -> tuple[Line, int]:
    """The next turn of a side, and the number of turns dropped from its prompt."""
    thinking, number = settings.thinks(role), len(lines)
    messages = messages_of(scene, seed, lines, role, settings)
    max_tokens = settings.sampling(role, 0).max_tokens
    room = await caller.fit(messages, max_tokens=max_tokens, thinking=thinking)
    attempt = 0
    while True:
        draw = derive_seed(settings.seed, [seed.language, seed.id], run, number, attempt)
        sampling = replace(settings.sampling(role, draw), max_tokens=room.max_tokens)
        reply = await caller.ask(room.messages, sampling=sampling, thinking=thinking)
        line = read_reply(reply, seed, role, number, attempt)
        if line.text or attempt + 1 == settings.attempts:
            return line, room.dropped
        attempt += 1


# -- prompts


def scene_of(seed: Seed) -> Scene:
    """The seed as a scene without dialogue."""
    cast = [
        Character(name=seed.ai_name, profile=seed.ai_setting),
        Character(name=seed.user_name, profile=seed.user_setting),
    ]
    return Scene(book="", language=seed.language, cast=cast)


def opening(seed: Seed) -> list[Line]:
    """The two scripted turns."""
    scripted = ((NPC, seed.ai_name, seed.ai_prologue), (USER, seed.user_name, seed.initial_user_input))
    return [Line(role, name, number, text, _staged(text, name)) for number, (role, name, text) in enumerate(scripted)]


def messages_of(
    scene: Scene, seed: Seed, lines: Sequence[Line], role: str, settings: MinimaxSettings
) -> list[Message]:
    """The messages for a side.

    A `"her"` model sees the scene as in training: `Scene.messages_for`, own turns with role thinking and without
    system thinking, the user's actions in tags. Other models see only the visible text.

    Returns:
        `list[dict]`: System message, then alternating user and assistant messages; the last is a user message.
    """
    name = seed.ai_name if role == NPC else seed.user_name
    if settings.thinks(role):
        played = scene.model_copy(update={"dialogue": [line.turn for line in lines]})
        return [dict(message) for message in messages_for(played, name, turns=len(lines))]
    variables = scene_variables(scene, name, system_thinking=False)
    file = f"minimax/{'npc' if role == NPC else 'user'}_{seed.language}.jinja"
    prompt = load_template(__package__, file).render(**variables).strip()
    played = scene.model_copy(update={"dialogue": [_spoken(line.text, line.name) for line in lines]})
    return [dict(message) for message in messages_for(played, name, turns=len(lines), prompt=prompt)]


# -- reading


def read_reply(reply: Reply, seed: Seed, role: str, number: int, repeated_calls: int = 0) -> Line:
    """Reads a model's reply as a turn of its side.

    The character's turn is kept unchanged, including lines for the user, which the judge should see. The user's turn
    ends where the character would start to speak, since the user's model must not play it.
    """
    name, other = (seed.ai_name, seed.user_name) if role == NPC else (seed.user_name, seed.ai_name)
    turn = read_turn(reply.text, name)
    text = visible_text(turn, seed.language)
    if role == USER:
        text = text[: foreign_start(text, [other], name)].strip()
        turn = _staged(text, name)
    plain = reply.text.strip() in (text, f"{name}: {text}", f"{name}：{text}")
    return Line(role, name, number, text, turn, None if plain else reply.text, repeated_calls)


def visible_text(turn: Turn, language: str = "en") -> str:
    """A turn in OTHERS view without its label: actions in parentheses, the rest plain."""
    brackets = _ROUND_BRACKETS[language]
    written = ""
    for part in visible_runs(turn.segments, View.OTHERS):
        bare = part.layer is Layer.ROLE_ACTION and not (part.text[:1] in "(（" and part.text[-1:] in ")）")
        written += separator(part.breaks) + (brackets.format(part.text) if bare else part.text)
    return written.strip()


def _spoken(text: str, name: str) -> Turn:
    """Text as one run of speech, unchanged."""
    return Turn(name, segments=(Segment(Layer.SPEECH, text),) if text else ())


def _staged(text: str, name: str) -> Turn:
    """Plain text as a turn with actions, which are in parentheses; no part of it becomes a thought."""
    turn = read_turn(text, name, notation="coser")
    hidden = turn.system_thinking is not None or any(part.layer.is_thinking for part in turn.segments)
    return _spoken(text, name) if hidden or turn.issues else turn
