"""Clients of a stand-in Hub: this process for a while, or a child process."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from tests.support.hub.server import WRITER, StandIn


def child_environment(hub: StandIn, home: Path, token: str | None = WRITER, **extra: str) -> dict[str, str]:
    """The environment of a child process that takes `hub` for the Hub, `home` for its caches, and has no PYTHONPATH.

    Args:
        hub ([`StandIn`]): The Hub.
        home (`Path`): HF_HOME.
        token (`str`, *optional*, defaults to that of the writer): HF_TOKEN; `None` for nobody.
        extra (`str`): Further variables.
    """
    # The tests themselves run offline; so must nothing that reaches a Hub only on this machine.
    hidden = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "HF_TOKEN"}
    hidden |= {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    hidden |= {"HF_HUB_CACHE", "HF_DATASETS_CACHE", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"}
    inherited = {name: text for name, text in os.environ.items() if name not in hidden}
    known = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    # A proxy has no business with this machine, nor have counters of downloads.
    quiet = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    quiet |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return inherited | known | quiet | ({"HF_TOKEN": token} if token else {}) | extra


def use(hub: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch, token: str | None = WRITER) -> list[float]:
    """Makes huggingface_hub in this process take `hub` for the Hub until the test ends.

    It reads its environment when it is imported, so its constants are set. Waits between retries are not waited.

    Args:
        hub ([`StandIn`]): The Hub.
        home (`Path`): Folder for its cache.
        monkeypatch (`pytest.MonkeyPatch`): Takes it back.
        token (`str`, *optional*, defaults to that of the writer): HF_TOKEN; `None` for nobody.

    Returns:
        `list[float]`: The waits that were asked for, in seconds, as they come.
    """
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    known = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "AGENT_HARNESSES_PATH": str(home / "registry.json"),
    }
    for name, value in known.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waits: list[float] = []
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _client)
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT", None)  # one made before keeps what it read of the environment
    return waits


def _client() -> httpx2.Client:
    """The client of huggingface_hub but for certificates, whose reading takes longer than a whole upload here."""
    from huggingface_hub.utils._http import hf_request_event_hook

    hooks = {"request": [hf_request_event_hook]}
    return httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=None, verify=False)
