"""`her-hf judge`: verdicts on pairs, one JSON line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .eval_options import ConfigOption
from .judge_options import (
    AttemptsOption,
    ComparisonOption,
    ConcurrencyOption,
    FormOption,
    LimitOption,
    MaxMissingOption,
    MaxTokensOption,
    ModelNameOption,
    ModelOption,
    OneOrderOption,
    PairsOption,
    PrinciplesOption,
    ReadOption,
    ReasoningOption,
    RetriesOption,
    ScenesOption,
    SeedOption,
    SplitOption,
    TemperatureOption,
    TimeoutOption,
    exit_if_missing,
    load_pairs,
    open_judge,
)


def judge(
    model: ModelOption,
    pairs: PairsOption,
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSONL file of verdicts; the same command goes on there.")],
    config: ConfigOption = None,
    split: SplitOption = None,
    scenes: ScenesOption = None,
    limit: LimitOption = None,
    max_missing: MaxMissingOption = 0.1,
    model_name: ModelNameOption = None,
    form: FormOption = None,
    principles: PrinciplesOption = "by-case",
    comparison: ComparisonOption = "pairwise",
    reasoning: ReasoningOption = None,
    read: ReadOption = "text",
    one_order: OneOrderOption = False,
    attempts: AttemptsOption = 3,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = 0.0,
    concurrency: ConcurrencyOption = 16,
    timeout: TimeoutOption = 300.0,
    retries: RetriesOption = 6,
    seed: SeedOption = 42,
) -> None:
    """Judge pairs of replies: which plays the role better, and by which principles.

    Writes a JSON line a pair: verdict, confidence, principles, evidence, per_order, agreed, missing. Each pair is
    judged in both orders; orders that disagree are a tie (of probabilities, the mean counts). Answers are kept in
    FILE.ledger.sqlite. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf judge --model outputs/smollm2-135m-her-rm-sft --pairs pairs.jsonl --out verdicts.jsonl
    """
    from her_hf.evaluation.reward.run import judge_file_now
    from her_hf.inference import Ledger
    from her_hf.judging.pairwise.pair_files import count_from_prompt

    found = load_pairs(pairs, split, scenes)[:limit]
    out.parent.mkdir(parents=True, exist_ok=True)
    with Ledger(out.with_name(f"{out.name}.ledger.sqlite")) as ledger:
        asked = open_judge(
            model,
            ledger,
            model_name=model_name,
            concurrency=concurrency,
            timeout=timeout,
            retries=retries,
            principles=principles,
            one_order=one_order,
            form=form,
            comparison=comparison,
            reasoning=reasoning,
            read=read,
            attempts=attempts,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
        )
        rows = judge_file_now(asked, found, out)
    lost = [row for row in rows if row["missing"] is not None]
    disagreeing = sum(row["agreed"] is False for row in rows)
    typer.echo(f"{len(rows)} pairs in {out}: {len(lost)} without a verdict, {disagreeing} with orders that disagree")
    if from_prompt := count_from_prompt(found):
        typer.echo(f"{from_prompt} without circumstances, which were read out of their prompts (--scenes gives them)")
    exit_if_missing(len(lost) / len(rows), max_missing, "the lines say why.")
