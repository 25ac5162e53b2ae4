"""`her-hf eval reward`: how good a reward model, or any judge, is on labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .eval_options import ConfigOption, ResumeOption, refuse_a_run
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

if TYPE_CHECKING:
    from her_hf.judging import BadPair, Pair


def reward(
    model: ModelOption,
    pairs: PairsOption,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept; the same command goes on there.")
    ],
    config: ConfigOption = None,
    split: SplitOption = None,
    scenes: ScenesOption = None,
    limit: LimitOption = None,
    unseen: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="A kind that training never saw; may be given several times."),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Another run on the same pairs to compare with; writes models.md."),
    ] = None,
    name: Annotated[
        str, typer.Option(help="What this model is called in comparisons and on its card.")
    ] = "this model",
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the figures into the card of the checkpoint (a folder).")
    ] = False,
    max_missing: MaxMissingOption = 0.1,
    resume: ResumeOption = True,
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
    """Measure a reward model or judge on labelled pairs, such as pairs that people have judged.

    Accuracy with its interval, by kind and length, ties, position consistency, calibration, agreement beyond chance
    (Cohen's kappa, Krippendorff's alpha). Leaves results.json, report.html, report.md and a plot in DIR.

    her-hf eval reward --model outputs/smollm2-135m-her-rm-sft --pairs dataset_cards/her-mini-preferences \\
        --out outputs/reward
    """
    from her_hf.evaluation.reward.report import card_of, write_comparison, write_into_card, write_reward_report
    from her_hf.evaluation.reward.run import RewardRun, run_reward_now
    from her_hf.inference import Ledger
    from her_hf.runs.report.terminal import print_results
    from her_hf.runs.results import read_results

    refuse_a_run(out, resume)
    if write_card:
        card_of(Path(model))  # an hour of judging should not end in an error
    others = {known: read_results(folder, "reward") for known, folder in map(_named, beside or ())}
    found = load_pairs(pairs, split, scenes)
    _check_kinds(unseen or [], found)
    found = found[:limit]
    with Ledger(out / "ledger.sqlite") as ledger:
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
        results = run_reward_now(RewardRun(found, out, asked, unseen=unseen or (), source=pairs, split=split))
    report = write_reward_report(results, out)
    print_results(results)
    typer.echo(f"Report: {report}, {report.with_suffix('.html')}")
    if results["counts"]["pairs"]:
        models = {**others, name: results}
        if others:
            typer.echo(f"Comparison: {write_comparison(models, out)}")
        if write_card:
            typer.echo(f"Card: {write_into_card(Path(model), models)}")
    exit_if_missing(results["missing"]["share"], max_missing, "the report says why.")


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name.strip() or not folder.strip():
        raise ValueError(f"--beside takes NAME=DIR, with the DIR of another her-hf eval reward; got {text!r}")
    return name.strip(), folder


def _check_kinds(unseen: Sequence[str], pairs: Sequence[Pair | BadPair]) -> None:
    """Refuses a kind that no pair has: mistyped, it would count as seen without a word."""
    from her_hf.judging import Pair

    known = {str(pair.extra["kind"]) for pair in pairs if isinstance(pair, Pair) and pair.extra.get("kind")}
    if unknown := sorted(set(unseen) - known):
        raise ValueError(f"--unseen must name kinds of the pairs, got {unknown}; there are {sorted(known)}")
