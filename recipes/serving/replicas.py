"""Several servers of one checkpoint behind one address: `her-hf serve` for each, and vllm-router before them.

```bash
python -m venv .venv-router && .venv-router/bin/pip install vllm-router
python -m recipes.serving.replicas outputs/quickstart/her-sft --python .venv-vllm --router .venv-router/bin/vllm-router
```

It prints the addresses, of the router and of the servers, and ends them all with Ctrl-C. Clients of this kit need no
router: name the servers by commas (`her-hf eval coser --actor URL,URL`), and the calls of one scene and character go
to one of them. The router is for other clients. Each server gets its own GPU, or its own share of the CPU's cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from her_hf.serving import Launch, ServeSettings, free_port, plan_launch, read_model, running

POLICY = "cache_aware"
"""The router's policy that sends prompts with one beginning to one server."""


def main() -> None:
    """Starts the servers and the router, prints their addresses, and waits for a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--port", type=int, default=8000, help="port of the router")
    parser.add_argument("--policy", default=POLICY, help="policy of the router")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        port = free_port("127.0.0.1", asked.port)
        if shutil.which(asked.router) is None:  # before servers are started, which takes a minute
            raise FileNotFoundError(f"there is no program {asked.router}: pip install vllm-router, or --router PATH")
        with replicas(asked.model, asked.python, asked.servers, asked.out, asked.engine_arguments) as servers:
            urls = [server.root for server in servers]
            with routed(asked.router, servers, asked.policy, asked.out / "router.log", port) as router:
                print(f"router: {router.url} ({asked.policy}), before {', '.join(urls)}", flush=True)
                signal.pause()
    except KeyboardInterrupt:
        print("All servers have ended.")
    except (OSError, ValueError, ImportError) as error:
        parser.exit(1, f"Error: {error}\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a model, its engine and the router."""
    parser.add_argument("model", help="a checkpoint folder")
    parser.add_argument("engine_arguments", nargs="*", help="further arguments of vLLM, after --")
    parser.add_argument("--python", type=Path, help="Python or virtual environment that has vLLM")
    parser.add_argument("--router", type=Path, default=Path("vllm-router"), help="the program vllm-router")
    parser.add_argument("--servers", type=int, default=2, help="number of servers")
    parser.add_argument("--out", type=Path, default=Path("outputs/serving"), help="folder of the logs")


@contextmanager
def replicas(
    model: str, python: Path | None, count: int, out: Path, engine_arguments: Sequence[str] = ()
) -> Iterator[list[Launch]]:
    """Servers of one checkpoint that answer, on free ports.

    Args:
        model (`str`): A checkpoint folder.
        python (`Path`, *optional*): Python or virtual environment that has vLLM.
        count (`int`): How many.
        out (`Path`): Folder of their logs.
        engine_arguments (`Sequence[str]`, *optional*): Further arguments of vLLM.
    """
    found = read_model(model)
    with ExitStack() as stack:
        started = []
        for number in range(count):
            settings = ServeSettings(engine="vllm", python=python, port=free_port("127.0.0.1", 0))
            launch = plan_launch(found, settings, engine_arguments)
            launch = replace(launch, environment={**launch.environment, **_share(number, count)})
            log = out / f"server-{number + 1}.log"
            stack.enter_context(running(launch, log, timeout=settings.ready_timeout))
            print(f"{launch.root} by {launch.title}: ready", flush=True)
            started.append(launch)
        yield started


@contextmanager
def routed(program: Path, servers: Sequence[Launch], policy: str, log: Path, port: int) -> Iterator[Launch]:
    """vllm-router before some servers, ready.

    Args:
        program (`Path`): The program.
        servers (`Sequence[Launch]`): The servers.
        policy (`str`): Its policy, such as `cache_aware` or `round_robin`.
        log (`Path`): Its log.
        port (`int`): Its port.
    """
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--policy", policy]
    command += ["--worker-startup-check-interval", "1", "--prometheus-port", str(free_port("127.0.0.1", 0))]
    command += ["--worker-urls", *(server.root for server in servers)]
    launch = Launch("vllm", "vllm-router", tuple(command), servers[0].model, "127.0.0.1", port)
    with running(launch, log, timeout=120):
        yield launch


def _share(number: int, count: int) -> dict[str, str]:
    """What ties a server to its part of the machine: one GPU, and its cores in vLLM's CPU build."""
    cores = sorted(os.sched_getaffinity(0))
    own = cores[number * len(cores) // count : (number + 1) * len(cores) // count] or cores
    return {"CUDA_VISIBLE_DEVICES": str(number), "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own))}


if __name__ == "__main__":
    main()
