"""An OpenAI-compatible server with scripted answers, latency and faults, in a separate process.

Answers depend only on the request, so all runs of an evaluation get the same ones. Transient faults (429, 500, a
dropped connection) occur at the first attempts of some requests; malformed answers are permanent for some requests.

    python recipes/benchmarks/scripted_server.py --port-file PORT --log LOG --latency 0.005 --faults
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from her_hf.processes import child_process

_LINE = "the door stays shut and nobody says why so we wait here with cold tea until a step sounds on the stair"
_WORDS = _LINE.split()


class Script:
    """The scripted answers and faults."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.latency, self.faults, self.prose = arguments.latency, arguments.faults, arguments.prose
        self.broken_after, self.broken_status, self.answered = arguments.broken_after, arguments.broken_status, 0
        self.slots = asyncio.Semaphore(arguments.slots)
        self.attempts: Counter[str] = Counter()
        self.flushing = False
        self.log = open(arguments.log, "a", encoding="utf-8")  # noqa: SIM115

    def note(self, key: str, outcome: str) -> None:
        """Writes a line of the log; lines of one iteration of the event loop are flushed together."""
        self.log.write(f"{key} {outcome}\n")
        if not self.flushing:
            self.flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        self.log.flush()

    def fault(self, key: str) -> str | None:
        """The fault of this attempt, if any; no request fails more than twice."""
        self.attempts[key] += 1
        self.answered += 1
        if self.broken_after is not None and self.answered > self.broken_after:
            return str(self.broken_status)
        kind = int(key[:2], 16)
        if not self.faults or self.attempts[key] > 2:
            return None
        if self.attempts[key] == 1:
            return {0: "429", 1: "429", 2: "500", 3: "drop", 4: "half", 5: "html", 6: "hang"}.get(kind % 32)
        return {0: "500", 3: "drop"}.get(kind % 64)

    def answer(self, body: dict[str, Any], key: str) -> str:
        """The reply to a request."""
        system, last = body["messages"][0]["content"], body["messages"][-1]["content"]
        draw = int(key[8:16], 16)
        if "You are a critic" in system:
            return self._judgement(system, last, draw)
        if "You direct a scene" in system:
            return self._next(system, draw)
        words = " ".join(_WORDS[(draw + step * (1 + draw % 7)) % len(_WORDS)] for step in range(12 + draw % 9))
        name = re.match(r"You are (.+?)(?: from .*)?\.\n", system)
        who = name[1] if name else "Environment"
        if body.get("chat_template_kwargs", {}).get("enable_thinking"):
            if self.faults and draw % 23 == 0:
                return "<system_thinking>\nStill planning"  # ends before the turn
            return (
                f"<system_thinking>\nThe plan of turn {draw % 997}.\n</system_thinking>\n{who}: <role_thinking>I wait "
                f"{draw % 89}.</role_thinking> <role_action>turns {draw % 13}</role_action> {words}."
            )
        return f"{who}: {words}."

    def _next(self, system: str, draw: int) -> str:
        names = re.search(r"Name exactly one of: (.+)\.\n", system)
        listed = names[1].split(", ") if names else ["random"]
        if draw % 19 == 0:
            return "I could not say who that would be."
        if draw % 61 == 0:
            return "<END CHAT>"
        who = listed[draw % len(listed)]
        return [f"Next Speaker: {who}", f"**Next Speaker:** {who}", f"1. Next Speaker: **{who}**", who][draw % 4]

    def _judgement(self, system: str, last: str, draw: int) -> str:
        dimension = re.search(r"in one respect: (.+)\. Look", system)
        types = re.search(r"- type: one of (.+)\n", system)
        kinds = types[1].split("; ") if types else ["?"]
        flaws: list[dict[str, Any]] = [
            {
                "instance": last[20 + at * 7 : 60 + at * 7],
                "type": kinds[(draw + at) % len(kinds)],
                "severity": 1 + (draw >> at) % 5,
            }
            for at in range(draw % 5)
        ]
        if flaws and draw % 31 == 0:
            flaws[0]["severity"] = str(flaws[0]["severity"])
        if flaws and draw % 37 == 0:
            del flaws[0]["severity"]
        text = json.dumps({dimension[1] if dimension else "?": {"flaws": flaws}})
        if self.prose:
            return "As a critic I find this rather good."
        if not self.faults:
            return text
        # By the digest of the conversation, not of the attempt, so these remain malformed in all attempts.
        stuck = int(hashlib.sha256(last.encode()).hexdigest()[:8], 16) % 29
        if stuck == 0:
            return "I would rather not judge this."
        if stuck == 1:
            return json.dumps({"Another Dimension": {"flaws": flaws}})
        if draw % 11 == 0:
            return "Sorry, give me a moment."  # another attempt has another seed
        if draw % 13 == 0:
            return f"Here is the result:\n```json\n{text[:-2]}\n```"  # truncated: must not be completed
        if draw % 7 == 0:
            return f"Here is the result:\n```json\n{text[:-2]},}}}}\n```"  # trailing comma
        return text


