"""`her-hf eval minimax`: play and judge dialogues as in MiniMax's role-play bench.

`her-hf eval minimax calibrate`: rank correlation of a judge with the published scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from her_hf.judging.critics.minimax import ChunkJudging
from her_hf.settings import setting
from her_hf.simulation.minimax import RUNS, MinimaxSettings

from .command import Command
from .command import Group as CommandGroup
from .lazy import SETTINGS
from .options import MODEL, Calls, ConfigOption, Group, ModelReference, Output, Phases, help_of, with_options

_PLAY, _JUDGE = "Playing", "Judging"
_STYLE = help_of(MinimaxSettings, "style") + " Required unless --judge-only."


class _RunsByDefault(CommandGroup):
    """Makes `run` the default command: `her-hf eval minimax --npc …` is `her-hf eval minimax run --npc …`.

    Its help lists the commands, followed by the help of `run`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        runs = not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx))
        return super().parse_args(ctx, ["run", *args] if runs else args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        run = self.commands["run"]
        run.format_help(type(ctx)(run, parent=ctx, info_name="run"), formatter)


app = typer.Typer(
    cls=_RunsByDefault,
    add_completion=False,
    help="Play and judge dialogues as in MiniMax's role-play bench (situated reenactment); calibrate a judge.",
    context_settings=SETTINGS,
)


@dataclass(frozen=True)
class Seeds:
    """The seeds to play.

    Args:
        seeds (`str`, *optional*): A file, a folder or a Hub dataset; by default the six built-in seeds.
        language (`str`, *optional*): Only seeds of this language.
        limit (`int`, *optional*): Only the first seeds.
        runs (`int`, *optional*, defaults to 3): Dialogues per seed.
    """

    seeds: str | None = setting(
        None,
        help="Seeds: a file, a folder or a Hub dataset; by default six built-in ones.",
        metavar="SOURCE",
    )
    language: str | None = setting(None, choices=("zh", "en"), help="Use only seeds of this language.")
    limit: int | None = setting(None, help="Use only the first N seeds.", min=1, metavar="N")
    runs: int = setting(RUNS, help="Dialogues per seed.", min=1)


@dataclass(frozen=True)
class Public:
    """Public dialogues with published scores.

    Args:
        source (`str`, *optional*): The Hub dataset, or a folder in its layout.
        language (`str`, *optional*): Only dialogues of this language.
        limit (`int`, *optional*): A random sample of this size; by default all 3,135.
    """

    source: str = setting(
        "MiniMaxAI/role-play-bench",
        help="The Hub dataset, or a folder with the same files.",
        metavar="SOURCE",
    )
    language: str | None = setting(None, choices=("zh", "en"), help="Use only dialogues of this language.")
    limit: int | None = setting(
        None, help="Use a random sample of N dialogues, by --seed; by default all 3,135.", min=1, metavar="N"
    )


@app.command("run", cls=Command)
@with_options
def minimax(
    source: Annotated[Seeds, Group()],
    output: Annotated[Output, Group()],
    phases: Annotated[Phases, Group()],
    npc: Annotated[
        ModelReference,
        Group(
            _PLAY,
            "npc",
            help={"model": f"The model under test: {MODEL} Required unless --judge-only."},
        ),
    ],
    user: Annotated[
        ModelReference, Group(_PLAY, "user", help={"model": "The user simulator. Required unless --judge-only."})
    ],
    settings: Annotated[MinimaxSettings, Group(_PLAY, optional=("style",), help={"style": _STYLE})],
    judge: Annotated[
        ModelReference, Group(_JUDGE, "judge", help={"model": "The judge. Required unless --simulate-only."})
    ],
    judging: Annotated[ChunkJudging, Group(_JUDGE, "judge")],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Let a model play characters against a user simulator, and judge their clear errors (the default command).

    Writes results.json, report.html, report.md and plots to DIR, next to the dialogues and judgements. Scores are
    comparable with each other, not with published ones. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf eval minimax --npc http://127.0.0.1:8000 --style her --user http://127.0.0.1:8001 \\
        --judge http://127.0.0.1:8001 --out outputs/minimax
    """
    from her_hf.evaluation.minimax.run import LEDGER, MinimaxRun, run_minimax_now
    from her_hf.inference import Ledger
    from her_hf.scenes.seeds import load_seeds
    from her_hf.simulation.minimax import OWN_SEEDS

    output.refuse_a_run()
    phases.check(
        plays={"--npc": npc.model, "--style": settings, "--user": user.model}, judges={"--judge": judge.model}
    )
    found = load_seeds(source.seeds or OWN_SEEDS, source.language)[: source.limit]
    with Ledger(output.out / LEDGER) as ledger:
        open_one = calls.opener(ledger)
        run = MinimaxRun(
            found,
            output.out,
            None if phases.judge_only else settings,
            npc=None if phases.judge_only else open_one(str(npc.model), npc.name),
            user=None if phases.judge_only else open_one(str(user.model), user.name),
            judge=None if phases.simulate_only else open_one(str(judge.model), judge.name),
            judging=judging,
            runs=source.runs,
            source=source.seeds or "her_hf",
            split=source.language,
        )
        results = run_minimax_now(run)
    from her_hf.evaluation.minimax.report import write_minimax_report  # slow import: matplotlib

    _show(results, write_minimax_report(results, output.out))
    output.exit_if_missing(results)


@app.command("calibrate", cls=Command)
@with_options
def calibrate(
    public: Annotated[Public, Group()],
    output: Annotated[Output, Group()],
    judge: Annotated[ModelReference, Group(_JUDGE, "judge", required=("model",), help={"model": "The judge."})],
    judging: Annotated[ChunkJudging, Group(_JUDGE, "judge")],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Compute the rank correlation of a judge's scores with the published scores of public dialogues.

    her-hf eval minimax calibrate --judge http://127.0.0.1:8001 --limit 300 \\
        --out outputs/calibration
    """
    from her_hf.evaluation.minimax.calibrate import Calibration, calibrate_now
    from her_hf.evaluation.minimax.run import LEDGER
    from her_hf.inference import Ledger

    output.refuse_a_run()
    with Ledger(output.out / LEDGER) as ledger:
        caller = calls.opener(ledger)(str(judge.model), judge.name)
        results = calibrate_now(Calibration(caller, output.out, public.source, public.language, public.limit, judging))
    typer.echo(f"Spearman's rank correlation with the published scores of {results['dialogues']} dialogues:")
    rows = {
        "overall": results["spearman"]["overall"],
        **results["spearman"]["pillars"],
        **results["spearman"]["columns"],
    }
    for name, found in rows.items():
        shown = found["why"] if found["rho"] is None else f"{found['rho']:+.3f}  (n = {found['n']})"
        typer.echo(f"  {name:<20} {shown}")
    verdict = "accepted" if results["accepted"] else "not accepted"
    typer.echo(f"The judge is {verdict} (minimum overall correlation: {results['accepted_from']}).")
    output.exit_if_missing(results, "see calibration.json for the causes")


def _show(results: dict[str, Any], report: Path) -> None:
    """Prints the main figures."""
    from her_hf.evaluation.minimax.judging import SCALE
    from her_hf.runs.report.terminal import print_results

    played, failures = results["counts"], results["missing"]["failures"]
    typer.echo(f"{played['sessions']} dialogues of {played['seeds']} seeds; {len(failures)} failed.")
    if failures:
        typer.secho(f"The first: {failures[0]['detail']}", fg=typer.colors.YELLOW)
    print_results(results)
    if results["figures"]["scores"]:
        typer.echo(SCALE)
    typer.echo(f"Report: {report}, {report.with_suffix('.html')}")
