"""`her-hf eval reward`: accuracy of a reward model, or any judge, on labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from her_hf.judging import PairJudging
from her_hf.settings import setting

from .judge_options import JUDGE, JUDGING, PANEL, Answer, Pairs, open_judge
from .options import Calls, ConfigOption, Group, ModelReference, Output, with_options

if TYPE_CHECKING:
    from her_hf.judging import PairFile


@dataclass(frozen=True)
class Comparison:
    """Groups, other runs and names for the figures.

    Args:
        unseen (`list[str]`, *optional*): Kinds that are not in the training data; they form a separate group.
        compare_with (`list[str]`, *optional*): `NAME=DIR` of other runs on the same pairs.
        name (`str`, *optional*, defaults to `"this model"`): Name of this model in comparisons.
    """

    unseen: list[str] | None = setting(
        None, help="A kind that is not in the training data; may be repeated.", metavar="KIND"
    )
    compare_with: list[str] | None = setting(
        None, help="Another run on the same pairs; may be repeated. Writes models.md.", metavar="NAME=DIR"
    )
    name: str = setting("this model", help="Name of this model in comparisons.", metavar="NAME")


@with_options
def reward(
    model: Annotated[ModelReference, JUDGE],
    pairs: Annotated[Pairs, Group()],
    output: Annotated[Output, Group()],
    comparison: Annotated[Comparison, Group()],
    answer: Annotated[Answer, Group(PANEL)],
    judging: Annotated[PairJudging, JUDGING],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Measure a reward model or judge on labelled pairs, such as pairs with human labels.

    Accuracy with its interval, by kind and length, ties, position consistency, calibration, chance-corrected agreement
    (Cohen's kappa, Krippendorff's alpha). Writes results.json, report.html, report.md and a plot to DIR.

    her-hf eval reward --model outputs/smollm2-135m-her-rm-sft --pairs dataset_cards/her-mini-preferences \\
        --out outputs/reward
    """
    from her_hf.evaluation.reward.report import write_comparison, write_reward_report
    from her_hf.evaluation.reward.run import RewardRun, run_reward_now
    from her_hf.inference import Ledger
    from her_hf.runs.report.terminal import print_results
    from her_hf.runs.results import read_results

    output.refuse_a_run()
    others = {known: read_results(run, "reward") for known, run in map(_named, comparison.compare_with or ())}
    found = pairs.read()
    unseen = comparison.unseen or []
    _check_kinds(unseen, found)
    with Ledger(output.out / "ledger.sqlite") as ledger:
        asked = open_judge(model, answer, judging, calls, ledger)
        run = RewardRun(
            found.first(pairs.limit), output.out, asked, unseen=unseen, source=pairs.pairs, split=pairs.split
        )
        results = run_reward_now(run)
    report = write_reward_report(results, output.out)
    print_results(results)
    typer.echo(f"Report: {report}, {report.with_suffix('.html')}")
    if others and results["counts"]["pairs"]:
        typer.echo(f"Comparison: {write_comparison({**others, comparison.name: results}, output.out)}")
    output.exit_if_missing(results)


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name.strip() or not folder.strip():
        raise ValueError(
            f"--compare-with must be NAME=DIR, with the --out folder of another her-hf eval reward, got {text!r}"
        )
    return name.strip(), folder


def _check_kinds(unseen: Sequence[str], pairs: PairFile) -> None:
    """Raises an error for a kind that no pair has: a mistyped one would silently count as seen."""
    from her_hf.judging import Pair

    if not unseen:
        return
    known = {str(pair.extra["kind"]) for pair in pairs if isinstance(pair, Pair) and pair.extra.get("kind")}
    if unknown := sorted(set(unseen) - known):
        raise ValueError(f"--unseen must be one of the kinds {sorted(known)} of the pairs, got {unknown}")
