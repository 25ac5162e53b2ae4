"""Answers of reward models: schemas of the published and of the compact form, and one reader for both.

Source of the form: HER (arXiv 2601.21459), `result[0]{cand_1, cand_2, principle, analysis, better_response}` behind a
`<think>` block. The compact form is our own: `{"principles": {NAME: WINNER}, "verdict": WINNER}`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from her_hf.inference import Schema
from her_hf.scoring.keys import folded_key, read_number, stray_keys, with_known_keys
from her_hf.scoring.missing import Missing

from ..structured import JsonReply, closed_object, read_answer, shorten
from .pairs import VERDICTS, Compared, swap, swap_names

Winner = Literal["cand_1", "cand_2", "tie"]

MIN_COMPARED, MAX_COMPARED = 3, 5
"""How many principles a reward model names by case (HER)."""

_VERDICT_KEYS = ("result", "verdict", "better_response", "analysis", "principles")
_VERDICT_NAMES = ("verdict", "better response")
_LIKE_A_VERDICT = ("verdict", "better", "winner", "prefer", "choice", "chosen", "decision")
_BY_PRINCIPLE = ("principles", "principle", "principle comparisons")
_SCORE_KEYS = ("score", "principles")
_SPELLINGS = re.compile(r"^(?:cand(?:idate)?|response|reply)?[ _#-]*([12ab])$")
_TIES = ("tie", "draw", "equal")


class PublishedPrinciple(BaseModel):
    """A principle that the model considers decisive here."""

    model_config = ConfigDict(extra="ignore")

    principle_name: str = Field(min_length=1)
    dimension_name: str = ""
    principle_level: str = ""
    main_content: str = ""
    reason_for_choosing: str = ""


class PublishedComparison(BaseModel):
    """How the two sides compare under one principle."""

    model_config = ConfigDict(extra="ignore")

    principle_name: str = Field(min_length=1)
    principle_level: str = ""
    cand_1_performance: str = ""
    cand_2_performance: str = ""
    comparison_reason: str = ""
    winner: Winner


class PublishedAnalysis(BaseModel):
    """All comparisons, and their summary."""

    model_config = ConfigDict(extra="ignore")

    principle_comparisons: list[PublishedComparison] = Field(min_length=1)
    overall_analysis: str = ""
    principle_summary: str = ""


class PublishedVerdict(BaseModel):
    """`result[0]` of the published form.

    Args:
        cand_1, cand_2 (`str`): The replies, or what they do, in the model's words.
        principle (`dict`): The principles that were chosen, by a short key.
        analysis ([`PublishedAnalysis`]): A winner for each of them.
        better_response (`str`): `"cand_1"`, `"cand_2"` or `"tie"`.
    """

    model_config = ConfigDict(extra="ignore")

    cand_1: str = ""
    cand_2: str = ""
    principle: dict[str, PublishedPrinciple] = Field(default_factory=dict)
    analysis: PublishedAnalysis
    better_response: Winner


class CompactVerdict(BaseModel):
    """The compact form.

    Args:
        principles (`dict[str, str]`): Winner under the name of each principle; empty in a direct answer.
        verdict (`str`): `"cand_1"`, `"cand_2"` or `"tie"`.
    """

    model_config = ConfigDict(extra="forbid")

    principles: dict[str, Winner] = Field(default_factory=dict)
    verdict: Winner


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict that was read.

    Args:
        verdict (`str`): `"cand_1"`, `"cand_2"` or `"tie"`.
        principles (`tuple[Compared, ...]`): In the order in which the model names them.
        evidence (`str`): The model's reasons: its thinking, else its analysis.
        form (`str`): `"published"` or `"compact"`.
        repaired (`bool`): Whether the JSON or a spelling had to be repaired.
    """

    verdict: str
    principles: tuple[Compared, ...] = ()
    evidence: str = ""
    form: str = "compact"
    repaired: bool = False

    def swapped(self) -> Verdict:
        """The same verdict for the pair in the other order."""
        return replace(
            self,
            verdict=str(swap(self.verdict)),
            principles=tuple(one.swapped() for one in self.principles),
            evidence=swap_names(self.evidence),
        )

    @property
    def follows(self) -> bool:
        """Whether the verdict follows from the compared principles: the side that wins more of them, else a tie."""
        wins = {side: sum(one.winner == side for one in self.principles) for side in ("cand_1", "cand_2")}
        if wins["cand_1"] == wins["cand_2"]:
            return self.verdict == "tie"
        return self.verdict == max(wins, key=lambda side: wins[side])


