"""Makes docs/assets/chat.svg: `her-hf chat` as it runs, against a server whose one reply is a turn of her-mini.

python -m docs.picture
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.text import Text

from her_hf import View, load_scenes
from tests.support.chat import serving
from tests.support.paths import ROOT

PICTURE = ROOT / "docs" / "assets" / "chat.svg"
HER_MINI = ROOT / "dataset_cards" / "her-mini"
WIDTH = 96
SCENE, CHARACTER, VISITOR, TURN = "Hannah's Tooth", "Jo", "Meg", 2
SAID = "(folds her gloves) Hannah, dear, there is a very quiet man on Summer Street."


def chat_output() -> str:
    """What the terminal shows, colours included."""
    scene = next(one for one in load_scenes(HER_MINI, "test") if one.chapter == SCENE)
    turn = scene.dialogue[TURN]
    command = [sys.executable, "-m", "her_hf.cli.main", "chat", "--scenes", str(HER_MINI), "--scene", SCENE]
    command += ["--character", CHARACTER, "--me", VISITOR, "--start", "1", "--show-system", "--log", "talk.jsonl"]
    colours = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(WIDTH)}
    with (
        serving(thinking=turn.system_thinking, body=turn.render(view=View.SELF)) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        done = subprocess.run(
            [*command, server.url],
            input=f"{SAID}\n",
            cwd=folder,
            env={**os.environ, **colours, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    return done.stdout


def picture(output: str) -> str:
    """The output as SVG, in fonts of the reader's own machine: nothing is fetched."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(output.rstrip().removesuffix(f"{VISITOR} >").rstrip()))
    svg = console.export_svg(title="her-hf chat --show-system", unique_id="chat")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")


if __name__ == "__main__":
    PICTURE.write_text(picture(chat_output()), encoding="utf-8")
