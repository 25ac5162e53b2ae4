"""`her-hf eval form`: dual-layer form, without a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .eval_options import ConfigOption, ResumeOption, refuse_a_run

_ASK = "Asking a model"


def form(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept; the same command goes on there.")
    ],
    config: ConfigOption = None,
    scenes: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Scenes: a file, a folder or a Hub dataset.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the scenes' source.")] = None,
    dialogues: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Score the dialogues.jsonl of her-hf eval coser; no model is asked."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model under test: a URL (several by commas), a folder or a Hub id.",
            rich_help_panel=_ASK,
        ),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the server.", rich_help_panel=_ASK)
    ] = None,
    style: Annotated[
        Literal["her", "coser", "plain"],
        typer.Option(help="How it is spoken to; never guessed.", rich_help_panel=_ASK),
    ] = "her",
    replies: Annotated[
        int, typer.Option(help="Most turns to reply to, spread over all scenes.", min=1, rich_help_panel=_ASK)
    ] = 100,
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of a reply; else 4096 for her, 512.", min=1, rich_help_panel=_ASK)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Else 0 for coser, 0.7 for others.", min=0, rich_help_panel=_ASK)
    ] = None,
    max_missing: Annotated[float, typer.Option(help="Exit with 3 if a larger share is missing.", min=0, max=1)] = 0.1,
    concurrency: Annotated[int, typer.Option(help="Most calls at once.", min=1, rich_help_panel=_ASK)] = 16,
    timeout: Annotated[
        float, typer.Option(help="Seconds that one call to a server may take in all.", min=1, rich_help_panel=_ASK)
    ] = 300.0,
    seed: Annotated[int, typer.Option(help="Every call's own seed comes from this.", rich_help_panel=_ASK)] = 42,
    resume: ResumeOption = True,
) -> None:
    """Measure dual-layer form: well-formed replies, leaks of thinking, patterns, repetition, lengths.

    Asks a model to reply to turns of scenes, or scores dialogues that were played before. Leaves results.json,
    report.md and a plot in DIR. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf eval form --scenes dataset_cards/her-mini --split test --model http://127.0.0.1:8000 --out outputs/form
    """
    from her_hf.evaluation.form.report import write_form_report

    refuse_a_run(out, resume)
    if (model is None) == (dialogues is None):
        raise ValueError("name either a model to ask (--model) or dialogues that were played (--dialogues)")
    if model is not None and scenes is None:
        raise ValueError("a model needs turns to reply to: name scenes (--scenes)")
    if dialogues is not None:
        results = _score(dialogues, scenes, split, out)
    else:
        results = _ask(
            (str(model), model_name),
            (str(scenes), split),
            out,
            {"concurrency": concurrency, "timeout": timeout},
            style=style,
            replies=replies,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
        )
    typer.echo(f"Report: {write_form_report(results, out)}")
    share = results["missing"]["share"]
    if share > max_missing:
        typer.secho(
            f"{share:.1%} is missing, more than --max-missing allows ({max_missing:.1%}); the report says why.",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(3)


def _score(dialogues: Path, scenes: str | None, split: str | None, out: Path) -> dict[str, Any]:
    """Scores dialogues that are there."""
    from her_hf.durable import claim, write_json
    from her_hf.evaluation.form.run import RESULTS, read_dialogues, score_played
    from her_hf.scenes import load_scenes

    settings = {"evaluation": "form", "dialogues": str(dialogues), "scenes": scenes, "split": split}
    found = load_scenes(scenes, split=split) if scenes else None
    results = score_played(read_dialogues(dialogues), found, settings)
    claim(out, settings, begun=lambda folder: (folder / RESULTS).exists())
    write_json(out / RESULTS, results)
    return results


def _ask(
    named: tuple[str, str | None],
    source: tuple[str, str | None],
    out: Path,
    calls: dict[str, Any],
    *,
    style: str,
    **settings: Any,
) -> dict[str, Any]:
    """Asks a model for replies and scores them."""
    from her_hf.evaluation.form.run import FormRun, run_form_now
    from her_hf.inference import Ledger
    from her_hf.inference.open import open_caller
    from her_hf.scenes import load_scenes
    from her_hf.simulation.styles import style_named

    found = load_scenes(source[0], split=source[1])
    with Ledger(out / "ledger.sqlite") as ledger:
        caller = open_caller(named[0], model=named[1], ledger=ledger, **calls)
        return run_form_now(FormRun(found, out, caller, style_named(style), **settings))
