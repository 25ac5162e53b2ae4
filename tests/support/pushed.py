"""Small folders of every kind that can be pushed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

CARD = "---\nlicense: apache-2.0\n---\n\n# her-small\n"


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes files below a folder, which is returned."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def weights(size: int = 1000) -> bytes:
    """A file of weights in the safetensors format."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(number % 251 for number in range(size))


def model_folder(folder: Path, **files: str | bytes) -> Path:
    """A checkpoint, with what a training run leaves beside it."""
    return write_files(
        folder,
        {
            "README.md": CARD,
            "config.json": '{"model_type": "llama"}',
            "model.safetensors": weights(),
            "additional_chat_templates/scene.jinja": "{{ 'Grüße, 世界' }}",
            ".eval_results/coser.yaml": "- dataset:\n    id: her-lab/scenes\n    task_id: coser\n  value: 50.0\n",
            "run.json": '{"output_dir": "/home/ann/outputs"}',
            "checkpoint-10/model.safetensors": b"half",
            **files,
        },
    )


def dataset_folder(folder: Path, **files: str | bytes) -> Path:
    """A dataset with two splits."""
    card = (
        "---\nlicense: apache-2.0\npretty_name: Small scenes\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/train.jsonl\n  - split: test\n    path: data/test*.jsonl\n---\n\n# Scenes\n"
    )
    rows = {"data/train.jsonl": '{"text": "a"}\n', "data/test.jsonl": '{"text": "b"}\n'}
    return write_files(folder, {"README.md": card, **rows, **files})


def space_folder(folder: Path, **files: str | bytes) -> Path:
    """A Space without her_hf."""
    card = '---\ntitle: A page\nsdk: gradio\napp_file: app.py\npython_version: "3.12"\n---\n\n# A page\n'
    return write_files(folder, {"README.md": card, "app.py": "print('hello')\n", **files})
