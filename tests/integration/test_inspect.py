"""CoSER as a task of inspect-ai, in a virtual environment of its own: it needs older versions of what is pinned."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.integration.venvs import INTEGRATION, ROOT, clean_environment, ensure_venv

pytestmark = pytest.mark.integration

PINS = INTEGRATION / "constraints-inspect.txt"
FILES = ("tests/evaluation/test_inspect_task.py", "tests/inference/test_inspect_ai.py")


def test_the_task_and_its_model_pass_with_inspect_ai() -> None:
    arguments = ["-c", str(PINS), "-e", ".[eval,inspect]", "pytest", "hypothesis"]
    python = ensure_venv(ROOT / ".venv-inspect", arguments, PINS)
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 29, done.stdout[-1000:]
