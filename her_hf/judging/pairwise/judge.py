"""The pairwise judge: judges each pair in both orders, over any backend, and counts everything that goes wrong.

Source: HER's generative reward model (arXiv 2601.21459). Judging in both orders, with a tie where they disagree, is
our own. The four settings that HER compares (principles fixed or by case, one reply or two, with or without reasoning)
are options.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from her_hf.concurrency import gathered
from her_hf.durable import digest
from her_hf.inference import Caller, Message, ModelError, Schema
from her_hf.scoring.missing import Missing
from her_hf.settings import setting

from ..ask import Asked, AskSettings, again_source, ask
from ..structured import JsonReply
from .pairs import VERDICTS, BadPair, Compared, Pair, swap
from .principles import Principles, load_principles
from .prompts import compact_messages, pair_messages, prompts_used, single_messages
from .verdicts import Score, read_score, read_verdict, score_schema, verdict_schema

T = TypeVar("T")

FORMS = ("published", "compact")
_MOST_TOKENS = {"published": 4096, "compact": 192}
_DIRECT_ANSWERS = tuple(f'{{"verdict": "{verdict}"}}' for verdict in VERDICTS)


@dataclass(frozen=True)
class PairJudging(AskSettings):
    """How pairs are judged; see [`~her_hf.judging.ask.AskSettings`] for the settings that all judges share.

    Args:
        form (`str`, *optional*, defaults to `"published"`): `"published"`: the long prompt and HER's JSON;
            `"compact"`: the short prompt and answer of small models.
        principles (`str`, *optional*, defaults to `"by_case"`): `"by_case"`: the judge finds its own; `"fixed"`: it is
            given the library, like a teacher.
        comparison (`str`, *optional*, defaults to `"pairwise"`): `"pairwise"`: both replies together; `"pointwise"`:
            each is rated separately, and the higher rating wins.
        reasoning (`bool`, *optional*, defaults to `True`): Whether the judge thinks first.
        read (`str`, *optional*, defaults to `"text"`): `"text"`: the answer that it writes; `"probability"`: the
            probability of each verdict, without thinking.
        both_orders (`bool`, *optional*, defaults to `True`): Judge each pair a second time with the sides exchanged.
        max_tokens (`int`, *optional*): Most tokens of an answer; by default 4096, or 192 in the compact form.

    Raises:
        `ValueError`: If a value is unknown, or settings exclude each other.
    """

    form: str = setting(
        "published",
        choices=("published", "compact"),
        help="Form of prompt and answer: published or compact.",
        metavar="FORM",
    )
    principles: str = setting(
        "by_case", choices=("by_case", "fixed"), help="by_case: the judge finds its own; fixed: the library is given."
    )
    comparison: str = setting(
        "pairwise", choices=("pairwise", "pointwise"), help="Both replies together, or each rated by itself."
    )
    reasoning: bool = setting(True, help="Reason before the verdict.", off="answer immediately")
    read: str = setting(
        "text",
        choices=("text", "probability"),
        help="The verdict in the answer it writes, or the likeliest one without reasoning.",
    )
    both_orders: bool = setting(
        True, help="Judge each pair twice, the second time with the sides exchanged.", off="once"
    )
    max_tokens: int | None = setting(
        None, help="Maximum tokens of an answer; else 4096, for the compact form 192.", min=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {
            "form": FORMS,
            "principles": ("by_case", "fixed"),
            "comparison": ("pairwise", "pointwise"),
            "read": ("text", "probability"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {list(values)}, got {getattr(self, name)!r}")
        if self.form == "compact" and (self.principles, self.comparison) != ("by_case", "pairwise"):
            raise ValueError("the compact form is pairwise with principles by case: use form='published' for others")
        if self.read == "probability" and (self.form != "compact" or self.reasoning):
            raise ValueError(
                "probabilities are read from the compact answer without thinking: use form='compact', reasoning=False"
            )

    @property
    def tokens(self) -> int:
        """Most tokens of an answer."""
        return self.max_tokens or _MOST_TOKENS[self.form]

    @property
    def library(self) -> Principles | None:
        """The principles given to the judge."""
        return load_principles() if self.principles == "fixed" else None

    def as_dict(self) -> dict[str, Any]:
        """Every value that determines a verdict besides pair and judge, including a digest of prompts and library."""
        given = self.library.model_dump(mode="json") if self.library else None
        rule = (
            "mean probability of both orders" if self.read == "probability" else "both orders, a tie if they disagree"
        )
        prompts = digest([prompts_used(), again_source(), given])
        return {**asdict(self), "max_tokens": self.tokens, "prompts": prompts, "verdict_by": rule}


@dataclass(frozen=True)
class OneOrder:
    """The judge's verdict on a pair in one order, named as in the pair itself.

    Args:
        order (`str`): `"12"` for the order of the pair, `"21"` for sides exchanged.
        verdict (`str`, *optional*): `"cand_1"`, `"cand_2"` or `"tie"`; `None` if it is missing.
        principles (`tuple[Compared, ...]`, *optional*): The winner under each principle.
        evidence (`str`, *optional*): The reasons that it gives.
        probabilities (`dict[str, float]`, *optional*): Of each verdict, if they were read.
        repaired (`bool`, *optional*): Whether the answer had to be repaired.
        attempts (`int`, *optional*): How often the judge was asked.
        missing ([`Missing`], *optional*): Why there is no verdict.
    """

    order: str
    verdict: str | None = None
    principles: tuple[Compared, ...] = ()
    evidence: str = ""
    probabilities: dict[str, float] | None = None
    repaired: bool = False
    attempts: int = 1
    missing: Missing | None = None


@dataclass(frozen=True)
class PairVerdict:
    """The judgement of a pair.

    Args:
        verdict (`str`, *optional*): The verdict of both orders, or a tie if they disagree; with probabilities, the
            most probable over both. `None` if one of them is missing.
        confidence (`float`, *optional*): Of the verdict, from 0 to 1: its mean probability over the orders, else
            the share of all compared principles that support it (for a winner, ties count half). `None` without a
            verdict, or without principles.
        principles (`tuple[Compared, ...]`, *optional*): Of both orders; a tie where they disagree.
        evidence (`str`, *optional*): The judge's reasons for the verdict.
        per_order (`tuple[OneOrder, ...]`, *optional*): The verdict in each order.
        agreed (`bool`, *optional*): Whether the orders agree; `None` for a single order.
        missing ([`Missing`], *optional*): Why there is no verdict.
    """

    verdict: str | None = None
    confidence: float | None = None
    principles: tuple[Compared, ...] = ()
    evidence: str = ""
    per_order: tuple[OneOrder, ...] = field(default=())
    agreed: bool | None = None
    missing: Missing | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class PairwiseJudge:
    """Judges pairs.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge, with its ledger and concurrency.
        settings ([`PairJudging`], *optional*): How to ask it.

    Example (not run: it needs a server):

    ```python
    >>> judge = PairwiseJudge(Caller(open_model("http://127.0.0.1:8000"), ledger=Ledger("ledger.sqlite")))
    >>> found = await judge.judge(pair)
    >>> found.verdict, found.agreed
    ('cand_1', True)
    ```
    """

    def __init__(self, judge: Caller, settings: PairJudging | None = None) -> None:
        self.caller, self.settings = judge, settings or PairJudging()

    async def judge(self, pair: Pair | BadPair) -> PairVerdict:
        """Judges one pair. Equal calls are made once; known answers come from the ledger.

        Args:
            pair ([`Pair`] or [`BadPair`]): The pair. The verdict on a bad one is missing, with the reason.

        Returns:
            [`PairVerdict`]: Never raises because of what a judge answers or fails to answer.

        Raises:
            `ModelError`: If probabilities are to be read and the server has none: no pair could be judged.
        """
        if isinstance(pair, BadPair):
            return PairVerdict(missing=Missing("pair", pair.what))
        if self.settings.comparison == "pointwise":
            return await self._pointwise(pair)
        orders = [self._order(pair, "12")]
        if self.settings.both_orders:
            orders.append(self._order(pair.swapped(), "21"))
        return combine(await asyncio.gather(*orders))

    async def judge_all(self, pairs: Sequence[Pair | BadPair]) -> list[PairVerdict]:
        """Judges many pairs concurrently, within the caller's limit; at most a window of them is in progress."""
        return await gathered(pairs, self.judge)

    # -- pairwise

    async def _order(self, pair: Pair, order: str) -> OneOrder:
        if self.settings.read == "probability":
            return await self._by_probability(pair, order)
        settings = self.settings
        if settings.form == "compact":
            messages = compact_messages(pair, reasoning=settings.reasoning)
        else:
            messages = pair_messages(pair, library=settings.library, reasoning=settings.reasoning)
        # A schema would bind a model from its first token on, so one that thinks first gets none.
        schema = None if settings.reasoning else verdict_schema(settings.form)
        asked = await self._ask(messages, read_verdict, key=[pair.key], schema=schema)
        found = asked.found
        if isinstance(found, Missing):
            return OneOrder(order, attempts=asked.attempts, missing=found)
        if order == "21":
            found = found.swapped()
        return OneOrder(
            order, found.verdict, found.principles, found.evidence, repaired=found.repaired, attempts=asked.attempts
        )

    async def _by_probability(self, pair: Pair, order: str) -> OneOrder:
        messages = compact_messages(pair, reasoning=False)
        try:
            likelihoods = await self.caller.likelihoods(messages, _DIRECT_ANSWERS)
        except ModelError as error:
            if error.kind == "unsupported":
                raise
            return OneOrder(order, missing=Missing("request", str(error)))
        if not all(map(math.isfinite, likelihoods)):
            return OneOrder(order, missing=Missing("bad_value", f"probabilities must be numbers, got {likelihoods}"))
        largest = max(likelihoods)
        weights = [math.exp(value - largest) for value in likelihoods]
        named = {verdict: weight / sum(weights) for verdict, weight in zip(VERDICTS, weights, strict=True)}
        if order == "21":
            named = {verdict: named[str(swap(verdict))] for verdict in VERDICTS}
        return OneOrder(order, max(named, key=lambda verdict: named[verdict]), probabilities=named)

    # -- pointwise

    async def _pointwise(self, pair: Pair) -> PairVerdict:
        sides = ("cand_1", "cand_2")
        settings = self.settings
        asked = await asyncio.gather(
            *(
                self._ask(
                    single_messages(pair, side, library=settings.library, reasoning=settings.reasoning),
                    read_score,
                    key=[pair.key, side],
                    schema=None if settings.reasoning else score_schema(),
                )
                for side in sides
            )
        )
        attempts = max(one.attempts for one in asked)
        scores = [one.found for one in asked if isinstance(one.found, Score)]
        if len(scores) < len(sides):
            cause = next(one.found for one in asked if isinstance(one.found, Missing))
            return PairVerdict(per_order=(OneOrder("12", attempts=attempts, missing=cause),), missing=cause)
        one, two = scores
        verdict = "tie" if one.score == two.score else ("cand_1" if one.score > two.score else "cand_2")
        evidence = "; ".join(
            f"{side} {score.score:g}{': ' + score.evidence if score.evidence else ''}"
            for side, score in zip(sides, scores, strict=True)
        )
        order = OneOrder("12", verdict, (), evidence, repaired=one.repaired or two.repaired, attempts=attempts)
        return PairVerdict(verdict, None, (), evidence, (order,))

    async def _ask(
        self,
        messages: Sequence[Message],
        read: Callable[[JsonReply], T | Missing],
        *,
        key: list[str],
        schema: Schema | None,
    ) -> Asked[T]:
        settings = self.settings
        return await ask(
            self.caller, messages, read, settings=settings, max_tokens=settings.tokens, key=(key,), schema=schema
        )


