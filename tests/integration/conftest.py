"""What the integration tests share: the checkpoint and the scene they play."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.tiny_checkpoint import DATA, tiny_checkpoint
from tests.integration.venvs import ROOT
from tests.integration.vllm_server import log_tail

if TYPE_CHECKING:
    from her_hf.scenes import Scene

CHECKPOINT = "HER_HF_CHECKPOINT"
"""Environment variable that names another checkpoint to test."""

SERVER_LOG = ROOT / "outputs" / "integration" / "vllm.log"

_PARTS = ("config.json", "tokenizer_config.json", "chat_template.jinja", "results.json")


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """A HER checkpoint: the one named by HER_HF_CHECKPOINT, else the finished quickstart's, else a tiny one."""
    if named := os.environ.get(CHECKPOINT):
        folder = Path(named).resolve()
        assert (folder / "config.json").is_file(), f"{CHECKPOINT} names {named}, which is no checkpoint folder"
        return folder
    quickstart = ROOT / "outputs" / "quickstart" / "her-sft"
    if all((quickstart / part).is_file() for part in _PARTS):
        if _carries_our_templates(quickstart):
            return quickstart
        warnings.warn(
            f"{quickstart} carries templates of other code than this: a tiny checkpoint is tested", stacklevel=1
        )
    return tiny_checkpoint()


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Six turns of two characters; the tiny checkpoint knows them by heart, others have never seen them."""
    from her_hf.scenes import load_scenes

    return load_scenes(DATA, "train")[0]


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Any:
    """The checkpoint's tokenizer, as plain transformers gives it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Shows the server's log beside a failure of a test that uses it."""
    report = yield
    if report.failed and "server" in getattr(item, "funcargs", {}):  # one that did not start shows its log itself
        report.sections.append(("vLLM log, the end of it", log_tail(SERVER_LOG)))
    return report


def _carries_our_templates(folder: Path) -> bool:
    """Whether a checkpoint has the templates that would be attached to it today."""
    from transformers import AutoTokenizer

    from her_hf.processing import attach_tokenizer

    found = AutoTokenizer.from_pretrained(folder)
    wanted = attach_tokenizer(found)
    return (found.chat_template, found.response_template) == (wanted.chat_template, wanted.response_template)
