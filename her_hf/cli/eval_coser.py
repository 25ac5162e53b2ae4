"""`her-hf eval coser`: play and judge CoSER scenes (given-circumstance acting)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from her_hf.judging.critics.coser import Judging
from her_hf.settings import setting
from her_hf.simulation.coser import CoserSettings

from .options import MODEL, Calls, ConfigOption, Group, ModelReference, Output, Phases, Scenes, with_options

if TYPE_CHECKING:
    from her_hf.inference import Caller
    from her_hf.scenes import Scene
    from her_hf.simulation.coser import Memory

_PLAY, _JUDGE = "Playing", "Judging"


@dataclass(frozen=True)
class Retrieval:
    """Passages of the book for the actor.

    Args:
        retrieval (`str`, *optional*, defaults to `"none"`): The method of retrieval.
        books (`Path`, *optional*): CoSER book file or a folder of them.
    """

    retrieval: str = setting(
        "none",
        choices=("none", "bm25", "embeddings"),
        help="How passages of the book are retrieved for the actor: none, bm25 or embeddings.",
        metavar="METHOD",
    )
    books: Path | None = setting(
        None, help="CoSER book file or a folder of them. Required unless --retrieval none.", metavar="PATH"
    )

    def open(self, scenes: list[Scene]) -> tuple[Memory | None, str]:
        """The memory and its name in the settings."""
        if self.retrieval == "none":
            return None, "none"
        from her_hf.simulation.retrieval import memory_digest, open_memory

        memory = open_memory(self.retrieval, self.books, scenes)
        return memory, f"{self.retrieval} {memory_digest(Path(str(self.books)), scenes)[:16]}"


@dataclass(frozen=True)
class Judges:
    """The judges.

    Args:
        judge (`list[str]`, *optional*): References of models as in [`~her_hf.cli.options.ModelReference`].
        judge_name (`list[str]`, *optional*): Their names on their servers.
    """

    judge: list[str] | None = setting(
        None, help="A judge; may be repeated. Required unless --simulate-only.", metavar="MODEL"
    )
    judge_name: list[str] | None = setting(
        None, help="Its name on the server; once for each --judge, in the same order.", metavar="NAME"
    )

    def open(self, open_one: Callable[[str, str | None], Caller]) -> list[Caller]:
        """Opens the judges, with their names if given."""
        specs, names = self.judge or [], self.judge_name or []
        if names and len(names) != len(specs):
            raise ValueError(
                f"--judge-name must be given once for each --judge, got {len(names)} for {len(specs)} judges"
            )
        wanted: list[str | None] = [*names] or [None] * len(specs)
        return [open_one(spec, name) for spec, name in zip(specs, wanted, strict=True)]


@with_options
def coser(
    source: Annotated[Scenes, Group()],
    output: Annotated[Output, Group()],
    phases: Annotated[Phases, Group()],
    actor: Annotated[
        ModelReference,
        Group(
            _PLAY,
            "actor",
            help={"model": f"The model under test: {MODEL} Required unless --judge-only."},
        ),
    ],
    environment: Annotated[
        ModelReference, Group(_PLAY, "environment", help={"model": "Plays Environment; by default the actor."})
    ],
    next_speaker: Annotated[
        ModelReference,
        Group(_PLAY, "next-speaker", help={"model": "Selects the next speaker; by default Environment's model."}),
    ],
    settings: Annotated[CoserSettings, Group(_PLAY)],
    passages: Annotated[Retrieval, Group(_PLAY)],
    judges: Annotated[Judges, Group(_JUDGE)],
    judging: Annotated[Judging, Group(_JUDGE, "judge")],
    calls: Annotated[Calls, Group()],
    config: ConfigOption = None,
) -> None:
    """Play CoSER scenes and judge them in four dimensions.

    Writes results.json, report.html, report.md and plots to DIR, next to the dialogues and judgements. API keys come
    from HER_HF_API_KEY or OPENAI_API_KEY.

    her-hf eval coser --scenes scenes.json --actor http://127.0.0.1:8000 \\
        --judge http://127.0.0.1:8001 --out outputs/coser
    """
    from her_hf.evaluation.coser.run import CoserRun, run_coser_now
    from her_hf.inference import Ledger
    from her_hf.runs.report.terminal import print_results
    from her_hf.scenes import load_scenes
    from her_hf.simulation.coser import Troupe

    output.refuse_a_run()
    phases.check(plays={"--actor": actor.model}, judges={"--judge": judges.judge})
    found = load_scenes(source.scenes, split=source.split)[: source.limit]
    memory, memory_name = (None, "none") if phases.judge_only else passages.open(found)
    with Ledger(output.out / "ledger.sqlite") as ledger:
        open_one = calls.opener(ledger)
        troupe = None
        if not phases.judge_only:
            playing = open_one(str(actor.model), actor.name)
            world = open_one(environment.model, environment.name) if environment.model else playing
            director = open_one(next_speaker.model, next_speaker.name) if next_speaker.model else world
            troupe = Troupe(playing, world, director)
        asked = [] if phases.simulate_only else judges.open(open_one)
        run = CoserRun(
            found,
            output.out,
            settings,
            judging,
            troupe,
            asked,
            memory=memory,
            memory_name=memory_name,
            source=source.scenes,
            split=source.split,
        )
        results = run_coser_now(run)
    from her_hf.evaluation.coser.report import write_coser_report  # slow import: matplotlib

    report = write_coser_report(results, output.out)
    print_results(results)
    typer.echo(f"Report: {report}, {report.with_suffix('.html')}")
    if failed := results["missing"]["failures"]:
        typer.secho(f"{len(failed)} scenes failed; the same command repeats them.", err=True, fg="red")
    output.exit_if_missing(results)
