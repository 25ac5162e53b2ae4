"""Settings that would spoil rows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.support.gradients import trainer_config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 1024}, "max_context"),
        ({"packing": True}, "pack_rows"),
        ({"remove_unused_columns": True}, "position_ids"),
        ({"per_device_train_batch_size": 8}, "replies_per_step"),
        ({"replies_per_step": 2, "gradient_accumulation_steps": 4}, "at least 4"),
        ({"max_context": 512, "row_tokens": 128}, "window"),
        ({"loss_head": "odd"}, "loss_head"),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers=2.*ready to train"),
        ({"dataloader_num_workers": 2, "dataloader_persistent_workers": True}, "no workers"),
        ({"dataloader_drop_last": True}, "no reply is left out"),
        ({"train_sampling_strategy": "sequential"}, "planned in replies"),
    ],
)
def test_settings_that_spoil_rows_are_refused(tmp_path: Any, settings: dict[str, Any], words: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=words):
        warnings.simplefilter("ignore")
        trainer_config(tmp_path, **settings)


def test_a_row_is_the_window_where_none_is_given(tmp_path: Any) -> None:
    assert trainer_config(tmp_path, row_tokens=600).max_context == 600
    assert trainer_config(tmp_path, row_tokens=600, max_context=500).max_context == 500
