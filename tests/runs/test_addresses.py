"""Failures as results keep them."""

from __future__ import annotations

import pytest

from her_hf.inference import ModelError
from her_hf.inference.window import WindowFull
from her_hf.runs.addresses import failure_of


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (
            ModelError("http://gpu-7:8000/v1 answered 400: no.", kind="status", status=400),
            ("status", "answered 400: no."),
        ),
        (ModelError("it was on fire", kind="status", status=500), ("status", "it was on fire (HTTP 500)")),
        (ModelError("nobody answers", kind="connection"), ("connection", "nobody answers")),
        (WindowFull("nothing fits"), ("window", "nothing fits")),
    ],
)
def test_a_failure_is_a_cause_and_a_detail_without_addresses(
    error: ModelError | WindowFull, wanted: tuple[str, str]
) -> None:
    found = failure_of(error)
    assert set(found) == {"cause", "detail"} and "gpu-7" not in found["detail"]
    assert (found["cause"], found["detail"].removeprefix("[address] ")) == wanted