def verdict_schema(form: str) -> Schema:
    """JSON schema of the answer, for servers that enforce one.

    Args:
        form (`str`): `"published"` (`{"result": [{…}]}`) or `"compact"`.
    """
    if form == "compact":
        return CompactVerdict.model_json_schema()
    inner = PublishedVerdict.model_json_schema()
    definitions = inner.pop("$defs", {})
    inner["required"] = ["principle", "analysis", "better_response"]
    result = {"type": "array", "items": inner, "minItems": 1, "maxItems": 1}
    return {"title": "RewardModelAnswer", **closed_object({"result": result}), "$defs": definitions}


def parse_verdict(text: str, *, thinking: str = "", cut: bool = False, shown: str = "") -> Verdict | Missing:
    """Reads the answer of a judge or reward model, in the published or the compact form.

    It is first read strictly. If that fails, JSON is repaired and spellings such as `"Candidate 1"` are accepted,
    which sets [`Verdict.repaired`]. A principle whose winner cannot be read is left out, which sets it too.

    Args:
        text (`str`): The answer, thinking included.
        thinking (`str`, *optional*): What the backend sent separately as thinking.
        cut, shown: See [`~her_hf.judging.structured.read_answer`].

    Returns:
        `Verdict` or `Missing`: Missing if there is no JSON object or it ends early, or if its verdict is absent, is
            not one of the three, or occurs twice with different values. Prose is never taken for a verdict.

    Example:

    ```python
    >>> parse_verdict('<think>cand_2 preaches.</think>{"principles": {"Lecturing": "cand_1"}, "verdict": "cand_1"}')
    Verdict(verdict='cand_1', principles=(Compared(name='Lecturing', winner='cand_1', reason=''),), ...)
    ```
    """
    return read_answer(text, read_verdict, thinking=thinking, cut=cut, shown=shown)


def read_verdict(found: JsonReply) -> Verdict | Missing:
    """Reads the object of a judge's answer; see [`parse_verdict`]."""
    try:
        value = _inner(found.value)
    except ValueError as error:
        return Missing("bad_value", str(error))
    given = _verdicts(found.value)
    if any(other != given[0] for other in given):
        return Missing("several", f"verdicts that differ: {shorten(repr(given))}")
    if "verdict" not in value and "better_response" not in value:
        return Missing("wrong_keys", f'wanted "verdict" or "better_response", got {shorten(repr(found.value))}')
    published = "verdict" not in value
    as_asked = (
        None if found.repaired else _strict(_inner(found.value, ()), published=published, thoughts=found.thinking)
    )
    return as_asked or _lenient(value, published=published, thoughts=found.thinking)


def _inner(found: Mapping[str, Any], names: Sequence[str] = _VERDICT_KEYS) -> Mapping[str, Any]:
    """The object that contains the verdict, taken out of the wrapper of the published form if there is one.

    Keys are read however they are spelt if they are among `names`.

    Raises:
        `ValueError`: If two spellings of one key have different values.
    """
    value = with_known_keys(found, names)
    result = value.get("result")
    if isinstance(result, list) and len(result) == 1:
        result = result[0]
    if isinstance(result, Mapping):
        value |= with_known_keys(result, names)
    analysis = value.get("analysis")
    if "better_response" not in value and isinstance(analysis, Mapping):
        inside = with_known_keys(analysis, names)
        value |= {key: inside[key] for key in ("better_response",) if key in inside}
    return value


