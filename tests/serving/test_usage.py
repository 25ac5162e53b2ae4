"""What is printed for the user to copy works as it stands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from her_hf.serving import ServeSettings, free_port, how_to_call, plan_launch, read_model, running
from tests.support.engines import TRANSFORMERS, VLLM, fake_environment, write_checkpoint


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize(("program", "has"), [("vllm", VLLM), ("transformers", TRANSFORMERS)])
def test_every_way_works(program: str, has: dict[str, str], tmp_path: Path) -> None:
    programs = fake_environment(tmp_path / "venv", program, has)
    model = read_model(str(write_checkpoint(tmp_path / "Jo's her")))
    launch = plan_launch(model, ServeSettings(python=programs / "python", port=free_port("127.0.0.1", 0)))
    ways = how_to_call(launch)
    assert list(ways) == ["her-hf", "curl", "Python"]
    with running(launch, tmp_path / "log", timeout=60):
        options = {"capture_output": True, "text": True, "timeout": 60, "check": True}
        said = subprocess.run(["sh", "-c", f"{ways['curl']} --silent"], **options).stdout  # type: ignore[call-overload]
        assert "Jo: Yes." in said
        said = subprocess.run([sys.executable, "-c", ways["Python"]], **options).stdout  # type: ignore[call-overload]
        assert said.split("\n")[:2] == ["A plan.", "Jo: Yes."]
    assert ways["her-hf"] == f"her-hf chat {launch.url}"
