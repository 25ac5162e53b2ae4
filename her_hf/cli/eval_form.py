"""`her-hf eval form`: dual-layer form, without a judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from her_hf.evaluation.form.run import FormSettings
from her_hf.settings import setting

from .options import MODEL, Calls, ConfigOption, Group, ModelReference, Output, Scenes, help_of, with_options

_ASK = "Asking a model"


@dataclass(frozen=True)
class Material:
    """Scenes to reply to, or existing dialogues.

    Args:
        scenes (`str`, *optional*): A file, a folder or a Hub dataset.
        split (`str`, *optional*): Split of the source.
        dialogues (`Path`, *optional*): The `dialogues.jsonl` of `her-hf eval coser`.
    """

    scenes: str | None = setting(
        None, help=help_of(Scenes, "scenes") + " Required unless --dialogues.", metavar="SOURCE"
    )
    split: str | None = setting(None, help=help_of(Scenes, "split"), metavar="NAME")
    dialogues: Path | None = setting(
        None,
        help="Score the dialogues.jsonl of her-hf eval coser; no model is called. Required unless --model.",
        metavar="FILE",
    )


@with_options
def form(
    material: Annotated[Material, Group()],
    output: Annotated[Output, Group()],
    model: Annotated[
        ModelReference,
        Group(
            _ASK,
            "model",
            help={"model": f"The model under test: {MODEL} Required unless --dialogues."},
        ),
    ],
    settings: Annotated[FormSettings, Group(_ASK)],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Measure dual-layer form: well-formed replies, leaks of thinking, patterns, repetition, lengths.

    Asks a model to reply to turns of scenes, or scores existing dialogues. Writes results.json, report.html,
    report.md and a plot to DIR. API keys come from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf eval form --scenes dataset_cards/her-mini --split test \\
        --model http://127.0.0.1:8000 --out outputs/form
    """
    from her_hf.runs.report.terminal import print_results

    output.refuse_a_run()
    if (model.model is None) == (material.dialogues is None):
        raise ValueError("give either a model (--model) or existing dialogues (--dialogues)")
    if model.model is not None and material.scenes is None:
        raise ValueError("--model requires scenes to reply to: give --scenes")
    if material.dialogues is not None:
        results = _score(material.dialogues, material, output.out)
    else:
        results = _ask(model, material, settings, calls, output.out)
    from her_hf.evaluation.form.report import write_form_report  # slow import: matplotlib

    report = write_form_report(results, output.out)
    print_results(results)
    typer.echo(f"Report: {report}, {report.with_suffix('.html')}")
    output.exit_if_missing(results)


def _score(dialogues: Path, material: Material, out: Path) -> dict[str, Any]:
    """Scores existing dialogues."""
    from her_hf.durable import claim, digest
    from her_hf.evaluation.form.run import read_dialogues, score_played
    from her_hf.runs.results import RESULTS, data_of, write_results
    from her_hf.runs.starts import Clock, note_start
    from her_hf.scenes import load_scenes

    scenes, split = material.scenes, material.split
    found = load_scenes(scenes, split=split) if scenes else None
    rows = read_dialogues(dialogues)
    data = data_of(str(dialogues), None, list(map(digest, rows)))
    settings = {"evaluation": "form", "dialogues": str(dialogues), "scenes": scenes, "split": split, "data": data}
    results = score_played(rows, found, settings)
    claim(out, settings, has_results=lambda folder: (folder / RESULTS).exists())
    write_results(out, results)
    note_start(out, Clock(), {})
    return results


def _ask(model: ModelReference, material: Material, settings: FormSettings, calls: Calls, out: Path) -> dict[str, Any]:
    """Asks a model for replies and scores them."""
    from her_hf.evaluation.form.run import FormRun, run_form_now
    from her_hf.inference import Ledger
    from her_hf.scenes import load_scenes

    found = load_scenes(str(material.scenes), split=material.split)
    with Ledger(out / "ledger.sqlite") as ledger:
        caller = calls.opener(ledger)(str(model.model), model.name)
        run = FormRun(found, out, caller, settings, source=str(material.scenes), split=material.split)
        return run_form_now(run)
