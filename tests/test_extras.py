"""What to install is said in one way, and every extra that is named brings the library."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from her_hf.extras import MODULES, missing_library
from tests.support.paths import ROOT

DISTRIBUTIONS = {"sklearn": "scikit-learn", "pyarrow": "datasets"}
"""Distributions whose name is not that of the module; pyarrow comes with datasets, which cannot be had without it."""


@pytest.mark.parametrize(("module", "extra"), MODULES.items())
def test_the_extra_that_is_named_brings_the_library(module: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=~!;]", line)[0] for line in project["optional-dependencies"][extra]}
    assert DISTRIBUTIONS.get(module, module.replace("_", "-")) in names


def test_the_version_stands_once() -> None:
    import her_hf

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"] and "version" in project["project"]["dynamic"]
    assert f"## {her_hf.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_library_of_no_extra_gets_no_install_line() -> None:
    error = missing_library("the reader", ModuleNotFoundError("No module named 'left_pad'", name="left_pad"))
    assert str(error) == "the reader needs left-pad, which cannot be imported (No module named 'left_pad')"


def test_a_submodule_counts_as_its_package() -> None:
    error = missing_library("a plot", ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot"))
    assert "a plot needs matplotlib," in str(error) and "pip install 'her_hf[eval]'" in str(error)


def test_a_name_of_the_top_level_says_what_it_needs() -> None:
    code = "import sys; sys.modules['transformers'] = None\nimport her_hf\nher_hf.HERProcessor"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert "her_hf.HERProcessor needs transformers" in last and "pip install 'her_hf[train]'" in last


def test_no_other_place_writes_an_install_line_of_an_extra() -> None:
    writes = re.compile(r"pip install .*her_hf\[|pip install -e '\.\[")
    files = [file for file in (ROOT / "her_hf").rglob("*.py") if writes.search(file.read_text(encoding="utf-8"))]
    # Cards and Spaces say where the wheel is, since no index has it.
    assert sorted(file.name for file in files) == ["card_layout.py", "extras.py", "wheel.py"]
