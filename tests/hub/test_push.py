"""Pushing: what is uploaded and what an adapter names as its base. The Hub's client is replaced; no network."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import huggingface_hub
import pytest

from her_hf.hub.push import push_folder


class RecordingApi:
    """Stands for `HfApi` and keeps the calls."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, **kwargs: Any) -> Any:
        self.calls.append(("create_repo", {"repo_id": repo_id, **kwargs}))
        return SimpleNamespace(repo_id=f"me/{repo_id}")

    def upload_folder(self, **kwargs: Any) -> None:
        self.calls.append(("upload_folder", kwargs))

    def upload_file(self, **kwargs: Any) -> None:
        self.calls.append(("upload_file", kwargs))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    RecordingApi.calls = []
    monkeypatch.setattr(huggingface_hub, "HfApi", RecordingApi)
    return RecordingApi.calls


def test_checkpoints_and_settings_stay_here(tmp_path: Path, calls: list[tuple[str, dict[str, Any]]]) -> None:
    push_folder(tmp_path, "her-sft", private=True)
    (_, created), (_, uploaded) = calls
    assert created == {"repo_id": "her-sft", "private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "me/her-sft"
    kept = huggingface_hub.utils.filter_repo_objects(
        [
            *("model.safetensors", "README.md", "checkpoint-10/model.safetensors", "checkpoint-10/training_args.bin"),
            *("run.json.tmp", "run.json", "training_args.bin"),
        ],
        ignore_patterns=uploaded["ignore_patterns"],
    )
    assert list(kept) == ["model.safetensors", "README.md"]


def test_an_adapter_names_its_base_by_hub_id(tmp_path: Path, calls: list[tuple[str, dict[str, Any]]]) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "outputs/base/smollm2-135m", "r": 4}))
    push_folder(tmp_path, "her-lora", base="HuggingFaceTB/SmolLM2-135M-Instruct")
    assert "adapter_config.json" in calls[1][1]["ignore_patterns"]
    pushed = json.loads(calls[2][1]["path_or_fileobj"])
    assert pushed == {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct", "r": 4}
    assert json.loads(config.read_text())["base_model_name_or_path"] == "outputs/base/smollm2-135m"


@pytest.mark.parametrize(
    ("path", "named"), [("/home/ann/models/base", "base"), ("owner/base", None), ("models/base", None)]
)
def test_an_adapter_does_not_tell_where_its_base_lay(
    path: str, named: str | None, tmp_path: Path, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": path}))
    push_folder(tmp_path, "her-lora")
    assert ("adapter_config.json" in calls[1][1]["ignore_patterns"]) == bool(named)
    renamed = [json.loads(call["path_or_fileobj"]) for kind, call in calls if kind == "upload_file"]
    assert renamed == ([{"base_model_name_or_path": named}] if named else [])
