"""`her-hf pairs`: labelled pairs for a reward model from scenes, a policy and a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .eval_options import ConfigOption, ResumeOption, refuse_a_run
from .judge_options import exit_if_missing

_WRITE, _LABEL = "Candidates", "Labels"


def pairs(
    scenes: Annotated[str, typer.Option(metavar="SOURCE", help="Scenes: a file, a folder or a Hub dataset.")],
    policy: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Writes candidates: URLs, a folder or a Hub id.", rich_help_panel=_WRITE),
    ],
    teacher: Annotated[
        str, typer.Option(metavar="MODEL", help="Labels pairs: URLs, a folder or a Hub id.", rich_help_panel=_LABEL)
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept; the same command goes on there.")
    ],
    config: ConfigOption = None,
    split: Annotated[str | None, typer.Option(help="Split of the scenes' source.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most turns to reply to, spread over all scenes.", min=1)] = None,
    policy_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_WRITE)
    ] = None,
    style: Annotated[
        Literal["her", "coser", "plain"],
        typer.Option(help="How the policy is spoken to; never guessed.", rich_help_panel=_WRITE),
    ] = "her",
    candidates: Annotated[int, typer.Option(help="Replies to a turn.", min=2, rich_help_panel=_WRITE)] = 8,
    pairing: Annotated[
        Literal["adjacent", "all"],
        typer.Option(help="(0,1)(2,3)… as in HER, or every two.", rich_help_panel=_WRITE),
    ] = "adjacent",
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a candidate; else the style's.", min=1, rich_help_panel=_WRITE)
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of the policy.", min=0, rich_help_panel=_WRITE)] = 1.0,
    teacher_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_LABEL)
    ] = None,
    teacher_form: Annotated[
        Literal["published", "compact"],
        typer.Option(help="published: the library is given; compact: for small models.", rich_help_panel=_LABEL),
    ] = "published",
    least_principles: Annotated[
        int, typer.Option(help="Leave out pairs with fewer compared principles.", min=0, rich_help_panel=_LABEL)
    ] = 3,
    shares: Annotated[str, typer.Option(help="Share of the pairs that each set gets.")] = (
        "rm_sft=0.5,rm_rl=0.4,test=0.1"
    ),
    max_missing: Annotated[float, typer.Option(help="Exit with 3 if a larger share is missing.", min=0, max=1)] = 0.1,
    concurrency: Annotated[int, typer.Option(help="Most calls at once to each model.", min=1)] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds that a server may be silent.", min=1)] = 300.0,
    retries: Annotated[int, typer.Option(help="How often a call that failed is made again.", min=0)] = 6,
    seed: Annotated[int, typer.Option(help="Of every draw and choice.")] = 42,
    resume: ResumeOption = True,
) -> None:
    """Make the reward model's data: sample candidates, pair them, have a teacher label them, deal them out.

    Leaves sets/rm_sft.jsonl, sets/rm_rl.jsonl and sets/test.jsonl in DIR, no scene in two of them, and a report with
    the counts of each step. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf pairs --scenes scenes.json --policy http://127.0.0.1:8000 --teacher http://127.0.0.1:8001 --out runs/pairs
    """
    from her_hf.data.candidates import Policy
    from her_hf.data.pair_builder import PairRun, build_pairs_now
    from her_hf.evaluation.models import open_caller
    from her_hf.inference import Ledger, Retries
    from her_hf.judging import PairJudging, PairwiseJudge
    from her_hf.scenes import load_scenes
    from her_hf.simulation.styles import style_named

    refuse_a_run(out, resume)
    wanted = read_shares(shares)
    found = load_scenes(scenes, split=split)
    given = "by_case" if teacher_form == "compact" else "fixed"
    with Ledger(out / "ledger.sqlite") as ledger:
        calls = {"ledger": ledger, "concurrency": concurrency, "timeout": timeout, "retries": Retries(most=retries)}
        writer = open_caller(policy, model=policy_model, **calls)  # type: ignore[arg-type]
        labeller = open_caller(teacher, model=teacher_model, attach=False, **calls)  # type: ignore[arg-type]
        report = build_pairs_now(
            PairRun(
                found,
                out,
                Policy(
                    writer,
                    style_named(style),
                    candidates,
                    max_tokens=max_tokens,
                    temperature=temperature,
                    seed=seed,
                ),
                PairwiseJudge(labeller, PairJudging(form=teacher_form, principles=given, seed=seed)),
                pairing=pairing,
                limit=limit,
                least_principles=least_principles,
                shares=wanted,
                seed=seed,
            )
        )
    sizes = ", ".join(f"{name} {own['pairs']}" for name, own in report["allocated"]["sets"].items())
    typer.echo(f"Sets: {sizes}. Report: {out / 'report.md'}")
    judged, asked = report["judged"], report["candidates"]
    lost = (judged["missing"] / judged["pairs"]) if judged["pairs"] else asked["failed"] / asked["asked"]
    exit_if_missing(lost, max_missing, "the report says why.")


def read_shares(text: str) -> dict[str, float]:
    """Reads `rm_sft=0.5,rm_rl=0.4,test=0.1`.

    Raises:
        `ValueError`: If it is not of that form.
    """
    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"shares must look like rm_sft=0.5,rm_rl=0.4,test=0.1; got {part!r}")
    return found
