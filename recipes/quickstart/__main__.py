"""The quickstart: `make quickstart`, or `python -m recipes.quickstart --out outputs/quickstart`.

Writes the embedded base, trains HER-SFT on a seeded English part of her-mini, and compares both on books that training
never saw. Every stage is kept as soon as it is finished: a killed quickstart goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from her_hf.durable import claim, read_json, replace_text, write_json
from her_hf.hub.base import EMBEDDED, EMBEDDED_ID, write_base
from her_hf.hub.cards import source_commit
from her_hf.scenes import Scene, load_scenes
from her_hf.scoring.replies import SampledReply, score_replies

T = TypeVar("T")

NOTE = "settings.json"
STAGES = ("base", "data", "train", "replies", "loss")
HERE = Path(__file__).parent
DATA = HERE.parents[1] / "dataset_cards" / "her-mini"


@dataclass
class Settings:
    """What the quickstart does; the defaults fit 15 minutes on two CPU cores, install included."""

    seed: int = field(default=42, metadata={"help": "Seed of the choice of data, of training and of sampling."})
    train_scenes: int = field(default=16, metadata={"help": "English scenes to train on, drawn from the train split."})
    max_steps: int = field(default=-1, metadata={"help": "Stop training after this many steps; -1: one epoch."})
    test_replies: int = field(default=24, metadata={"help": "Replies sampled from each model on the test split."})
    temperature: float = field(default=0.7, metadata={"help": "Sampling temperature."})
    top_p: float = field(default=0.9, metadata={"help": "Nucleus of the sampling."})
    max_new_tokens: int = field(default=320, metadata={"help": "Most tokens of a reply."})
    base: str = field(default=EMBEDDED, metadata={"help": "Base model: the embedded one, a Hub id or a folder."})


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
        from recipes.quickstart.report import write_report

        self.stage("base", self._base)
        data = self.stage("data", self._data)
        log = self.stage("train", self._train)
        replies = self.stage("replies", self._replies)
        losses = self.stage("loss", self._losses)
        results = self._results(data, log, replies, losses)
        write_json(self.out / "results.json", results)
        return write_report(results, log, self.out)

    # -- stages

    def _base(self) -> str:
        """The base, and the same weights with the HER template: what both models are prompted with."""
        from her_hf.processing.attach import attach_model

        plain = write_base(self.out / "base-plain", self.settings.base)
        attach_model(plain, self.out / "base")
        return str(self.out / "base")

    def _scenes(self, split: str) -> list[Scene]:
        return [scene for scene in load_scenes(DATA, split=split) if scene.language == "en"]

    def _data(self) -> dict[str, int]:
        """A seeded English part of her-mini, as a data set of its own."""
        folder = self.out / "data" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        train = self._scenes("train")
        random.Random(self.settings.seed).shuffle(train)
        chosen = {"train": train[: self.settings.train_scenes], "validation": self._scenes("validation")[:2]}
        for split, scenes in chosen.items():
            rows = [json.dumps(scene.to_her_row(), ensure_ascii=False) + "\n" for scene in scenes]
            (folder / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
        replies = sum(turn.system_thinking is not None for scene in chosen["train"] for turn in scene.dialogue)
        return {"train_scenes": len(chosen["train"]), "train_replies": replies}

    def _train(self) -> list[dict[str, Any]]:
        """`accelerate launch recipes/sft.py`, as a user would; it resumes from its own checkpoints."""
        output = self.out / "her-sft"
        launch = "-m accelerate.commands.launch --cpu --num_processes 1 --num_machines 1"
        launch += " --mixed_precision no --dynamo_backend no"
        settings = {
            "config": HERE / "config.yaml",
            "model_name_or_path": self.out / "base",
            "dataset": self.out / "data",
            "output_dir": output,
            "seed": self.settings.seed,
            "max_steps": self.settings.max_steps,
        }
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, *launch.split(), str(HERE.parent / "sft.py"), *arguments]
        finished = subprocess.run(command, check=False)
        if finished.returncode:
            raise SystemExit(
                f"Training ended with exit code {finished.returncode}; its messages are above. The next "
                "`make quickstart` goes on from its last checkpoint."
            )
        lines = (output / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def _models(self) -> dict[str, Path]:
        return {"base": self.out / "base", "her-sft": self.out / "her-sft"}

    def _replies(self) -> dict[str, list[dict[str, Any]]]:
        from her_hf.evaluation.format import choose_units
        from her_hf.inference.interface import Sampling
        from recipes.quickstart.replies import sample_replies

        settings = self.settings
        units = choose_units(self._scenes("test"), settings.test_replies)
        sampling = Sampling(settings.max_new_tokens, settings.temperature, settings.top_p)
        return {
            name: sample_replies(
                folder, units, self.out / f"replies-{name}.jsonl", sampling=sampling, seed=settings.seed
            )
            for name, folder in self._models().items()
        }

    def _losses(self) -> dict[str, dict[str, dict[str, float]]]:
        from recipes.quickstart.heldout import layer_losses

        scenes = self._scenes("test")
        return {name: layer_losses(folder, scenes) for name, folder in self._models().items()}

    # -- results

    def _results(
        self,
        data: dict[str, int],
        log: list[dict[str, Any]],
        replies: dict[str, list[dict[str, Any]]],
        losses: dict[str, dict[str, dict[str, float]]],
    ) -> dict[str, Any]:
        from her_hf.training.job import device_name

        scenes = {scene.key: scene for scene in self._scenes("test")}
        sampled = {name: [_as_reply(row, scenes) for row in rows] for name, rows in replies.items()}
        return {
            "settings": {
                **dataclasses.asdict(self.settings),
                **data,
                "base": EMBEDDED_ID if self.settings.base == EMBEDDED else self.settings.base,
                "data": "her-mini (English)",
                "device": f"{device_name()}, {platform.machine()}",
                "commits": self.kept("commit"),
                "steps": max((row["step"] for row in log if "step" in row), default=0),
                "test_replies": len(replies["base"]),
            },
            "models": {name: {"figures": score_replies(sampled[name]), "loss": losses[name]} for name in sampled},
            "patterns": {
                "data": [turn.pattern for scene in scenes.values() for turn in scene.dialogue],
                **{name: [reply.turn.pattern for reply in rows] for name, rows in sampled.items()},
            },
            "samples": _samples(replies, scenes),
            "seconds": self.kept("seconds"),
        }


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
        kind = type(entry.default)
        text = f"{entry.metadata['help']} (default: {entry.default})"
        parser.add_argument(f"--{entry.name}", type=kind, default=entry.default, help=text)
    given = vars(parser.parse_args())
    try:
        report = Quickstart(out=given.pop("out"), settings=Settings(**given)).run()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
    print(f"\nThe report is in {report}")
    print(report.read_text().split("## Held-out")[0])


if __name__ == "__main__":
    main()
