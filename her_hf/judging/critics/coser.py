"""CoSER's four critics for given-circumstance acting: messages, schema, reading the answer, and asking.

Source: CoSER (ICML 2025), the four dimensions and their types of flaws. HER keeps inner thoughts where CoSER removes
them, so the scores of the two are not comparable; every result states which it is. The prompts are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from her_hf.dual_layer import Turn, View
from her_hf.durable import digest
from her_hf.inference import Caller, Message, Schema
from her_hf.scenes import Scene
from her_hf.scoring.coser import FLAW_KEYS, read_severity
from her_hf.scoring.coser_dimensions import DIMENSIONS, FLAW_TYPES
from her_hf.scoring.keys import stray_keys, with_known_keys
from her_hf.scoring.missing import Missing
from her_hf.settings import setting
from her_hf.template_files import load_template, template_source

from ..ask import AskSettings, again_source, ask
from ..structured import JsonReply, closed_object, read_answer, shorten
from .findings import findings_schema, read_findings

_CRITIC = "coser/critic.jinja"

THOUGHTS = {"coser": View.OTHERS, "her": View.SELF}
"""Whether critics see inner thoughts: in neither conversation as in CoSER, or in both as in HER."""


@dataclass(frozen=True)
class Judging(AskSettings):
    """How critics are asked; see [`~her_hf.judging.ask.AskSettings`] for the settings that all judges share.

    Args:
        thoughts (`str`, *optional*, defaults to `"coser"`): `"coser"` removes inner thoughts from both conversations,
            `"her"` keeps them.
        samples (`int`, *optional*, defaults to 1): Judgements that each judge gives of one dialogue and dimension.
            Those after the first have the temperature of later attempts from the start.
        max_tokens (`int`, *optional*, defaults to 2048): Most tokens of an answer.

    Raises:
        `ValueError`: If `thoughts` is unknown or a number is out of range.
    """

    thoughts: str = setting(
        "coser",
        choices=("coser", "her"),
        help="coser: judges see no inner thoughts; her: they do. Scores of the two do not compare.",
    )
    samples: int = setting(1, help="Judgements by each judge.", min=1)
    max_tokens: int = setting(2048, help="Maximum tokens of a judgement.", min=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thoughts not in THOUGHTS:
            raise ValueError(f"thoughts must be one of {sorted(THOUGHTS)}, got {self.thoughts!r}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def as_dict(self) -> dict[str, Any]:
        """Every value that determines a judgement, including a digest of the prompts, for JSON."""
        prompts = [template_source(__package__, _CRITIC), *map(_criteria, DIMENSIONS), again_source()]
        return {**asdict(self), "prompts": digest(prompts)}


@dataclass(frozen=True)
class CoserJudgement:
    """What one judge found in one dimension.

    Args:
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        flaws (`list[dict]`): `instance`, `type`, `severity` as the judge gave them, under
            these three keys.
        repaired (`bool`): Whether its JSON had to be repaired.
        unrated (`int`): Flaws without a severity, which count as 1.
        other_types (`int`): Flaws of a type that was not asked for; they still count.
    """

    dimension: str
    flaws: list[dict[str, Any]]
    repaired: bool = False
    unrated: int = 0
    other_types: int = 0


def flaw_schema(dimension: str) -> Schema:
    """JSON schema of a critic's answer."""
    flaw = {
        "instance": {"type": "string"},
        "type": {"type": "string", "enum": list(FLAW_TYPES[dimension])},
        "severity": {"type": "integer", "minimum": 1, "maximum": 10},
    }
    return {"title": dimension, **closed_object({DIMENSIONS[dimension]: findings_schema("flaws", flaw)})}


def _criteria(dimension: str) -> str:
    return template_source(__package__, f"coser/{dimension}.md")


def conversation_text(turns: Sequence[Turn], thoughts: str) -> str:
    """A conversation as the critic reads it: `Name: [thought] (action) speech`, with a blank line between turns."""
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
    system = load_template(__package__, _CRITIC).render(
        dimension=DIMENSIONS[dimension],
        criteria=_criteria(dimension).strip(),
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
    """The main characters: those that the scene lists, else everyone who speaks in it, else the whole cast."""
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
        `CoserJudgement` or `Missing`: Missing if there is no JSON or it ends early, if there is no list of flaws under
            the right key, if other keys may contain more flaws, if a flaw is not an object, or if a severity is not a
            number above 0 and at most 10.

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
        return Missing("wrong_keys", f'wanted "{name}": {{"flaws": […]}} alone, got {shorten(repr(stray))} as well')
    lists = [place.get("flaws") for place in inner] + [value[key] for key in ("flaws",) if key in value]
    if any(other != lists[0] for other in lists):
        return Missing("several", shorten(repr(found.value)))
    flaws = lists[0] if lists else None
    if not isinstance(flaws, list):
        return Missing("wrong_keys", f'wanted "{name}": {{"flaws": […]}}, got {shorten(repr(found.value))}')
    read = read_findings(found, flaws, "flaw", FLAW_KEYS, read_severity)
    if isinstance(read, Missing):
        return read
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
    """One judgement of one dialogue in one dimension, requested by [`~her_hf.judging.ask.ask`].

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        scene (`Scene`): The scene that was played.
        turns (`Sequence[Turn]`): The performance.
        dimension (`str`): `"SC"`, `"AN"`, `"CF"` or `"SQ"`.
        settings ([`Judging`], *optional*): How to ask.
        sample (`int`, *optional*, defaults to 0): Number of this judgement, if the same judge gives several.

    Returns:
        `CoserJudgement` or `Missing`: The latter with the cause of the last attempt.
    """
    settings = settings or Judging()
    asked = await ask(
        judge,
        critic_messages(scene, turns, dimension, thoughts=settings.thoughts),
        lambda found: read_flaws(found, dimension),
        settings=replace(settings, temperature=settings.retry_temperature) if sample else settings,
        max_tokens=settings.max_tokens,
        key=(list(scene.key), dimension, sample),
        schema=flaw_schema(dimension),
    )
    return asked.found