def _verdicts(value: Any) -> list[Any]:
    """All values under a verdict's key, and all winners under a similar key, at any depth."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left.extend(one)
        elif isinstance(one, Mapping):
            for key, inner in one.items():
                name, winner = folded_key(key), _winner(inner)
                if name in _VERDICT_NAMES or (winner and any(word in name for word in _LIKE_A_VERDICT)):
                    found.append(winner or inner)
                elif name not in _BY_PRINCIPLE:  # principles are named freely, and each has its own winner
                    left.append(inner)
    return found


def _strict(value: Mapping[str, Any], *, published: bool, thoughts: str) -> Verdict | None:
    try:
        if published:
            whole = PublishedVerdict.model_validate(value)
            compared = tuple(
                Compared(one.principle_name, one.winner, one.comparison_reason)
                for one in whole.analysis.principle_comparisons
            )
            return Verdict(whole.better_response, compared, thoughts or _summary(value), "published")
        short = CompactVerdict.model_validate(value)
        return Verdict(
            short.verdict, tuple(Compared(name, won) for name, won in short.principles.items()), thoughts, "compact"
        )
    except ValidationError:
        return None


def _lenient(value: Mapping[str, Any], *, published: bool, thoughts: str) -> Verdict | Missing:
    given = value.get("better_response" if published else "verdict")
    verdict = _winner(given)
    if verdict is None:
        return Missing("bad_value", f"the verdict must be one of {list(VERDICTS)}, got {shorten(repr(given))}")
    compared = _compared_published(value) if published else _compared_compact(value)
    form = "published" if published else "compact"
    return Verdict(verdict, tuple(compared), thoughts or _summary(value), form, repaired=True)


def _compared_published(value: Mapping[str, Any]) -> list[Compared]:
    analysis = value.get("analysis")
    listed = analysis.get("principle_comparisons") if isinstance(analysis, Mapping) else None
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping) and (winner := _winner(one.get("winner"))):
            name = str(one.get("principle_name") or "").strip()
            found.append(Compared(name, winner, str(one.get("comparison_reason") or "")))
    return [one for one in found if one.name]


def _compared_compact(value: Mapping[str, Any]) -> list[Compared]:
    listed = value.get("principles")
    if not isinstance(listed, Mapping):
        return []
    return [Compared(str(name), winner) for name, given in listed.items() if (winner := _winner(given))]


def _winner(value: Any) -> str | None:
    """A winner in any spelling; `None` for a bool, a list or prose."""
    if not isinstance(value, str):
        return None
    word = unicodedata.normalize("NFKC", value).strip().strip("\"'`.").strip().lower()
    if word in VERDICTS:
        return word
    if word in _TIES:
        return "tie"
    match = _SPELLINGS.match(word)
    return {"1": "cand_1", "a": "cand_1", "2": "cand_2", "b": "cand_2"}[match[1]] if match else None


def _summary(value: Mapping[str, Any]) -> str:
    analysis = value.get("analysis")
    if not isinstance(analysis, Mapping):
        return ""
    return str(analysis.get("overall_analysis") or analysis.get("principle_summary") or "")


# -- pointwise


class Score(BaseModel):
    """A judge's rating of one reply.

    Args:
        score (`float`): From 1 to 10.
        principles (`dict[str, float]`): The same for each principle that it names.
        evidence (`str`): Its thinking.
        repaired (`bool`): Whether the JSON had to be repaired.
    """

    model_config = ConfigDict(frozen=True)

    score: float = Field(ge=1, le=10)
    principles: dict[str, float] = Field(default_factory=dict)
    evidence: str = ""
    repaired: bool = False


def score_schema() -> Schema:
    """JSON schema of a rating."""
    number = {"type": "number", "minimum": 1, "maximum": 10}
    principles = {"type": "object", "additionalProperties": number}
    return {"title": "Rating", **closed_object({"principles": principles, "score": number})}


def parse_score(text: str, *, thinking: str = "", cut: bool = False, shown: str = "") -> Score | Missing:
    """Reads the answer about one reply: `{"principles": {NAME: 7}, "score": 7}`.

    Args:
        text, thinking, cut, shown: See [`parse_verdict`].

    Returns:
        `Score` or `Missing`: Missing without JSON or a score, or if the score is not a number from 1 to 10 (a numeric
            string is read, a bool is refused). Ratings of principles that cannot be read are left out.

    Example:

    ```python
    >>> parse_score('{"principles": {"Subtext": 8}, "score": "7"}').score
    7.0
    ```
    """
    return read_answer(text, read_score, thinking=thinking, cut=cut, shown=shown)


def read_score(found: JsonReply) -> Score | Missing:
    """Reads the object of an answer about one reply; see [`parse_score`]."""
    try:
        value = with_known_keys(found.value, _SCORE_KEYS)
    except ValueError as error:
        return Missing("bad_value", str(error))
    if "score" not in value or stray_keys(value, _SCORE_KEYS):
        return Missing("wrong_keys", f'wanted "score", got {shorten(repr(found.value))}')
    score = _rating(value["score"])
    if score is None:
        return Missing("bad_value", f"score must be from 1 to 10, got {shorten(repr(value['score']))}")
    listed = value.get("principles")
    rated = {str(name): _rating(one) for name, one in listed.items()} if isinstance(listed, Mapping) else {}
    known = {name: one for name, one in rated.items() if one is not None}
    return Score(score=score, principles=known, evidence=found.thinking, repaired=found.repaired)


def _rating(value: Any) -> float | None:
    number = read_number(value)
    return float(number) if number is not None and 1 <= number <= 10 else None
