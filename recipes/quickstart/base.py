"""The base of the quickstart, plain and with the HER template."""

from __future__ import annotations

from pathlib import Path

from her_hf.hub.base import write_base
from her_hf.processing import attach_model


def write_bases(out: Path, base: str) -> None:
    """Writes the base into `out/base-plain`, and the same weights with the HER template into `out/base`."""
    attach_model(write_base(out / "base-plain", base), out / "base")
