"""The private parts of libraries that inference relies on are still what they were when read."""

from __future__ import annotations

import openai
import pytest
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.generation.utils import GenerationMixin

from her_hf.inference import cache, http
from tests.support.internals import Part, private_uses

READ_IN = {"transformers": "5.24.0"}

PARTS = [
    Part(
        DynamicLayer, "update", "self key_states value_states args kwargs", "186c4f3a84f3",
        "whether RoomyLayer.update still leaves the same keys and values, and which arguments are new",
    ),
    Part(
        DynamicLayer, "lazy_initialization", "self key_states value_states", "c00bbcc715a7",
        "whether RoomyLayer still sets up what a new layer needs",
    ),
    Part(
        DynamicLayer, "get_seq_length", "self", "8d1f98494eff", "whether RoomyLayer still finds where new tokens go",
    ),
    Part(
        DynamicCache, "batch_select_indices", "self indices", "",
        "whether a row of the cache can still be repeated for equal prompts",
    ),
    Part(
        GenerationMixin, "_supports_default_dynamic_cache", "cls", "",
        "whether it still says that a model takes a DynamicCache",
    ),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_what_it_was(part: Part) -> None:
    part.verify(READ_IN, "her_hf/inference/cache.py")


def test_the_version_is_named_where_the_parts_are() -> None:
    assert f"transformers {READ_IN['transformers']}" in str(cache.__doc__)


def test_private_parts_are_used_in_two_files() -> None:
    """transformers' in cache.py; the openai client's in http.py, which has no public way to see the end mark."""
    found = private_uses("her_hf.inference")
    assert found == {
        cache.__name__: ["_supports_default_dynamic_cache"],
        http.__name__: ["_iter_events"],
    }
    assert "_iter_events" in vars(openai.AsyncStream)
