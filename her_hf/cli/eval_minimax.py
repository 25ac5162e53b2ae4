"""`her-hf eval minimax`: situated reenactment, played and judged.

`her-hf eval minimax calibrate`: does a judge rank as the published scores do?
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from .eval_options import ConfigOption, ResumeOption, refuse_a_run

if TYPE_CHECKING:
    pass


class _RunsByDefault(TyperGroup):
    """`her-hf eval minimax --npc …` is `her-hf eval minimax run --npc …`; only other commands need their name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["run", *args])


app = typer.Typer(cls=_RunsByDefault, help="Play situated reenactment as in MiniMax's bench, and judge it.")

_PLAY, _JUDGE = "Playing", "Judging"

Out = Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept; the same command goes on there.")]
Language = Annotated[str | None, typer.Option(help="Only seeds of this language: zh or en.")]
JudgeModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_JUDGE)
]
Chunk = Annotated[int, typer.Option(help="Turns that are judged together.", min=2, rich_help_panel=_JUDGE)]
JudgeTokens = Annotated[int, typer.Option(help="Most tokens of a judgement.", min=1, rich_help_panel=_JUDGE)]
MaxMissing = Annotated[
    float,
    typer.Option(help="Exit with 3 if a larger share of judgements is missing.", min=0, max=1, rich_help_panel=_JUDGE),
]
Concurrency = Annotated[int, typer.Option(help="Most calls at once to each model.", min=1)]
Timeout = Annotated[float, typer.Option(help="Seconds that one call to a server may take in all.", min=1)]
SeedOption = Annotated[int, typer.Option(help="Every call's own seed comes from this.")]


@app.command("run")
def minimax(
    out: Out,
    config: ConfigOption = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Seeds: a file, a folder or a Hub dataset such as MiniMaxAI/role-play-bench; else six of our own.",
        ),
    ] = None,
    language: Language = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many seeds.", min=1)] = None,
    runs: Annotated[int, typer.Option(help="How often each seed is played.", min=1)] = 3,
    npc: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model under test: a URL (several by commas), a folder or a Hub id.",
            rich_help_panel=_PLAY,
        ),
    ] = None,
    npc_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_PLAY)
    ] = None,
    npc_style: Annotated[
        Literal["her", "plain"] | None,
        typer.Option(help="How it is spoken to; never guessed, so it must be said to play.", rich_help_panel=_PLAY),
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="MODEL", help="Plays the user.", rich_help_panel=_PLAY)] = None,
    user_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_PLAY)
    ] = None,
    turns: Annotated[
        int, typer.Option(help="Turns that are generated, of both sides together.", min=1, rich_help_panel=_PLAY)
    ] = 100,
    judge: Annotated[str | None, typer.Option(metavar="MODEL", help="Who judges.", rich_help_panel=_JUDGE)] = None,
    judge_model: JudgeModel = None,
    judge_tokens: JudgeTokens = 4096,
    chunk: Chunk = 20,
    max_missing: MaxMissing = 0.1,
    concurrency: Concurrency = 16,
    timeout: Timeout = 300.0,
    seed: SeedOption = 42,
    resume: ResumeOption = True,
    simulate_only: Annotated[bool, typer.Option("--simulate-only", help="Play, and do not judge.")] = False,
    judge_only: Annotated[bool, typer.Option("--judge-only", help="Judge the dialogues that DIR holds.")] = False,
) -> None:
    """Let a model play characters against a model that plays the user, and judge what is clearly wrong.

    Leaves results.json, report.md and plots in DIR beside the dialogues and judgements. Scores compare with each
    other only, not with published ones. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    To test a judge against published scores: her-hf eval minimax calibrate --help

    her-hf eval minimax --npc http://127.0.0.1:8000 --npc-style her --user http://127.0.0.1:8001 --judge
    http://127.0.0.1:8001 --out outputs/minimax
    """
    from her_hf.evaluation.minimax.report import write_minimax_report
    from her_hf.evaluation.minimax.run import LEDGER, MinimaxRun, run_minimax_now
    from her_hf.inference import Ledger
    from her_hf.inference.open import opener
    from her_hf.judging.critics.minimax import ChunkJudging
    from her_hf.scenes.seeds import load_seeds
    from her_hf.simulation.minimax import OWN_SEEDS, MinimaxSettings

    refuse_a_run(out, resume)
    _check(simulate_only, judge_only, playing=(npc, user, npc_style), judge=judge)
    settings = None if judge_only else MinimaxSettings(str(npc_style), turns=turns, seed=seed)
    judging = ChunkJudging(chunk, max_tokens=judge_tokens, seed=seed)
    found = load_seeds(seeds or OWN_SEEDS, language)[:limit]
    with Ledger(out / LEDGER) as ledger:
        open_one = opener(ledger, concurrency=concurrency, timeout=timeout)
        run = MinimaxRun(
            found,
            out,
            settings,
            npc=None if judge_only else open_one(str(npc), npc_model),
            user=None if judge_only else open_one(str(user), user_model),
            judge=None if simulate_only else open_one(str(judge), judge_model),
            judging=judging,
            runs=runs,
        )
        results = run_minimax_now(run)
    _tell(results, write_minimax_report(results, out))
    _mind_missing(results, max_missing)


