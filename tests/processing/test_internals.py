"""The private parts of transformers that processing relies on are still what they were when read."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import hub

from her_hf.processing import internals
from tests.support.internals import Part, private_uses
from tests.support.paths import FIXTURES

READ_IN = {"transformers": "5.24.0"}

PARTS = [
    Part(
        PreTrainedTokenizerBase, "_set_processor_class", "self processor_class", "b426f752155c",
        "whether save_pretrained still writes the name into tokenizer_config.json",
    ),
    Part(
        hub, "cached_files",
        "path_or_repo_id filenames cache_dir force_download proxies token revision local_files_only "
        "subfolder repo_type user_agent _raise_exceptions_for_gated_repo "
        "_raise_exceptions_for_missing_entries _raise_exceptions_for_connection_errors tqdm_class "
        "deprecated_kwargs", "",
        "whether _raise_exceptions_for_missing_entries=False still gives None for a missing file",
    ),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_what_it_was(part: Part) -> None:
    part.verify(READ_IN, "her_hf/processing/internals.py")


def test_the_version_is_named_where_the_parts_are() -> None:
    assert f"transformers {READ_IN['transformers']}" in str(internals.__doc__)


def test_private_parts_are_used_in_one_file() -> None:
    found = private_uses("her_hf.processing")
    used = {name: sorted(names) for name, names in found.items()}
    assert used == {internals.__name__: ["_raise_exceptions_for_missing_entries", "_set_processor_class"]}


def test_the_name_of_the_processor_is_saved(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    internals.keep_processor_class(tokenizer, "HERProcessor")
    tokenizer.save_pretrained(tmp_path)
    assert '"processor_class": "HERProcessor"' in (tmp_path / "tokenizer_config.json").read_text()


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert internals.optional_file(tmp_path, "config.json") == tmp_path / "config.json"
    assert internals.optional_file(tmp_path, "nosuch.json") is None
