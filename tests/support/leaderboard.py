"""Runs on disk for the leaderboard, made of the handwritten rows of [`tests.support.results`]."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from .results import coser_run, form_run, minimax_run, reward_run

DATA = {"source": "her-mini", "split": "test", "count": 40, "digest": "ab" * 32}


def put(folder: Path, results: dict[str, Any], *, digest: str = DATA["digest"], **submission: str) -> Path:
    """Writes `results.json`, and `submission.yaml` if anything is given for it."""
    folder.mkdir(parents=True)
    results["settings"]["data"] = {**DATA, "digest": digest}
    (folder / "results.json").write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
    if submission:
        (folder / "submission.yaml").write_text(yaml.safe_dump(submission, allow_unicode=True), encoding="utf-8")
    return folder


def board_of_four(root: Path) -> Path:
    """Three models in CoSER, one of them much worse and one equal to the best; one run of each other evaluation."""
    put(root / "a" / "coser", coser_run(12, harsh=1.5), model="me/good", link="https://example.org/good")
    put(root / "b" / "coser", coser_run(12, harsh=2.0), model="me/as-good", note="LoRA")
    put(root / "c" / "coser", coser_run(12, harsh=6.0), model="me/bad")
    put(root / "d" / "minimax", minimax_run(2, runs=1), model="me/good")
    put(root / "e" / "form", form_run(6), model="me/good")
    put(root / "f" / "reward", reward_run(24), model="me/judge")
    return root
