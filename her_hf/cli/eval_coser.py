"""`her-hf eval coser`: CoSER's given-circumstance acting, played and judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .eval_options import ConfigOption, ResumeOption, refuse_a_run

if TYPE_CHECKING:
    from her_hf.inference import Caller

_PLAY, _JUDGE = "Playing", "Judging"


def coser(
    scenes: Annotated[str, typer.Option(metavar="SOURCE", help="Scenes: a file, a folder or a Hub dataset.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept; the same command goes on there.")
    ],
    config: ConfigOption = None,
    split: Annotated[str | None, typer.Option(help="Split of the scenes' source.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many scenes.", min=1)] = None,
    actor: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model under test: a URL (several by commas), a folder or a Hub id.",
            rich_help_panel=_PLAY,
        ),
    ] = None,
    actor_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_PLAY)
    ] = None,
    style: Annotated[
        Literal["her", "coser", "plain"],
        typer.Option(help="How the actor is spoken to; never guessed.", rich_help_panel=_PLAY),
    ] = "her",
    environment: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Plays Environment; else the actor does.", rich_help_panel=_PLAY),
    ] = None,
    environment_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_PLAY)
    ] = None,
    next_speaker: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Names who speaks next; else Environment's model does.", rich_help_panel=_PLAY
        ),
    ] = None,
    next_speaker_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_PLAY)
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Most turns of a scene; else 10 for her, 20 for others.", min=1, rich_help_panel=_PLAY),
    ] = None,
    continue_from: Annotated[
        int, typer.Option(help="So many turns come from the original.", min=0, rich_help_panel=_PLAY)
    ] = 0,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Most tokens of an actor's turn; else 4096 for her, 512.", min=1, rich_help_panel=_PLAY),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Of the actor; else 0 for coser, 0.7 for others.", min=0, rich_help_panel=_PLAY),
    ] = None,
    retrieval: Annotated[
        Literal["none", "bm25", "embeddings"],
        typer.Option(help="How passages of the book are found for the actor.", rich_help_panel=_PLAY),
    ] = "none",
    books: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="CoSER book file or a folder of them.", rich_help_panel=_PLAY),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Who judges; may be given several times.", rich_help_panel=_JUDGE),
    ] = None,
    judge_model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="One for each --judge, in order.", rich_help_panel=_JUDGE),
    ] = None,
    judge_samples: Annotated[int, typer.Option(help="Judgements by each judge.", min=1, rich_help_panel=_JUDGE)] = 1,
    judge_tokens: Annotated[
        int, typer.Option(help="Most tokens of a judgement.", min=1, rich_help_panel=_JUDGE)
    ] = 2048,
    thoughts: Annotated[
        Literal["coser", "her"],
        typer.Option(
            help="coser: judges see no inner thoughts; her: they do. The two do not compare.", rich_help_panel=_JUDGE
        ),
    ] = "coser",
    max_missing: Annotated[
        float,
        typer.Option(
            help="Exit with 3 if a larger share of judgements is missing.", min=0, max=1, rich_help_panel=_JUDGE
        ),
    ] = 0.1,
    concurrency: Annotated[int, typer.Option(help="Most calls at once to each model.", min=1)] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds that one call to a server may take in all.", min=1)] = 300.0,
    seed: Annotated[int, typer.Option(help="Every call's own seed comes from this.")] = 42,
    resume: ResumeOption = True,
    simulate_only: Annotated[bool, typer.Option("--simulate-only", help="Play, and do not judge.")] = False,
    judge_only: Annotated[bool, typer.Option("--judge-only", help="Judge the dialogues that DIR holds.")] = False,
) -> None:
    """Play CoSER scenes and judge them in four dimensions.

    Leaves results.json, report.md and plots in DIR beside the dialogues and judgements. API keys come from
    HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf eval coser --scenes scenes.json --actor http://127.0.0.1:8000 --judge http://127.0.0.1:8001 --out runs/a
    """
    from her_hf.evaluation.coser.report import write_coser_report
    from her_hf.evaluation.coser.run import CoserRun, run_coser_now
    from her_hf.inference import Ledger
    from her_hf.inference.open import opener
    from her_hf.judging import Judging
    from her_hf.scenes import load_scenes
    from her_hf.simulation.coser import CoserSettings, Troupe

    refuse_a_run(out, resume)
    if simulate_only and judge_only:
        raise ValueError("--simulate-only and --judge-only exclude each other")
    if not judge_only and not actor:
        raise ValueError("name the model under test (--actor), or judge what was played before (--judge-only)")
    if not simulate_only and not judge:
        raise ValueError("name a judge (--judge), or only play (--simulate-only)")
    settings = CoserSettings(
        style, rounds=rounds, continue_from=continue_from, max_tokens=max_tokens, temperature=temperature, seed=seed
    )
    judging = Judging(thoughts, samples=judge_samples, max_tokens=judge_tokens, seed=seed)
    found = load_scenes(scenes, split=split)[:limit]
    memory, memory_name = None, "none"
    if retrieval != "none" and not judge_only:
        from her_hf.simulation.retrieval import memory_digest, open_memory

        memory = open_memory(retrieval, books, found)
        memory_name = f"{retrieval} {memory_digest(Path(str(books)), found)[:16]}"
    with Ledger(out / "ledger.sqlite") as ledger:
        open_one = opener(ledger, concurrency=concurrency, timeout=timeout)
        troupe = None
        if not judge_only:
            playing = open_one(str(actor), actor_model)
            world = open_one(environment, environment_model) if environment else playing
            director = open_one(next_speaker, next_speaker_model) if next_speaker else world
            troupe = Troupe(playing, world, director)
        judges = [] if simulate_only else _judges(judge or [], judge_model or [], open_one)
        run = CoserRun(found, out, settings, judging, troupe, judges, memory=memory, memory_name=memory_name)
        results = run_coser_now(run)
    report = write_coser_report(results, out)
    typer.echo(f"Report: {report}")
    if failed := results["played"]["failed"]:
        typer.secho(f"{len(failed)} scenes could not be played; the same command tries again.", err=True, fg="red")
    share = results.get("missing", {}).get("share", len(failed) / len(found))
    if share > max_missing:
        what = "dialogues" if simulate_only else "judgements"
        typer.secho(
            f"{share:.1%} of the {what} are missing, more than --max-missing allows ({max_missing:.1%}); the report "
            "says why.",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(3)


def _judges(specs: list[str], names: list[str], open_one: Callable[[str, str | None], Caller]) -> list[Caller]:
    """Opens the judges, each with its name if names are given."""
    if names and len(names) != len(specs):
        raise ValueError(f"--judge-model must be given for each --judge: {len(specs)} judges, {len(names)} names")
    wanted: list[str | None] = [*names] or [None] * len(specs)
    return [open_one(spec, name) for spec, name in zip(specs, wanted, strict=True)]
