"""The quickstart: `make quickstart`, or `python -m recipes.quickstart --out outputs/quickstart`.

Writes the embedded base, times the machine, trains HER-SFT on a seeded English part of her-mini, and compares both on
books that training never saw. Every stage is kept as soon as it is finished: a killed quickstart goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from her_hf.devices import cpu_cores, describe_device, has_bf16
from her_hf.durable import claim, read_json, replace_text, whole_lines, write_json
from her_hf.hub.base import EMBEDDED, EMBEDDED_ID
from her_hf.hub.cards import source_commit
from her_hf.processes import end_with_parent, run_child
from her_hf.scenes import Scene, her_row, load_scenes
from her_hf.scoring.replies import SampledReply, score_replies
from recipes.quickstart.plan import MINUTES, MINUTES_WITHOUT_BF16, PROMPTS, Plan, Speeds, Work, arrival, make_plan
from recipes.quickstart.progress import StageProgress

T = TypeVar("T")

NOTE = "settings.json"
STAGES = ("base", "plan", "data", "train", "replies", "loss")
HERE = Path(__file__).parent
DATA = HERE.parents[1] / "dataset_cards" / "her-mini"
STARTED = time.monotonic()


@dataclass
class Settings:
    """What the quickstart does; how much of it, the plan decides."""

    minutes: float | None = field(
        default=None,
        metadata={
            "help": f"Minutes that training, sampling and scoring may take together; without it {MINUTES:g}, or "
            f"{MINUTES_WITHOUT_BF16:g} on a CPU without bfloat16 instructions."
        },
    )
    seed: int = field(default=42, metadata={"help": "Seed of the choice of data, of training and of sampling."})
    temperature: float = field(default=0.7, metadata={"help": "Sampling temperature."})
    top_p: float = field(default=0.9, metadata={"help": "Nucleus of the sampling."})
    base: str = field(default=EMBEDDED, metadata={"help": "Base model: the embedded one, a Hub id or a folder."})

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")


class Quickstart:
    """One run in one folder.

    Args:
        settings (`Settings`): What to do.
        out (`Path`): Folder of the run; it keeps `settings.json` and takes no other settings afterwards.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run with other settings, data or templates, or files
            of something else.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out
        decided = {**dataclasses.asdict(settings), "data_and_templates": _digest()}
        claim(out, decided, begun=_begun, note=NOTE)

    def stage(self, name: str, work: Callable[[], T]) -> T:
        """Runs a stage whose result is JSON, or reads a finished one; keeps its seconds and the code's commit."""
        kept = self.out / f"{name}.json"
        if kept.exists():
            print(f"== {name}: done before")
        else:
            print(f"== {name}", flush=True)
            spent = self.out / f"{name}.seconds"
            before = float(spent.read_text()) if spent.exists() else 0.0
            start = time.monotonic()
            with ExitStack() as stack:
                # A failed try counts too: the report shows what the machine really spent, as far as it is known.
                stack.callback(lambda: replace_text(spent, str(before + time.monotonic() - start)))
                result = work()
            seconds = before + time.monotonic() - start
            write_json(kept, {"seconds": seconds, "commit": source_commit(), "result": result})
        # Read back either way, so that a run that went on reports exactly what one that was never killed does.
        found: T = read_json(kept)["result"]
        return found

    def kept(self, key: str) -> dict[str, Any]:
        """`"seconds"` or `"commit"` of each stage."""
        return {name: read_json(self.out / f"{name}.json")[key] for name in STAGES}

    def run(self) -> Path:
        """All stages; returns the report."""
        from transformers.utils import logging

        from recipes.quickstart.report import write_report

        logging.set_verbosity_error()
        self.stage("base", self._base)
        plan = Plan.from_dict(self.stage("plan", self._plan))
        self._check(plan)
        self._announce(plan)
        data = self.stage("data", lambda: self._data(plan))
        log = self.stage("train", lambda: self._train(plan, data["train_replies"]))
        replies = self.stage("replies", lambda: self._replies(plan))
        losses = self.stage("loss", lambda: self._losses(plan))
        results = self._results(plan, data, log, replies, losses)
        write_json(self.out / "results.json", results)
        return write_report(results, log, self.out)

    # -- stages

    def _base(self) -> str:
        """The base, and the same weights with the HER template: what both models are prompted with."""
        with StageProgress("base", 20, after=self._minutes * 60).shown():
            from recipes.quickstart.base import write_bases

            in_a_process(write_bases, self.out, self.settings.base)
        return str(self.out / "base")

    @property
    def _minutes(self) -> float:
        return self.settings.minutes or (MINUTES if has_bf16("cpu") else MINUTES_WITHOUT_BF16)

    def _plan(self) -> dict[str, Any]:
        """Times the machine and decides once how much is done."""
        bf16 = has_bf16("cpu")
        with StageProgress("plan", 30, after=self._minutes * 60).shown():
            work, speeds = self._timed(bf16=bf16)
        return make_plan(
            work,
            speeds,
            minutes=self._minutes,
            spent=time.monotonic() - STARTED,
            bf16=bf16,
            device=describe_device("cpu"),
        ).as_dict()

    def _timed(self, *, bf16: bool) -> tuple[Work, Speeds]:
        """What could be done, and how fast this machine does it."""
        from transformers import AutoConfig, AutoTokenizer

        from recipes.quickstart.heldout import scene_rows
        from recipes.quickstart.timing import measure

        folder = self.out / "base"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        rows = {
            name: [scene_rows([scene], tokenizer) for scene in scenes]
            for name, scenes in (("train", self._train_scenes()), ("loss", self._scenes("test")))
        }
        prompts = [scene.messages_for(name, turns=turn) for scene, name, turn in self._units(most=max(PROMPTS))]
        work = Work(
            train=[sum(len(row["input_ids"]) for row in scene) for scene in rows["train"]],
            replies=[sum(len(row["reply_ids"]) for row in scene) for scene in rows["train"]],
            prompts=[
                len(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)["input_ids"])
                for messages in prompts
            ],
            loss=[sum(len(row["input_ids"]) for row in scene) for scene in rows["loss"]],
            layers=AutoConfig.from_pretrained(folder).get_text_config().num_hidden_layers,
        )
        every = [row for scene in rows["train"] for row in scene]
        return work, in_a_process(measure, folder, every, prompts, bf16=bf16)

    def _check(self, plan: Plan) -> None:
        """Refuses to go on with a plan in a precision that this machine has not.

        Raises:
            `ValueError`: If the plan was made with bfloat16 instructions and this CPU has none.
        """
        unfinished = [name for name in plan.seconds if not (self.out / f"{name}.json").exists()]
        if unfinished and plan.bf16 and not has_bf16("cpu"):
            raise ValueError(
                f"{self.out / 'plan.json'} was made for bfloat16 ({plan.device}), and this machine has no bfloat16 "
                f"instructions: {', '.join(unfinished)} would not be what it planned. Name another --out."
            )

    def _announce(self, plan: Plan) -> None:
        left = sum(seconds for name, seconds in plan.seconds.items() if not (self.out / f"{name}.json").exists())
        for line in plan.in_words():
            print(f"   {line}")
        print(f"   All done about {arrival(left)}.", flush=True)

    def _progress(self, name: str, plan: Plan) -> StageProgress:
        after = sum(plan.seconds.get(later, 0.0) for later in STAGES[STAGES.index(name) + 1 :])
        return StageProgress(name, plan.seconds[name], after=after)

    def _scenes(self, split: str) -> list[Scene]:
        return [scene for scene in load_scenes(DATA, split=split) if scene.language == "en"]

    def _train_scenes(self) -> list[Scene]:
        """Scenes to train on, in the order in which they are taken: those of few characters first, whose replies share
        most of their history, so that they cost the fewest tokens."""
        scenes = self._scenes("train")
        random.Random(self.settings.seed).shuffle(scenes)
        return sorted(scenes, key=lambda scene: len(scene.characters))

    def _units(self, most: int) -> list[Any]:
        from her_hf.evaluation.form.run import choose_units

        return choose_units(self._scenes("test"), most)

    def _data(self, plan: Plan) -> dict[str, int]:
        """A seeded English part of her-mini, as a data set of its own."""
        folder = self.out / "data" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {"train": self._train_scenes()[: plan.train_scenes], "validation": self._scenes("validation")[:2]}
        for split, scenes in chosen.items():
            rows = [json.dumps(her_row(scene), ensure_ascii=False) + "\n" for scene in scenes]
            (folder / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
        replies = sum(turn.system_thinking is not None for scene in chosen["train"] for turn in scene.dialogue)
        return {"train_scenes": len(chosen["train"]), "train_replies": replies}

    def _train(self, plan: Plan, replies: int) -> list[dict[str, Any]]:
        """`accelerate launch recipes/sft.py`, as a user would; it resumes from its own checkpoints."""
        output, log = self.out / "her-sft", self.out / "train.log"
        launch = "-m accelerate.commands.launch --cpu --num_processes 1 --num_machines 1"
        launch += f" --mixed_precision no --dynamo_backend no --num_cpu_threads_per_process {cpu_cores()}"
        settings = {
            "config": HERE / "config.yaml",
            "model_name_or_path": self.out / "base",
            "dataset": self.out / "data",
            "output_dir": output,
            "seed": self.settings.seed,
            "bf16": plan.bf16,
            "train_last_layers": plan.train_last_layers,
            "replies_per_step": plan.replies_per_step,
            "gradient_accumulation_steps": plan.replies_per_step,  # about one row at a time: less memory
        }
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, *launch.split(), str(HERE.parent / "sft.py"), *arguments]
        with log.open("ab") as file, self._progress("train", plan).shown() as shown:

            def follow() -> None:
                steps = _metrics(output)
                if steps:
                    trained = int(steps[-1].get("num_replies", 0))
                    shown.update(trained / replies, f"{trained} of {replies} replies")

            code = run_child(command, output=file, waiting=follow)
        if code:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise SystemExit(
                f"{tail}\nTraining ended with exit code {code}; the end of {log} is above. The next `make quickstart` "
                "goes on from its last checkpoint."
            )
        return _metrics(output)

    def _models(self) -> dict[str, Path]:
        return {"base": self.out / "base", "her-sft": self.out / "her-sft"}

    def _replies(self, plan: Plan) -> dict[str, list[dict[str, Any]]]:
        from her_hf.inference.interface import Sampling
        from recipes.quickstart.replies import sample_replies

        settings = self.settings
        units = self._units(plan.prompts)
        sampling = Sampling(plan.max_new_tokens, settings.temperature, settings.top_p)
        draws = {"base": 1, "her-sft": plan.draws}
        found, done = {}, 0
        with self._progress("replies", plan).shown() as shown:
            for name, folder in self._models().items():

                def tell(share: float, done: int = done, name: str = name) -> None:
                    shown.update((done + share * draws[name]) / sum(draws.values()), name)

                found[name] = sample_replies(
                    folder,
                    units,
                    self.out / f"replies-{name}.jsonl",
                    draws=draws[name],
                    sampling=sampling,
                    seed=settings.seed,
                    dtype="bfloat16" if plan.bf16 else "float32",
                    progress=tell,
                )
                done += draws[name]
        return found

    def _losses(self, plan: Plan) -> dict[str, dict[str, dict[str, float]]]:
        from recipes.quickstart.heldout import layer_losses

        scenes = self._scenes("test")[: plan.loss_scenes]
        found = {}
        with self._progress("loss", plan).shown() as shown:
            for done, (name, folder) in enumerate(self._models().items()):

                def tell(share: float, done: int = done, name: str = name) -> None:
                    shown.update((done + share) / 2, name)

                found[name] = layer_losses(folder, scenes, bf16=plan.bf16, progress=tell)
        return found

    # -- results

    def _results(
        self,
        plan: Plan,
        data: dict[str, int],
        log: list[dict[str, Any]],
        replies: dict[str, list[dict[str, Any]]],
        losses: dict[str, dict[str, dict[str, float]]],
    ) -> dict[str, Any]:
        scenes = {scene.key: scene for scene in self._scenes("test")}
        sampled = {name: [_as_reply(row, scenes) for row in rows] for name, rows in replies.items()}
        return {
            "settings": {
                **dataclasses.asdict(self.settings),
                **data,
                "base": EMBEDDED_ID if self.settings.base == EMBEDDED else self.settings.base,
                "data": "her-mini (English)",
                "commits": self.kept("commit"),
                "steps": max((row["step"] for row in log if "step" in row), default=0),
                "prompts": plan.prompts,
                "max_new_tokens": plan.max_new_tokens,
                "trained_in": read_json(self.out / "her-sft" / "results.json")["precision"],
            },
            "plan": plan.as_dict(),
            "models": {name: {"figures": score_replies(sampled[name]), "loss": losses[name]} for name in sampled},
            "patterns": {
                "data": [turn.pattern for scene in scenes.values() for turn in scene.dialogue],
                **{name: [reply.turn.pattern for reply in rows] for name, rows in sampled.items()},
            },
            "samples": _samples(replies, scenes),
            "seconds": self.kept("seconds"),
        }