async def serve(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serves one keep-alive connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            payload = await reader.readexactly(int(length[1])) if length else b""
            if head.startswith(b"GET"):
                await send(writer, 200, {"data": [{"id": "scripted"}]})
            elif b"/chat/completions" not in head[:64]:
                await send(writer, 404, {"detail": "Not Found"})
            elif not await chat(script, payload, writer):
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def chat(script: Script, payload: bytes, writer: asyncio.StreamWriter) -> bool:
    """Serves one chat request; `False` if the connection was closed."""
    key = hashlib.sha256(payload).hexdigest()
    async with script.slots:
        await asyncio.sleep(script.latency)
    fault = script.fault(key)
    script.note(key, fault or "ok")
    if fault == "429":
        await send(writer, 429, {"error": {"message": "slow down"}}, b"Retry-After: 0.05\r\n")
    elif fault and fault.isdecimal():
        await send(writer, int(fault), {"error": {"message": "oops"}})
    elif fault == "html":
        await send(writer, 200, "<html>Bad gateway</html>")
    elif fault in ("drop", "half"):
        writer.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"cho'[
                : 20 if fault == "drop" else None
            ]
        )
        await writer.drain()
        return False
    else:
        if fault == "hang":
            await asyncio.sleep(0.2)
        text = script.answer(json.loads(payload), key)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": len(payload) // 4, "completion_tokens": len(text) // 4}
        usage["total_tokens"] = sum(usage.values())
        about = {"id": key[:16], "object": "chat.completion", "created": 0, "model": "scripted"}
        await send(writer, 200, {**about, "choices": [choice], "usage": usage})
    return True


async def send(writer: asyncio.StreamWriter, status: int, value: Any, extra: bytes = b"") -> None:
    """Sends one answer."""
    body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    kind = b"text/html" if isinstance(value, str) else b"application/json"
    head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (status, kind, len(body), extra)
    writer.write(head + body)
    await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--slots", type=int, default=10_000)
    parser.add_argument(
        "--faults", action="store_true", help="some requests fail temporarily, some judgements permanently"
    )
    parser.add_argument("--prose", action="store_true", help="judges answer with prose")
    parser.add_argument("--broken-after", type=int, help="number of requests after which all are refused")
    parser.add_argument("--broken-status", type=int, default=400, help="HTTP status of refused requests")
    arguments = parser.parse_args()
    script = Script(arguments)
    server = await asyncio.start_server(lambda r, w: serve(script, r, w), "127.0.0.1", 0, limit=2**24, backlog=512)
    draft = arguments.port_file.with_suffix(".tmp")
    draft.write_text(str(server.sockets[0].getsockname()[1]))
    os.replace(draft, arguments.port_file)
    async with server:
        await server.serve_forever()


@contextmanager
def scripted(
    folder: Path,
    *,
    latency: float = 0.0,
    slots: int = 10_000,
    faults: bool = False,
    prose: bool = False,
    broken_after: int | None = None,
    broken_status: int = 400,
) -> Iterator[tuple[str, Path]]:
    """Starts the server; yields its URL and its log (`digest outcome`, one line per attempt)."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file, log = folder / "port", folder / "requests.log"
    command = [sys.executable, __file__, "--port-file", str(port_file), "--log", str(log)]
    command += ["--latency", str(latency), "--slots", str(slots), *(["--faults"] if faults else [])]
    command += ["--prose"] if prose else []
    command += ["--broken-status", str(broken_status)]
    command += [] if broken_after is None else ["--broken-after", str(broken_after)]
    try:
        with child_process(command) as process:
            deadline = time.monotonic() + 60
            while not port_file.exists():
                assert process.poll() is None and time.monotonic() < deadline, "the scripted server did not start"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text()}/v1", log
    finally:
        port_file.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(main())
