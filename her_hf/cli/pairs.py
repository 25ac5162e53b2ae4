"""`her-hf pairs`: labelled pairs for a reward model from scenes, a policy and a teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from her_hf.data.preferences.builder import PairSettings
from her_hf.data.preferences.candidates import PolicySettings
from her_hf.judging import PairJudging

from .options import MODEL, Calls, ConfigOption, Group, ModelReference, Output, Scenes, with_options

_WRITE, _LABEL, _PAIR = "Candidates", "Labels", "Pairs and sets"


@with_options
def pairs(
    source: Annotated[Scenes, Group(without=("limit",))],
    output: Annotated[Output, Group()],
    policy: Annotated[
        ModelReference, Group(_WRITE, "policy", required=("model",), help={"model": f"Writes candidates: {MODEL}"})
    ],
    sampling: Annotated[PolicySettings, Group(_WRITE)],
    teacher: Annotated[
        ModelReference, Group(_LABEL, "teacher", required=("model",), help={"model": f"Labels pairs: {MODEL}"})
    ],
    judging: Annotated[PairJudging, Group(_LABEL, "teacher", without=("principles", "comparison", "read"))],
    settings: Annotated[PairSettings, Group(_PAIR)],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Make the reward model's data: sample candidates, pair them, have a teacher label them, allocate them to sets.

    Writes sets/rm_sft.jsonl, sets/rm_rl.jsonl and sets/test.jsonl to DIR, no scene in two of them, and a report with
    the counts of each step. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf pairs --scenes scenes.json --policy http://127.0.0.1:8000 \\
        --teacher http://127.0.0.1:8001 --out outputs/pairs
    """
    from her_hf.data.preferences.builder import PairRun, build_pairs_now
    from her_hf.data.preferences.candidates import Policy
    from her_hf.inference import Ledger
    from her_hf.judging import PairwiseJudge
    from her_hf.scenes import load_scenes

    output.refuse_a_run()
    if judging.form == "published":  # the long prompt has space for the fixed principles
        judging = replace(judging, principles="fixed")
    elif not judging.reasoning:
        raise ValueError(
            "compact answers without reasoning name no principles, which labels need: omit --no-teacher-reasoning"
        )
    found = load_scenes(source.scenes, split=source.split)
    with Ledger(output.out / "ledger.sqlite") as ledger:
        open_one = calls.opener(ledger)
        writer = Policy(open_one(str(policy.model), policy.name), sampling)
        labeller = PairwiseJudge(open_one(str(teacher.model), teacher.name, attach=False), judging)
        report = build_pairs_now(PairRun(found, output.out, writer, labeller, settings))
    sizes = ", ".join(f"{name} {own['pairs']}" for name, own in report["allocated"]["sets"].items())
    typer.echo(f"Sets: {sizes}. Report: {output.out / 'report.md'}")
    missing = report["missing"]
    unit = "candidate" if missing["candidates"] >= missing["judgements"] else "judgement"
    output.exit_if_missing({"missing": {"share": missing["share"], "unit": unit}})
