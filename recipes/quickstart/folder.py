"""The folder of a quickstart: its settings, and the result, time and commit of each finished stage."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from her_hf.durable import claim, read_json, replace_text, write_json
from her_hf.hub.base import EMBEDDED
from her_hf.runs.origin import source_commit
from recipes.quickstart.plan import MINUTES, MINUTES_WITHOUT_BF16

T = TypeVar("T")

NOTE = "settings.json"
STAGES = ("base", "plan", "data", "train", "replies", "loss")
HERE = Path(__file__).parent
DATA = HERE.parents[1] / "dataset_cards" / "her-mini"


@dataclass
class Settings:
    """What the quickstart does; the plan decides how much of it."""

    minutes: float | None = field(
        default=None,
        metadata={
            "help": f"Minutes that training, sampling and scoring may take together; if not given, {MINUTES:g}, or "
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


class RunFolder:
    """The folder of one run.

    Args:
        settings ([`Settings`]): What the run does.
        path (`Path`): The folder; it stores `settings.json`, and accepts no other settings once a stage has started.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run with other settings, data or templates, or files
            of something else.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self.path = path
        identity = {**dataclasses.asdict(settings), "data_and_templates": _digest()}
        claim(path, identity, has_results=_has_started, note=NOTE)

    def stage(self, name: str, work: Callable[[], T]) -> T:
        """Runs a stage whose result is JSON, or reads that of a finished one; stores its seconds and the commit."""
        kept = self.path / f"{name}.json"
        if kept.exists():
            print(f"== {name}: done before")
        else:
            print(f"== {name}", flush=True)
            spent = self.path / f"{name}.seconds"
            before = float(spent.read_text()) if spent.exists() else 0.0
            start = time.monotonic()
            with ExitStack() as stack:
                # A failed attempt counts too: the report shows what the machine really spent, as far as it is known.
                stack.callback(lambda: replace_text(spent, str(before + time.monotonic() - start)))
                result = work()
            seconds = before + time.monotonic() - start
            write_json(kept, {"seconds": seconds, "commit": source_commit(), "result": result})
        # Read back either way, so that a resumed run reports exactly what one that was never killed does.
        found: T = read_json(kept)["result"]
        return found

    def is_done(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return (self.path / f"{stage}.json").exists()

    def kept(self, key: str) -> dict[str, Any]:
        """`"seconds"` or `"commit"` of each stage."""
        return {name: read_json(self.path / f"{name}.json")[key] for name in STAGES}


def _has_started(path: Path) -> bool:
    """Whether the run left anything but its note and drafts."""
    return any(entry.name != NOTE and entry.suffix != ".tmp" for entry in path.iterdir())


def _digest() -> str:
    """Digest of what determines the result beside the settings: recipe, data, templates, scene prompts."""
    package = HERE.parents[1] / "her_hf"
    files = [HERE / "config.yaml", *DATA.glob("data/*.jsonl"), *package.glob("**/*.jinja")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
