"""`her-hf pairs`: labelled pairs for a reward model from scenes, a policy and a teacher."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .eval_options import ConfigOption, ResumeOption, refuse_a_run

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
    well_formed: Annotated[
        bool, typer.Option("--well-formed", help="Leave out pairs with an ill-formed side.", rich_help_panel=_WRITE)
    ] = False,
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
    teacher_thinks: Annotated[
        bool,
        typer.Option(
            help="Whether the teacher thinks first; if not, a server that can holds it to the JSON schema.",
            rich_help_panel=_LABEL,
        ),
    ] = True,
    attempts: Annotated[
        int,
        typer.Option(help="How often an answer that cannot be read is asked for anew.", min=1, rich_help_panel=_LABEL),
    ] = 3,
    least_principles: Annotated[
        int, typer.Option(help="Leave out pairs with fewer compared principles.", min=0, rich_help_panel=_LABEL)
    ] = 3,
    shares: Annotated[
        str, typer.Option(help="What each set gets: a share with a point, or a whole number of pairs (test=200).")
    ] = "rm_sft=0.5,rm_rl=0.4,test=0.1",
    both_share: Annotated[
        float, typer.Option(help="Share of rm_sft whose principles both sides win; the rest one side.", min=0, max=1)
    ] = 0.5,
    most_alike: Annotated[
        float, typer.Option(help="Most that the longer, or the shorter, reply may be the better one.", min=0.5, max=1)
    ] = 0.6,
    max_missing: Annotated[float, typer.Option(help="Exit with 3 if a larger share is missing.", min=0, max=1)] = 0.1,
    concurrency: Annotated[int, typer.Option(help="Most calls at once to each model.", min=1)] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds that one call to a server may take in all.", min=1)] = 300.0,
    retries: Annotated[int, typer.Option(help="How often a call that failed is made again.", min=0)] = 6,
    seed: Annotated[int, typer.Option(help="Of every draw and choice.")] = 42,
    resume: ResumeOption = True,
) -> None:
    """Make the reward model's data: sample candidates, pair them, have a teacher label them, deal them out.

    Leaves sets/rm_sft.jsonl, sets/rm_rl.jsonl and sets/test.jsonl in DIR, no scene in two of them, and a report with
    the counts of each step. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf pairs --scenes scenes.json --policy http://127.0.0.1:8000 --teacher http://127.0.0.1:8001 --out runs/pairs
    """
    from her_hf.data.preferences.builder import PairRun, build_pairs_now
    from her_hf.data.preferences.candidates import Policy
    from her_hf.inference import Ledger, Retries
    from her_hf.inference.open import open_caller
    from her_hf.judging import PairJudging, PairwiseJudge
    from her_hf.scenes import load_scenes
    from her_hf.simulation.styles import style_named

    refuse_a_run(out, resume)
    if teacher_form == "compact" and not teacher_thinks:
        raise ValueError("compact answers at once name no principles: leave out --no-teacher-thinks")
    wanted = read_shares(shares)
    found = load_scenes(scenes, split=split)
    given = "by_case" if teacher_form == "compact" else "fixed"
    judging = PairJudging(form=teacher_form, principles=given, reasoning=teacher_thinks, attempts=attempts, seed=seed)
    with Ledger(out / "ledger.sqlite") as ledger:
        calls: dict[str, Any] = {"ledger": ledger, "concurrency": concurrency, "timeout": timeout}
        calls["retries"] = Retries(most=retries)
        writer = open_caller(policy, model=policy_model, **calls)
        labeller = open_caller(teacher, model=teacher_model, attach=False, **calls)
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
                PairwiseJudge(labeller, judging),
                pairing=pairing,
                limit=limit,
                well_formed=well_formed,
                least_principles=least_principles,
                shares=wanted,
                most_alike=most_alike,
                both_share=both_share,
                seed=seed,
            )
        )
    sizes = ", ".join(f"{name} {own['pairs']}" for name, own in report["allocated"]["sets"].items())
    typer.echo(f"Sets: {sizes}. Report: {out / 'report.md'}")
    missing = report["missing"]
    if missing["share"] > max_missing:
        typer.secho(
            f"{missing['candidates']:.1%} of the candidates and {missing['judgements']:.1%} of the judgements are "
            f"missing, more than --max-missing allows ({max_missing:.1%}); the report says why.",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(3)


def read_shares(text: str) -> dict[str, float]:
    """Reads `rm_sft=0.5,rm_rl=0.5,test=200`: a whole number is one of pairs (an `int`), any other a share.

    Raises:
        `ValueError`: If it is not of that form.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value) if value.isdecimal() else float(value)
        except ValueError:
            number = math.nan
        if not name or name in found or not math.isfinite(number):
            raise ValueError(f"shares must look like rm_sft=0.5,rm_rl=0.4,test=0.1 or test=200; got {part!r}")
        found[name] = number
    return found
