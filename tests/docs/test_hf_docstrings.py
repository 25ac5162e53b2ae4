"""Docstrings in Hugging Face style arrive in the API pages with types and outcomes that Griffe understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

griffe = pytest.importorskip("griffe", reason="needs the extra docs")

SOURCE = '''
def load(source, *names, split=None):
    """Loads.

    Args:
        source (`str`, `Path` or `PathLike[str]`): Where, see [`Other`].
        *names (`str`): Which.
        split (`str`, *optional*, defaults to `"train"`): A split (`a` or `b`).

    Returns:
        `dict[str, int]`: By name: counts.

    Raises:
        `ValueError`: If nothing is there.
    """
'''


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, Any]:
    from docs.hf_docstrings import HuggingFaceDocstrings

    (tmp_path / "sample.py").write_text(SOURCE, encoding="utf-8")
    extensions = griffe.load_extensions(HuggingFaceDocstrings())
    module = griffe.load("sample", search_paths=[tmp_path], extensions=extensions)
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (options,) = (
        one["mkdocstrings"]["handlers"]["python"]["options"] for one in site["plugins"] if isinstance(one, dict)
    )
    parsed = module["load"].docstring.parse(options["docstring_style"], **options["docstring_options"])
    return {one.kind.value: one.value for one in parsed}


def test_arguments_have_plain_types(sections: dict[str, Any]) -> None:
    found = {one.name: str(one.annotation) for one in sections["parameters"]}
    assert found == {"source": "str | Path | PathLike[str]", "*names": "str", "split": "str"}
    texts = [one.description for one in sections["parameters"]]
    assert texts == ["Where, see `Other`.", "Which.", "A split (`a` or `b`)."]


def test_what_comes_back_and_what_is_raised(sections: dict[str, Any]) -> None:
    (returned,) = sections["returns"]
    assert (str(returned.annotation), returned.description) == ("dict[str, int]", "By name: counts.")
    (raised,) = sections["raises"]
    assert (str(raised.annotation), raised.description) == ("ValueError", "If nothing is there.")