@app.command("calibrate")
def calibrate(
    out: Out,
    judge: Annotated[str, typer.Option(metavar="MODEL", help="Who judges.", rich_help_panel=_JUDGE)],
    config: ConfigOption = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="The Hub dataset, or a folder with data/{zh,en}/{seeds,dialogues,evaluations}.parquet.",
        ),
    ] = "MiniMaxAI/role-play-bench",
    language: Language = None,
    limit: Annotated[
        int | None, typer.Option(help="Only so many dialogues, drawn by --seed; else all 3,135.", min=1)
    ] = None,
    judge_model: JudgeModel = None,
    judge_tokens: JudgeTokens = 4096,
    chunk: Chunk = 20,
    max_missing: MaxMissing = 0.1,
    concurrency: Concurrency = 16,
    timeout: Timeout = 300.0,
    seed: SeedOption = 42,
) -> None:
    """Rank public dialogues by a judge's scores and by the published ones, and say how far they agree.

    her-hf eval minimax calibrate --judge http://127.0.0.1:8001 --limit 300 --out outputs/calibration
    """
    from her_hf.evaluation.minimax.calibrate import Calibration, calibrate_now
    from her_hf.evaluation.minimax.run import LEDGER
    from her_hf.inference import Ledger
    from her_hf.inference.open import open_caller
    from her_hf.judging.critics.minimax import ChunkJudging

    judging = ChunkJudging(chunk, max_tokens=judge_tokens, seed=seed)
    with Ledger(out / LEDGER) as ledger:
        caller = open_caller(judge, model=judge_model, ledger=ledger, concurrency=concurrency, timeout=timeout)
        results = calibrate_now(Calibration(caller, out, source, language, limit, judging))
    typer.echo(f"Spearman's rank correlation with the published scores of {results['dialogues']} dialogues:")
    rows = {
        "overall": results["spearman"]["overall"],
        **results["spearman"]["pillars"],
        **results["spearman"]["columns"],
    }
    for name, found in rows.items():
        said = found["why"] if found["rho"] is None else f"{found['rho']:+.3f}  (n = {found['n']})"
        typer.echo(f"  {name:<20} {said}")
    verdict = "ranks" if results["accepted"] else "does not rank"
    typer.echo(f"The judge {verdict} as the published scores do (overall from {results['accepted_from']} on).")
    _mind_missing(results, max_missing)


def _check(simulate_only: bool, judge_only: bool, *, playing: tuple[str | None, ...], judge: str | None) -> None:
    """Refuses what does not go together.

    Raises:
        `ValueError`: Says which options are missing or exclude each other.
    """
    if simulate_only and judge_only:
        raise ValueError("--simulate-only and --judge-only exclude each other")
    if not judge_only and not all(playing):
        raise ValueError(
            "to play, name the model under test (--npc), its style (--npc-style her or plain) and the model that "
            "plays the user (--user); to judge what was played before, --judge-only"
        )
    if not simulate_only and not judge:
        raise ValueError("name a judge (--judge), or only play (--simulate-only)")


def _tell(results: dict[str, Any], report: Path) -> None:
    """Says the main figures."""
    played = results["played"]
    broken = len(played["failed"])
    typer.echo(f"{played['sessions']} dialogues of {played['seeds']} seeds; {broken} broke off.")
    if broken:
        typer.secho(f"The first: {played['failed'][0]['detail']}", fg=typer.colors.YELLOW)
    if "scores" in results:
        overall, ends = results["scores"]["overall"], results["intervals"]["overall"]
        interval = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
        typer.echo("Overall: no judgement" if overall is None else f"Overall: {overall:.2f}{interval}")
        typer.echo(results["scale"])
    typer.echo(f"Report: {report}")


def _mind_missing(results: dict[str, Any], most: float) -> None:
    """Ends with 3 if too much is missing."""
    share = results.get("missing", {}).get("share", 0.0)
    if share > most:
        typer.secho(
            f"{share:.1%} of the judgements are missing, more than --max-missing allows ({most:.1%}); results.json "
            "says why.",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(3)
