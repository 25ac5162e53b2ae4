"""One quickstart: base, plan, data, training, replies, held-out loss, report."""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from her_hf.devices import cpu_cores, describe_device, has_bf16
from her_hf.durable import whole_lines, write_json
from her_hf.processes import end_with_parent, run_child
from her_hf.scenes import Scene, her_row, load_scenes
from recipes.quickstart.folder import DATA, HERE, STAGES, RunFolder, Settings
from recipes.quickstart.plan import MINUTES, MINUTES_WITHOUT_BF16, PROMPTS, Plan, Speeds, Work, finish_time, make_plan
from recipes.quickstart.progress import StageProgress
from recipes.quickstart.results import collect_results

T = TypeVar("T")

STARTED = time.monotonic()


class Quickstart:
    """One run in one folder.

    Args:
        settings ([`~recipes.quickstart.folder.Settings`]): What to do.
        out (`Path`): Folder of the run.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds another run, or files of something else.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out
        self.folder = RunFolder(settings, out)

    def run(self) -> Path:
        """All stages; returns the report."""
        from transformers.utils import logging

        from recipes.quickstart.report import write_report

        logging.set_verbosity_error()
        stage = self.folder.stage
        stage("base", self._base)
        plan = Plan.from_dict(stage("plan", self._plan))
        self._check(plan)
        self._announce(plan)
        data = stage("data", lambda: self._data(plan))
        log = stage("train", lambda: self._train(plan, data["train_replies"]))
        replies = stage("replies", lambda: self._replies(plan))
        losses = stage("loss", lambda: self._losses(plan))
        results = collect_results(self.folder, self.settings, plan, data, log, replies, losses, self._scenes("test"))
        write_json(self.out / "results.json", results)
        return write_report(results, log, self.out)

    # -- stages

    def _base(self) -> str:
        """The base, and the same weights with the HER template, with which both models are prompted."""
        with StageProgress("base", 20, after=self._minutes * 60).shown():
            from recipes.quickstart.base import write_bases

            in_subprocess(write_bases, self.out, self.settings.base)
        return str(self.out / "base")

    @property
    def _minutes(self) -> float:
        return self.settings.minutes or (MINUTES if has_bf16("cpu") else MINUTES_WITHOUT_BF16)

    def _plan(self) -> dict[str, Any]:
        """Times the machine and decides, once, how much is done."""
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
        prompts = [scene.messages_for(name, turns=turn) for scene, name, turn in self._units(limit=max(PROMPTS))]
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
        return work, in_subprocess(measure, folder, every, prompts, bf16=bf16)

    def _check(self, plan: Plan) -> None:
        """Refuses to follow a plan in a precision that this machine does not have.

        Raises:
            `ValueError`: If the plan was made with bfloat16 instructions and this CPU has none.
        """
        unfinished = [name for name in plan.seconds if not self.folder.is_done(name)]
        if unfinished and plan.bf16 and not has_bf16("cpu"):
            raise ValueError(
                f"{self.out / 'plan.json'} was made for bfloat16 ({plan.device}), and this machine has no bfloat16 "
                f"instructions: {', '.join(unfinished)} would not be what it planned. Name another --out."
            )

    def _announce(self, plan: Plan) -> None:
        left = sum(seconds for name, seconds in plan.seconds.items() if not self.folder.is_done(name))
        for line in plan.describe():
            print(f"   {line}")
        print(f"   All done about {finish_time(left)}.", flush=True)

    def _progress(self, name: str, plan: Plan) -> StageProgress:
        after = sum(plan.seconds.get(later, 0.0) for later in STAGES[STAGES.index(name) + 1 :])
        return StageProgress(name, plan.seconds[name], after=after)

    def _scenes(self, split: str) -> list[Scene]:
        return [scene for scene in load_scenes(DATA, split=split) if scene.language == "en"]

    def _train_scenes(self) -> list[Scene]:
        """Scenes to train on, in the order of use: those with few characters first, whose replies share most of their
        history and so cost the fewest tokens."""
        scenes = self._scenes("train")
        random.Random(self.settings.seed).shuffle(scenes)
        return sorted(scenes, key=lambda scene: len(scene.characters))

    def _units(self, limit: int) -> list[Any]:
        from her_hf.evaluation.form.run import choose_units

        return choose_units(self._scenes("test"), limit)

    def _data(self, plan: Plan) -> dict[str, int]:
        """A seeded English part of her-mini, as a dataset of its own."""
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
                f"{tail}\nTraining failed with exit code {code}; the end of {log} is above. The next `make "
                "quickstart` resumes from its last checkpoint."
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

                def report(share: float, done: int = done, name: str = name) -> None:
                    shown.update((done + share * draws[name]) / sum(draws.values()), name)

                found[name] = sample_replies(
                    folder,
                    units,
                    self.out / f"replies-{name}.jsonl",
                    draws=draws[name],
                    sampling=sampling,
                    seed=settings.seed,
                    dtype="bfloat16" if plan.bf16 else "float32",
                    progress=report,
                )
                done += draws[name]
        return found

    def _losses(self, plan: Plan) -> dict[str, dict[str, dict[str, float]]]:
        from recipes.quickstart.heldout import layer_losses

        scenes = self._scenes("test")[: plan.loss_scenes]
        found = {}
        with self._progress("loss", plan).shown() as shown:
            for done, (name, folder) in enumerate(self._models().items()):

                def report(share: float, done: int = done, name: str = name) -> None:
                    shown.update((done + share) / 2, name)

                found[name] = layer_losses(folder, scenes, bf16=plan.bf16, progress=report)
        return found


def in_subprocess(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Calls a function of another module in a process of its own, so that its memory is freed when it returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        return pool.submit(work, *args, **kwargs).result()


def _metrics(output: Path) -> list[dict[str, Any]]:
    """What training has logged so far."""
    file = output / "metrics.jsonl"
    return [json.loads(line) for line in whole_lines(file)] if file.exists() else []
