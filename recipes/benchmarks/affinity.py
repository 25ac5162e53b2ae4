"""Measures what it is worth that the calls of one scene and character go to one server; prints JSON.

```bash
python -m recipes.benchmarks.affinity CHECKPOINT --python .venv-vllm --router .venv-router/bin/vllm-router
```

Two real vLLM servers play her-mini: each conversation is a character of a scene, its calls are the character's turns
in order, all conversations interleaved. Ways: `Caller` with affinity and without, and vllm-router with two policies.
Each way and repetition has prompts that no other one shares, so that nothing is in a cache before. The shares of
prompt tokens that came out of the prefix caches are the servers' own counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from her_hf.inference import Message, Sampling
from her_hf.inference.caller import Caller
from her_hf.inference.open import open_model
from her_hf.scenes import Scene, load_scenes
from her_hf.serving import Launch, free_port
from recipes.serving.replicas import add_arguments, replicas, routed

POLICIES = ("cache_aware", "round_robin")
_COUNTERS = ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")


@dataclass(frozen=True)
class Way:
    """One way to spread the calls: the addresses that a `Caller` gets, and whether it keeps conversations together."""

    urls: tuple[str, ...]
    affinity: bool = True


def main() -> None:
    """Parses arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--scenes", default="dataset_cards/her-mini", help="scenes to play")
    parser.add_argument("--conversations", type=int, default=12, help="characters of scenes")
    parser.add_argument("--turns", type=int, default=3, help="calls of each")
    parser.add_argument("--max-tokens", type=int, default=16, help="tokens of a reply")
    parser.add_argument("--concurrency", type=int, default=8, help="calls in flight, over all servers")
    parser.add_argument("--repeats", type=int, default=2, help="how often each way is measured, in turns")
    asked = parser.parse_args()
    asked_for = conversations(load_scenes(asked.scenes), asked.conversations, asked.turns)
    with ExitStack() as stack:
        servers = stack.enter_context(
            replicas(asked.model, asked.python, asked.servers, asked.out, asked.engine_arguments)
        )
        urls = tuple(server.url for server in servers)
        ways = {"Caller, affinity": Way(urls), "Caller, least busy": Way(urls, affinity=False)}
        for policy in POLICIES:
            log, port = asked.out / f"router-{policy}.log", free_port("127.0.0.1", 0)
            router = stack.enter_context(routed(asked.router, servers, policy, log, port))
            ways[f"vllm-router, {policy}"] = Way((router.url,))
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for repeat in range(asked.repeats):
            first = repeat % len(
                ways
            )  # each way has each place in the order: other work on the machine comes and goes
            for name in [*list(ways)[first:], *list(ways)[:first]]:
                measured = measure(
                    ways[name], servers, asked_for, f"{repeat}: {name}", asked.max_tokens, asked.concurrency
                )
                print(name, measured, flush=True)
                runs[name].append(measured)
    settings = {name: value for name, value in vars(asked).items() if isinstance(value, int)}
    print(json.dumps({"cpu": cpu(), "settings": settings, "ways": summary(runs), "runs": runs}, indent=2))


def conversations(scenes: Sequence[Scene], count: int, turns: int) -> list[list[list[Message]]]:
    """The calls of each character that has enough turns after the first of its scene.

    Raises:
        `ValueError`: If there are fewer than `count`.
    """
    found = []
    for scene in scenes:
        for member in scene.cast:
            at = [number for number, turn in enumerate(scene.dialogue) if number and turn.name == member.name]
            if len(at) >= turns:
                found.append([scene.messages_for(member.name, turns=number) for number in at[:turns]])
    if len(found) < count:
        raise ValueError(f"only {len(found)} characters have {turns} turns, asked for {count} (--conversations)")
    return found[:count]


def measure(
    way: Way,
    servers: Sequence[Launch],
    asked_for: Sequence[Sequence[list[Message]]],
    salt: str,
    max_tokens: int,
    concurrency: int,
) -> dict[str, float]:
    """Replies a second, and the share of prompt tokens that were in a prefix cache."""
    before = counters(servers)
    seconds = asyncio.run(_played(way, asked_for, salt, max_tokens, concurrency))
    hits, queries = (after - earlier for after, earlier in zip(counters(servers), before, strict=True))
    replies = sum(map(len, asked_for))
    return {"replies_per_second": replies / seconds, "seconds": seconds, "cached": hits / queries}


async def _played(
    way: Way, asked_for: Sequence[Sequence[list[Message]]], salt: str, max_tokens: int, concurrency: int
) -> float:
    caller = Caller([open_model(url) for url in way.urls], concurrency=concurrency, affinity=way.affinity)

    async def play(calls: Sequence[list[Message]]) -> None:
        for messages in calls:  # the next turn is asked for when this one is there
            first = {**messages[0], "content": f"({salt})\n{messages[0]['content']}"}
            await caller.ask([first, *messages[1:]], sampling=Sampling(max_tokens=max_tokens, temperature=0.7, seed=1))

    try:
        await caller.ask([{"role": "user", "content": salt}], sampling=Sampling(max_tokens=1))  # opens what is needed
        begun = time.monotonic()
        await asyncio.gather(*map(play, asked_for))
        return time.monotonic() - begun
    finally:
        await caller.close()


def counters(servers: Sequence[Launch]) -> list[float]:
    """Tokens found in the prefix caches and looked for there, of all servers together."""
    texts = []
    for server in servers:
        with urllib.request.urlopen(f"{server.root}/metrics", timeout=60) as response:
            texts.append(response.read().decode())
    return [
        sum(float(value) for text in texts for value in re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))
        for name in _COUNTERS
    ]


def summary(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians of each way, and its replies a second against those of the least busy server, run by run."""
    least = [run["replies_per_second"] for run in runs["Caller, least busy"]]
    return {
        name: {
            "replies_per_second": median(run["replies_per_second"] for run in measured),
            "ratio": median(run["replies_per_second"] / base for run, base in zip(measured, least, strict=True)),
            "cached": median(run["cached"] for run in measured),
        }
        for name, measured in runs.items()
    }


def cpu() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    names: list[Any] = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


if __name__ == "__main__":
    main()
