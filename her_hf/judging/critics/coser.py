"""CoSER's four critics for given-circumstance acting: messages, schema, reading the answer, and asking.

Source: CoSER (ICML 2025), the four dimensions and their types of flaws. HER keeps inner thoughts where CoSER removes
them, so scores of the two are not comparable and every result says which it is. All prompts here are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from her_hf.dual_layer import Turn, View
from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Sampling, Schema
from her_hf.scenes import Scene
from her_hf.scoring.coser import DIMENSIONS, FLAW_KEYS, FLAW_TYPES, read_severity
from her_hf.scoring.keys import stray_keys, with_known_keys
from her_hf.scoring.missing import Missing
from her_hf.settings import setting

from ..structured import JsonReply, answer_text, read_answer, shorten, shown_text, was_stopped

THOUGHTS = {"coser": View.OTHERS, "her": View.SELF}
"""Whether critics see inner thoughts: removed from both conversations as in CoSER, or kept in both as in HER."""


@dataclass(frozen=True)
class Judging:
    """How judges are asked.

    Args:
        thoughts (`str`, *optional*, defaults to `"coser"`): `"coser"` removes inner thoughts from both conversations,
            `"her"` keeps them.
        samples (`int`, *optional*, defaults to 1): Judgements that each judge gives of one dialogue and dimension.
        attempts (`int`, *optional*, defaults to 3): How often an answer that cannot be read is asked for anew.
        max_tokens (`int`, *optional*, defaults to 2048): Most tokens of an answer.
        temperature (`float`, *optional*, defaults to 0): Of the first attempt of the first sample.
        again_temperature (`float`, *optional*, defaults to 1.0): Of all others, which else would say the same.
        seed (`int`, *optional*, defaults to 42): Every call's own seed comes from this and its unit.
    """

    thoughts: str = setting(
        "coser",
        choices=("coser", "her"),
        help="coser: judges see no inner thoughts; her: they do. Scores of the two do not compare.",
        option="thoughts",
    )
    samples: int = setting(1, help="Judgements by each judge.", min=1)
    attempts: int = setting(3, help="How many times an answer that cannot be read is requested.", min=1)
    max_tokens: int = setting(2048, help="Maximum tokens of a judgement.", min=1)
    temperature: float = setting(0.0, help="Of the first attempt of the first sample.", min=0)
    again_temperature: float = setting(1.0, help="Of all other attempts.", min=0, option="{prefix}-retry-temperature")
    seed: int = setting(42, help="Every call derives its own seed from this.", option="seed")

    def __post_init__(self) -> None:
        if self.thoughts not in THOUGHTS:
            raise ValueError(f"thoughts must be one of {sorted(THOUGHTS)}, got {self.thoughts!r}")
        if self.samples < 1 or self.attempts < 1:
            raise ValueError(f"samples and attempts must be at least 1, got {self.samples} and {self.attempts}")

    def as_dict(self) -> dict[str, Any]:
        """Every value that decides a judgement, the digest of the prompts among them, for JSON."""
        prompts = [_file(name) for name in ("critic.jinja", *(f"{dimension}.md" for dimension in DIMENSIONS))]
        return {**asdict(self), "prompts": digest(prompts)}


@dataclass(frozen=True)
class CoserJudgement:
    """What one judge found in one dimension.

    Args:
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        flaws (`list[dict]`): `instance`, `type`, `severity` as the judge gave them; these three keys as they are spelt
            here.
        repaired (`bool`): Whether its JSON had to be repaired.
        unrated (`int`): Flaws without a severity, which count as 1.
        other_types (`int`): Flaws of a type that was not asked for; they count all the same.
    """

    dimension: str
    flaws: list[dict[str, Any]]
    repaired: bool = False
    unrated: int = 0
    other_types: int = 0


def flaw_schema(dimension: str) -> Schema:
    """JSON schema of a critic's answer."""
    flaw = {
        "type": "object",
        "properties": {
            "instance": {"type": "string"},
            "type": {"type": "string", "enum": list(FLAW_TYPES[dimension])},
            "severity": {"type": "integer", "minimum": 1, "maximum": 10},
        },
        "required": ["instance", "type", "severity"],
        "additionalProperties": False,
    }
    flaws = {
        "type": "object",
        "properties": {"flaws": {"type": "array", "items": flaw}},
        "required": ["flaws"],
        "additionalProperties": False,
    }
    name = DIMENSIONS[dimension]
    return {
        "title": dimension,
        "type": "object",
        "properties": {name: flaws},
        "required": [name],
        "additionalProperties": False,
    }


