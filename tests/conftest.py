"""Shared settings of the tests: offline, reproducible property tests, the long runs, the shared reference folder.

`HER_HF_SLOW=1 pytest -m slow` (`make test-slow`) runs the tests that are marked slow, which are skipped otherwise.
`HER_HF_FULL=1 pytest -m "slow or full"` (`make test-full`) adds those marked full, and gives the property tests of the
format 20,000 examples each, those of template and processor, which are slower, 2,000. `HER_HF_SEARCH=1` draws new
examples each time.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from tests.support.paths import SHARED

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FULL = os.environ.get("HER_HF_FULL") == "1"
SLOW = FULL or os.environ.get("HER_HF_SLOW") == "1"
PROPERTIES = {
    "dual_layer/test_properties.py": 20_000,
    "processing/test_templates.py": 2_000,
    "processing/test_processor.py": 2_000,
    "processing/test_injection.py": 2_000,
}
"""Files whose property tests belong to the full run, and how many examples they draw there."""

# The same verdict on the same code; with HER_HF_SEARCH=1 the full run looks for what nobody has seen yet.
settings.register_profile("default", max_examples=200, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "full",
    max_examples=max(PROPERTIES.values()),
    deadline=None,
    derandomize=os.environ.get("HER_HF_SEARCH") != "1",
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("full" if FULL else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    sized = set()
    for item in items:
        examples, test = PROPERTIES.get("/".join(item.path.parts[-2:])), getattr(item, "obj", None)
        if FULL and examples and is_hypothesis_test(test):
            item.add_marker(pytest.mark.full)
            if test not in sized:  # several items may share one function, which takes settings once
                settings(max_examples=examples)(test)
                sized.add(test)
        for name, run in (("slow", SLOW), ("full", FULL)):
            if not run and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"set HER_HF_{name.upper()}=1 (make test-{name})"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data next to the checkout; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared next to the checkout, which is not there")
    return SHARED
