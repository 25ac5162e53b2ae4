"""The pairwise judge: both orders of each pair, over any backend, with everything that may go wrong counted.

Source: HER's generative reward model (arXiv 2601.21459); judging in both orders, and a tie where they disagree, are
our own. The four settings that HER compares (principles fixed or by case, one reply or two, with reasoning or without)
are options.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Sampling, Schema
from her_hf.scoring.missing import Missing
from her_hf.settings import setting

from ..structured import answer_text, shown_text, was_stopped
from .pairs import VERDICTS, BadPair, Compared, Pair, swap
from .principles import Principles, load_principles
from .prompts import compact_messages, pair_messages, prompts_used, single_messages
from .verdicts import Score, parse_score, parse_verdict, score_schema, verdict_schema

FORMS = ("published", "compact")
_MOST_TOKENS = {"published": 4096, "compact": 192}
_AT_ONCE = tuple(f'{{"verdict": "{verdict}"}}' for verdict in VERDICTS)


@dataclass(frozen=True)
class PairJudging:
    """How pairs are judged.

    Args:
        form (`str`, *optional*, defaults to `"published"`): `"published"`: the long prompt and HER's JSON;
            `"compact"`: the short prompt and answer of small models.
        principles (`str`, *optional*, defaults to `"by_case"`): `"by_case"`: the judge finds its own; `"fixed"`: the
            library is given, as to a teacher.
        comparison (`str`, *optional*, defaults to `"pairwise"`): `"pairwise"`: both replies together; `"pointwise"`:
            each is rated by itself, and the higher one wins.
        reasoning (`bool`, *optional*, defaults to `True`): Whether the judge thinks first.
        read (`str`, *optional*, defaults to `"text"`): `"text"`: the answer that it writes; `"probability"`: how
            likely it finds each of the three verdicts, without thinking. For models in this process.
        both_orders (`bool`, *optional*, defaults to `True`): Judge each pair twice, with sides exchanged.
        attempts (`int`, *optional*, defaults to 3): How often an answer that cannot be read is asked for anew.
        max_tokens (`int`, *optional*): Most tokens of an answer; 4096, compact 192, if not given.
        temperature (`float`, *optional*, defaults to 0): Of the first attempt.
        again_temperature (`float`, *optional*, defaults to 1.0): Of later attempts, which else would say the same.
        seed (`int`, *optional*, defaults to 42): Every call's own seed comes from this and its pair.

    Raises:
        `ValueError`: If a value is unknown, or settings exclude each other.
    """

    form: str = setting("published", choices=("published", "compact"), help="Form of prompt and answer.")
    principles: str = setting(
        "by_case", choices=("by_case", "fixed"), help="by_case: the judge finds its own; fixed: the library is given."
    )
    comparison: str = setting(
        "pairwise", choices=("pairwise", "pointwise"), help="Both replies together, or each rated by itself."
    )
    reasoning: bool = setting(True, help="Whether the judge reasons before its verdict.")
    read: str = setting(
        "text",
        choices=("text", "probability"),
        help="The verdict in the answer it writes, or the likeliest one without reasoning (a model in this process).",
    )
    both_orders: bool = setting(True, help="Judge each pair twice, with the sides exchanged.")
    attempts: int = setting(3, help="How many times an answer that cannot be read is requested.", min=1)
    max_tokens: int | None = setting(
        None, help="Maximum tokens of an answer; else 4096, for the compact form 192.", min=1
    )
    temperature: float = setting(0.0, help="Of the first attempt.", min=0)
    again_temperature: float = setting(1.0, help="Of later attempts.", min=0, option="retry-temperature")
    seed: int = setting(42, help="Every call derives its own seed from this.")

    def __post_init__(self) -> None:
        known = {
            "form": FORMS,
            "principles": ("by_case", "fixed"),
            "comparison": ("pairwise", "pointwise"),
            "read": ("text", "probability"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {list(values)}, got {getattr(self, name)!r}")
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if self.form == "compact" and (self.principles, self.comparison) != ("by_case", "pairwise"):
            raise ValueError("the compact form is pairwise with principles by case: use form='published' for others")
        if self.read == "probability" and (self.form != "compact" or self.reasoning):
            raise ValueError(
                "probabilities are read of the compact answer without thinking: use form='compact', reasoning=False"
            )

    @property
    def tokens(self) -> int:
        """Most tokens of an answer."""
        return self.max_tokens or _MOST_TOKENS[self.form]

    @property
    def library(self) -> Principles | None:
        """The principles that the judge is given."""
        return load_principles() if self.principles == "fixed" else None

    def as_dict(self) -> dict[str, Any]:
        """Every value that decides a verdict beside pair and judge, the digest of prompts and library among them."""
        given = self.library.model_dump(mode="json") if self.library else None
        rule = (
            "mean probability of both orders" if self.read == "probability" else "both orders, a tie if they disagree"
        )
        prompts = digest([prompts_used(), given])
        return {**asdict(self), "max_tokens": self.tokens, "prompts": prompts, "verdict_by": rule}


@dataclass(frozen=True)
class OneOrder:
    """What the judge said to a pair in one order, in the pair's own names.

    Args:
        order (`str`): `"12"` as the pair stands, `"21"` with sides exchanged.
        verdict (`str`, *optional*): `"cand_1"`, `"cand_2"` or `"tie"`; `None` if it is missing.
        principles (`tuple[Compared, ...]`, *optional*): Who keeps which principle better.
        evidence (`str`, *optional*): What it says for it.
        probabilities (`dict[str, float]`, *optional*): Of each verdict, where they were read.
        repaired (`bool`, *optional*): Whether the answer had to be repaired.
        attempts (`int`, *optional*): How often it was asked.
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
        verdict (`str`, *optional*): What both orders say, or a tie if they disagree; where probabilities were read,
            the likeliest over both. `None` if one of them is missing.
        confidence (`float`, *optional*): From 0 to 1, of the verdict. Where probabilities were read, the mean over
            the orders; else the share of all compared principles that speak for it (those that both keep alike count
            half for a winner). `None` without a verdict, or without principles.
        principles (`tuple[Compared, ...]`, *optional*): Of both orders; a tie where they disagree.
        evidence (`str`, *optional*): What the judge says for the verdict.
        per_order (`tuple[OneOrder, ...]`, *optional*): Each order by itself.
        agreed (`bool`, *optional*): Whether the orders agree; `None` if there are not two.
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
        settings ([`PairJudging`], *optional*): How it is asked.

    Example:

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
        """Judges one pair; equal calls are made once, and what was answered before comes from the ledger.

        Args:
            pair ([`Pair`] or [`BadPair`]): The pair. A bad one is missing, with what is wrong with it.

        Returns:
            [`PairVerdict`]: Never raises for what a judge answers or fails to answer.
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
        """Judges many pairs at once; the caller's concurrency is the limit."""
        return list(await asyncio.gather(*(self.judge(pair) for pair in pairs)))

    # -- both together

    async def _order(self, pair: Pair, order: str) -> OneOrder:
        if self.settings.read == "probability":
            return await self._by_probability(pair, order)
        settings = self.settings
        if settings.form == "compact":
            messages = compact_messages(pair, reasoning=settings.reasoning)
        else:
            messages = pair_messages(pair, library=settings.library, reasoning=settings.reasoning)
        # A model that thinks first cannot be held to a schema from its first word on.
        schema = None if settings.reasoning else verdict_schema(settings.form)
        found, attempts = await self._ask(messages, parse_verdict, schema, key=(pair.key,))
        if isinstance(found, Missing):
            return OneOrder(order, attempts=attempts, missing=found)
        if order == "21":
            found = found.swapped()
        return OneOrder(
            order, found.verdict, found.principles, found.evidence, repaired=found.repaired, attempts=attempts
        )

    async def _by_probability(self, pair: Pair, order: str) -> OneOrder:
        messages = compact_messages(pair, reasoning=False)
        try:
            likelihoods = await self.caller.likelihoods(messages, _AT_ONCE)
        except ModelError as error:
            return OneOrder(order, missing=Missing("request", str(error)))
        if not all(map(math.isfinite, likelihoods)):
            return OneOrder(order, missing=Missing("bad_value", f"probabilities must be numbers, got {likelihoods}"))
        most = max(likelihoods)
        weights = [math.exp(value - most) for value in likelihoods]
        named = {verdict: weight / sum(weights) for verdict, weight in zip(VERDICTS, weights, strict=True)}
        if order == "21":
            named = {verdict: named[str(swap(verdict))] for verdict in VERDICTS}
        return OneOrder(order, max(named, key=lambda verdict: named[verdict]), probabilities=named)

    # -- each by itself

    async def _pointwise(self, pair: Pair) -> PairVerdict:
        sides = ("cand_1", "cand_2")
        settings = self.settings
        asked = [
            self._ask(
                single_messages(pair, side, library=settings.library, reasoning=settings.reasoning),
                parse_score,
                None if settings.reasoning else score_schema(),
                key=(pair.key, side),
            )
            for side in sides
        ]
        answers = await asyncio.gather(*asked)
        attempts = max(count for _, count in answers)
        scores = [found for found, _ in answers if isinstance(found, Score)]
        if len(scores) < len(sides):
            cause = next(found for found, _ in answers if isinstance(found, Missing))
            return PairVerdict(per_order=(OneOrder("12", attempts=attempts, missing=cause),), missing=cause)
        one, two = scores
        verdict = "tie" if one.score == two.score else ("cand_1" if one.score > two.score else "cand_2")
        evidence = "; ".join(
            f"{side} {score.score:g}{': ' + score.evidence if score.evidence else ''}"
            for side, score in zip(sides, scores, strict=True)
        )
        order = OneOrder("12", verdict, (), evidence, repaired=one.repaired or two.repaired, attempts=attempts)
        return PairVerdict(verdict, None, (), evidence, (order,))

    # -- asking

    async def _ask(
        self, messages: list[Message], read: Any, schema: Schema | None, *, key: tuple[str, ...]
    ) -> tuple[Any, int]:
        """Asks until the answer can be read, a few times; also says how often."""
        settings = self.settings
        found: Any = Missing("no_json")
        for attempt in range(settings.attempts):
            sampling = Sampling(
                max_tokens=settings.tokens,
                temperature=settings.again_temperature if attempt else settings.temperature,
                top_p=1.0,
                seed=derive_seed(settings.seed, list(key), attempt),
            )
            try:
                reply = await self.caller.ask(messages, sampling=sampling, thinking=False, schema=schema)
            except ModelError as error:
                return Missing("request", str(error)), attempt + 1
            found = read(
                answer_text(reply),
                thinking=reply.reasoning or "",
                cut=was_stopped(reply),
                shown=shown_text(messages),
            )
            if not isinstance(found, Missing):
                return found, attempt + 1
        return found, settings.attempts


def combine(orders: Sequence[OneOrder]) -> PairVerdict:
    """One verdict of the orders of a pair.

    Args:
        orders (`Sequence[OneOrder]`): One or two, in the pair's own names.

    Returns:
        [`PairVerdict`]: Missing if one of them is missing; a tie if they disagree. Where probabilities were read, the
            verdict whose mean over the orders is highest.

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
    """Over the orders, in which what place alone does to it cancels out."""
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