@lru_cache(maxsize=1)
def _critic() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("critic.jinja"))


def _file(name: str) -> str:
    return (files(__package__) / "templates" / "coser" / name).read_text(encoding="utf-8")


def conversation_text(turns: Sequence[Turn], thoughts: str) -> str:
    """A conversation as the critic reads it: `Name: [thought] (action) speech`, a blank line between turns."""
    view = THOUGHTS[thoughts]
    return "\n\n".join(turn.render("coser", view) for turn in turns) or "(nothing was said)"


def critic_messages(scene: Scene, turns: Sequence[Turn], dimension: str, *, thoughts: str = "coser") -> list[Message]:
    """What a critic of one dimension is asked.

    Args:
        scene (`Scene`): With the original conversation, and the plot's `summary` and `major_characters` in `extra`.
        turns (`Sequence[Turn]`): The performance.
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        thoughts (`str`, *optional*, defaults to `"coser"`): See [`Judging`].

    Returns:
        `list[dict]`: System message (task, circumstances, original, criteria, form), user message (the performance).

    Raises:
        `ValueError`: If the dimension or `thoughts` is unknown.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension must be one of {sorted(DIMENSIONS)}, got {dimension!r}")
    plot = scene.extra.get("plot") or {}
    system = _critic().render(
        dimension=DIMENSIONS[dimension],
        criteria=_file(f"{dimension}.md").strip(),
        types=list(FLAW_TYPES[dimension]),
        book=scene.book,
        summary=str(plot.get("summary") or "").strip() if isinstance(plot, Mapping) else "",
        scenario=scene.scenario,
        profiles=[{"name": member.name, "text": member.portrait} for member in scene.characters],
        thoughts=THOUGHTS[thoughts] is View.SELF,
        reference=conversation_text(scene.dialogue, thoughts),
        majors=majors_of(scene) if dimension == "CF" else [],
    )
    return [
        {"role": "system", "content": system.strip()},
        {"role": "user", "content": f"The performance:\n\n{conversation_text(turns, thoughts)}"},
    ]


def majors_of(scene: Scene) -> list[str]:
    """The main characters: those that the scene names, else everybody who speaks in it, else the whole cast."""
    names = [member.name for member in scene.characters]
    named = scene.extra.get("major_characters") or []
    speaking = {turn.name for turn in scene.dialogue}
    return [name for name in names if name in named] or [name for name in names if name in speaking] or names


def parse_flaws(text: str, dimension: str, *, cut: bool = False, shown: str = "") -> CoserJudgement | Missing:
    """Reads a critic's answer.

    Args:
        text (`str`): The answer: `{"<dimension>": {"flaws": […]}}`, or the inner object alone.
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        cut, shown: See [`~her_hf.judging.structured.read_answer`].

    Returns:
        `CoserJudgement` or `Missing`: Missing if there is no JSON or it ends early, no list of flaws under the right
            key, keys beside it under which there may be more, a flaw that is no object, or a severity that is none (a
            bool, nothing above 0, above 10).

    Example:

    ```python
    >>> parse_flaws('{"Storyline Quality": {"flaws": [{"instance": "…", "severity": "3"}]}}', "SQ").flaws
    [{'instance': '…', 'severity': '3'}]
    ```
    """
    return read_answer(text, lambda found: read_flaws(found, dimension), cut=cut, shown=shown)


def read_flaws(found: JsonReply, dimension: str) -> CoserJudgement | Missing:
    """Reads the object of a critic's answer; see [`parse_flaws`].

    Args:
        found ([`~her_hf.judging.JsonReply`]): The object.
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
    """
    name = DIMENSIONS[dimension]
    others = (*DIMENSIONS, *DIMENSIONS.values())
    try:
        value = with_known_keys(found.value, (*others, "flaws"))
        named = [value[key] for key in (name, dimension) if key in value]
        inner = [with_known_keys(one, ("flaws",)) if isinstance(one, Mapping) else {} for one in named]
    except ValueError as error:
        return Missing("bad_value", str(error))
    # An object may answer for several dimensions, each under its name.
    stray = stray_keys(value, others if named and "flaws" not in value else (name, dimension, "flaws"))
    stray += [key for place in inner for key in stray_keys(place, ("flaws",))]
    if stray:
        return Missing("wrong_keys", f'wanted "{name}": {{"flaws": […]}} alone, got {shorten(repr(stray))} beside it')
    lists = [place.get("flaws") for place in inner] + [value[key] for key in ("flaws",) if key in value]
    if any(other != lists[0] for other in lists):
        return Missing("several", shorten(repr(found.value)))
    flaws = lists[0] if lists else None
    if not isinstance(flaws, list):
        return Missing("wrong_keys", f'wanted "{name}": {{"flaws": […]}}, got {shorten(repr(found.value))}')
    read = []
    for index, flaw in enumerate(flaws):
        if not isinstance(flaw, dict):
            return Missing("bad_value", f"flaw {index} must be an object, got {shorten(repr(flaw))}")
        try:
            read.append(with_known_keys(flaw, FLAW_KEYS))
            stray = stray_keys(read[-1], FLAW_KEYS)
            if stray:
                return Missing("wrong_keys", f"flaw {index}: wanted {list(FLAW_KEYS)}, got {shorten(repr(stray))}")
            if found.repaired and "severity" not in read[-1]:
                return Missing("wrong_keys", f"flaw {index}: no severity, in JSON whose strings had to be guessed")
            read_severity(read[-1])
        except ValueError as error:
            return Missing("bad_value", f"flaw {index}: {error}")
    return CoserJudgement(
        dimension,
        read,
        repaired=found.repaired,
        unrated=sum("severity" not in flaw for flaw in read),
        other_types=sum(flaw.get("type") not in FLAW_TYPES[dimension] for flaw in read),
    )


async def judge_dialogue(
    judge: Caller,
    scene: Scene,
    turns: Sequence[Turn],
    dimension: str,
    *,
    settings: Judging | None = None,
    sample: int = 0,
) -> CoserJudgement | Missing:
    """One judgement of one dialogue in one dimension; an answer that cannot be read is asked for anew, a few times.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        scene (`Scene`): The scene that was played.
        turns (`Sequence[Turn]`): The performance.
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        settings ([`Judging`], *optional*): How to ask.
        sample (`int`, *optional*, defaults to 0): Which of several judgements of the same judge this is.

    Returns:
        `CoserJudgement` or `Missing`: With the cause of the last attempt.
    """
    settings = settings or Judging()
    messages = critic_messages(scene, turns, dimension, thoughts=settings.thoughts)
    found: CoserJudgement | Missing = Missing("no_json")
    for attempt in range(settings.attempts):
        first = attempt == 0 and sample == 0
        sampling = Sampling(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature if first else settings.again_temperature,
            top_p=1.0,
            seed=derive_seed(settings.seed, list(scene.key), dimension, sample, attempt),
        )
        try:
            reply = await judge.ask(messages, sampling=sampling, thinking=False, schema=flaw_schema(dimension))
        except ModelError as error:
            return Missing("request", str(error))
        found = parse_flaws(answer_text(reply), dimension, cut=was_stopped(reply), shown=shown_text(messages))
        if isinstance(found, CoserJudgement):
            return found
    return found
