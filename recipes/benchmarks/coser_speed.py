"""Measures the CoSER evaluation against the lower bound given by its dependencies and the server's slots; prints JSON.

```bash
python -m recipes.benchmarks.coser_speed                        # 100 scenes, 50 ms per reply, 64 slots
python -m recipes.benchmarks.coser_speed --scenes dataset_cards/her-mini --split train --rounds 6
```

A scripted server in a separate process answers after a fixed latency, with a fixed number of slots. The lower bound of
a phase is the larger of two times: its longest chain of dependent calls (turns and next speakers of a scene), and all
its calls divided by the slots. Ledger, journals and prompts are those of a real run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from her_hf.evaluation.coser.run import CoserRun, run_coser
from her_hf.evaluation.rows import Row
from her_hf.inference import Ledger
from her_hf.inference.open import open_caller
from her_hf.judging import Judging
from her_hf.scenes import Scene, load_scenes
from her_hf.simulation.coser import CoserSettings, Troupe
from recipes.benchmarks.scripted_server import scripted


def main() -> None:
    """Parses arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="../shared/data/coser/scenes_id.json", help="scenes to play")
    parser.add_argument("--split", help="split of the scenes")
    parser.add_argument("--rounds", type=int, default=20, help="turns of a scene; 20 is CoSER's default")
    parser.add_argument("--latency", type=float, default=0.05, help="latency of a reply in seconds")
    parser.add_argument("--slots", type=int, default=64, help="concurrent replies of the server")
    arguments = parser.parse_args()
    scenes = load_scenes(arguments.scenes, split=arguments.split)
    print(json.dumps(measure(scenes, arguments.rounds, arguments.latency, arguments.slots), indent=2))


def measure(scenes: Sequence[Scene], rounds: int, latency: float, slots: int) -> dict[str, Any]:
    """Seconds and lower bounds of playing and judging."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with (
            scripted(out / "server", latency=latency, slots=slots) as (url, _),
            Ledger(out / "run" / "ledger.sqlite") as ledger,
        ):
            return asyncio.run(
                _measure(scenes, CoserSettings(rounds=rounds), out / "run", url, ledger, latency, slots)
            )


async def _measure(
    scenes: Sequence[Scene],
    settings: CoserSettings,
    out: Path,
    url: str,
    ledger: Ledger,
    latency: float,
    slots: int,
) -> dict[str, Any]:
    caller = open_caller(url, ledger=ledger, concurrency=2 * slots)  # so that a free slot is used immediately
    troupe = Troupe(caller, caller, caller)
    await caller.fingerprint()
    await run_coser(CoserRun(scenes, out, settings, Judging(), troupe, show=False))
    calls = caller.spent.asked
    await run_coser(CoserRun(scenes, out, settings, Judging(), judges=[caller], show=False))
    judgements = caller.spent.asked - calls
    await caller.close()
    played, judged = [json.loads(line)["seconds"] for line in _lines(out / "sessions.jsonl")]
    chains = [_chain(json.loads(line)) for line in _lines(out / "dialogues.jsonl")]
    return {
        "scenes": len(scenes),
        "rounds": settings.turns,
        "latency": latency,
        "slots": slots,
        "playing": _phase(calls, max(chains), played["playing"], latency, slots),
        "judging": _phase(judgements, 1, judged["judging"], latency, slots),
    }


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _chain(row: Row) -> int:
    """Number of dependent calls of a scene: attempts at turns, and calls of the next-speaker model."""
    return sum(turn["attempts"] for turn in row["turns"]) + row["named"] + row["drawn"]


def _phase(calls: int, chain: int, seconds: float, latency: float, slots: int) -> dict[str, float]:
    bound = max(chain * latency, calls * latency / slots)
    return {
        "calls": calls,
        "longest_chain": chain,
        "seconds": round(seconds, 3),
        "lower_bound": round(bound, 3),
        "ratio_to_bound": round(seconds / bound, 3),
    }


if __name__ == "__main__":
    main()