def combine(orders: Sequence[OneOrder]) -> PairVerdict:
    """Combines the verdicts of a pair's orders.

    Args:
        orders (`Sequence[OneOrder]`): One or two, named as in the pair.

    Returns:
        [`PairVerdict`]: Missing if one of them is missing; a tie if they disagree. With probabilities, the verdict
            with the highest mean over the orders.

    Example:

    ```python
    >>> combine([OneOrder("12", "cand_1"), OneOrder("21", "cand_2")]).verdict
    'tie'
    ```
    """
    per_order = tuple(orders)
    cause = next((one.missing for one in per_order if one.missing is not None), None)
    if cause is not None:
        return PairVerdict(per_order=per_order, missing=cause)
    agreed = len({one.verdict for one in per_order}) == 1 if len(per_order) > 1 else None
    if all(one.probabilities is not None for one in per_order):
        verdict = max(VERDICTS, key=lambda verdict: _mean_probability(per_order, verdict))
    else:
        verdict = str(per_order[0].verdict) if agreed is not False else "tie"
    speaking = next((one for one in per_order if one.verdict == verdict), per_order[0])
    return PairVerdict(
        verdict,
        _confidence(per_order, verdict),
        _merged(per_order),
        speaking.evidence,
        per_order,
        agreed,
    )


def _confidence(orders: Sequence[OneOrder], verdict: str) -> float | None:
    if all(one.probabilities is not None for one in orders):
        return _mean_probability(orders, verdict)
    compared = [one.winner for order in orders for one in order.principles]
    if not compared:
        return None
    if verdict == "tie":
        return compared.count("tie") / len(compared)
    return (compared.count(verdict) + compared.count("tie") / 2) / len(compared)


def _mean_probability(orders: Sequence[OneOrder], verdict: str) -> float:
    """Mean over the orders, in which the effect of position cancels out."""
    read = [one.probabilities[verdict] for one in orders if one.probabilities is not None]
    return math.fsum(read) / len(read)


def _merged(orders: Sequence[OneOrder]) -> tuple[Compared, ...]:
    found: dict[str, Compared] = {}
    for one in (compared for order in orders for compared in order.principles):
        name = one.name.strip().casefold()
        known = found.setdefault(name, one)
        if known.winner != one.winner:
            found[name] = replace(known, winner="tie")
    return tuple(found.values())
