"""`her-hf judge`: verdicts on pairs, one JSON line per pair."""

from __future__ import annotations

from typing import Annotated

import typer

from her_hf.judging import PairJudging

from .judge_options import JUDGE, JUDGING, PANEL, Answer, Pairs, open_judge
from .options import Calls, ConfigOption, Group, ModelReference, Output, with_options


@with_options
def judge(
    model: Annotated[ModelReference, JUDGE],
    pairs: Annotated[Pairs, Group()],
    output: Annotated[
        Output, Group(metavar={"out": "FILE"}, help={"out": "JSONL file of verdicts; the same command resumes there."})
    ],
    answer: Annotated[Answer, Group(PANEL)],
    judging: Annotated[PairJudging, JUDGING],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Judge pairs of replies: which plays the role better, and by which principles.

    Writes a JSON line for each pair: verdict, confidence, principles, evidence, per_order, agreed, missing. Each pair
    is judged in both orders; orders that disagree are a tie (for probabilities, the mean counts). Answers are kept in
    FILE.ledger.sqlite. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf judge --model outputs/smollm2-135m-her-rm-sft --pairs pairs.jsonl --out verdicts.jsonl
    """
    from her_hf.evaluation.reward.run import judge_file_now
    from her_hf.inference import Ledger

    output.refuse_a_run()
    found = pairs.read().first(pairs.limit)
    file = output.out
    file.parent.mkdir(parents=True, exist_ok=True)
    with Ledger(file.with_name(f"{file.name}.ledger.sqlite")) as ledger:
        rows = judge_file_now(open_judge(model, answer, judging, calls, ledger), found, file)
    count = missing = disagreeing = from_prompt = 0
    for row in rows:
        count += 1
        from_prompt += row.get("circumstances") == "from_prompt"
        missing += row["missing"] is not None
        disagreeing += row["agreed"] is False
    typer.echo(f"{count} pairs in {file}: {missing} without a verdict, {disagreeing} with orders that disagree")
    if from_prompt:
        typer.echo(
            f"{from_prompt} without circumstances, which were parsed from their prompts (--scenes provides them)"
        )
    share = missing / count
    output.exit_if_missing({"missing": {"share": share, "unit": "verdict"}}, "see the lines for the causes")