def in_a_process(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Calls a function of another module in a process of its own, whose memory is free again when it has returned."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        return pool.submit(work, *args, **kwargs).result()


def _metrics(output: Path) -> list[dict[str, Any]]:
    """What training has logged so far."""
    file = output / "metrics.jsonl"
    return [json.loads(line) for line in whole_lines(file)] if file.exists() else []


def _begun(folder: Path) -> bool:
    """Whether the run left anything but its note and drafts."""
    return any(entry.name != NOTE and entry.suffix != ".tmp" for entry in folder.iterdir())


def _digest() -> str:
    """Digest of what decides the result beside the settings: recipe, data, templates, scene prompts."""
    package = HERE.parents[1] / "her_hf"
    files = [HERE / "config.yaml", *DATA.glob("data/*.jsonl"), *package.glob("**/*.jinja")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _scene_of(row: dict[str, Any], scenes: dict[tuple[str, int, int], Scene]) -> Scene:
    book, i_p, i_c = row["scene_key"]
    return scenes[(book, i_p, i_c)]


def _as_reply(row: dict[str, Any], scenes: dict[tuple[str, int, int], Scene]) -> SampledReply:
    names = tuple(member.name for member in _scene_of(row, scenes).cast)
    return SampledReply(row["text"], speaker=row["character"], names=names, ended=row["ended"])


def _samples(
    replies: dict[str, list[dict[str, Any]]], scenes: dict[tuple[str, int, int], Scene], count: int = 5
) -> list[dict[str, Any]]:
    """Replies side by side, evenly spread: not the best ones."""
    total = len(replies["base"])
    samples = []
    for place in range(min(count, total)):
        index = place * total // count
        row = replies["base"][index]
        scene = _scene_of(row, scenes)
        turn = row["turn"]
        samples.append(
            {
                "book": scene.book,
                "character": row["character"],
                "turn": turn,
                "before": scene.dialogue[turn - 1].render(view="others"),
                "reference": scene.dialogue[turn].render(),
                **{name: rows[index]["text"] for name, rows in replies.items()},
            }
        )
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart"), help="Folder of the run.")
    for entry in dataclasses.fields(Settings):
        kind = float if entry.default is None else type(entry.default)
        text = entry.metadata["help"] + ("" if entry.default is None else f" (default: {entry.default})")
        parser.add_argument(f"--{entry.name}", type=kind, default=entry.default, help=text)
    given = vars(parser.parse_args())
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported: the stages show their own progress
    try:
        report = Quickstart(out=given.pop("out"), settings=Settings(**given)).run()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on where it was.")
    print(f"\nThe report is in {report}")
    print(report.read_text().split("## Held-out")[0])


if __name__ == "__main__":
    main()
