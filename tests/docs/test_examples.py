"""Every example of a docstring is run as it stands, or says why it is not: `Example (not run: it needs a model):`."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import her_hf
from tests.support.paths import ROOT

BLOCK = re.compile(r"^([^\n]*)\n\s*\n?[ ]*```python\n(.*?)^[ ]*```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"^Example \(not run: it needs [^)]+\):$")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Example:
    """A block of Python in a docstring, with the line above it."""

    module: str
    name: str
    heading: str
    code: str

    @property
    def runs(self) -> bool:
        return NOT_RUN.match(self.heading) is None


def examples_in(module: str, source: str) -> list[Example]:
    """The examples in the docstrings of a module, of its classes and functions."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for heading, code in BLOCK.findall(ast.get_docstring(node) or ""):
                name = getattr(node, "name", "module")
                found.append(Example(module, name, heading.strip(), textwrap.dedent(code)))
    return found


def every_example() -> list[Example]:
    found = []
    for info in pkgutil.walk_packages(her_hf.__path__, "her_hf."):
        spec = importlib.util.find_spec(info.name)
        assert spec is not None and spec.origin is not None
        found += examples_in(info.name, Path(spec.origin).read_text(encoding="utf-8"))
    return found


def failures(example: Example, scope: dict[str, Any]) -> str:
    """What doctest reports of an example; empty if it is true."""
    test = doctest.DocTestParser().get_doctest(example.code, scope, f"{example.module}.{example.name}", None, 0)
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lines.append)
    return "".join(lines)


EXAMPLES = every_example()


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if one.runs], ids=lambda one: f"{one.module}.{one.name}".replace("her_hf.", "")
)
def test_an_example_is_true(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = example.module.rpartition(".")[0]
    scope = {name: getattr(her_hf, name) for name in her_hf.__all__}
    scope |= {**vars(importlib.import_module(package)), **vars(importlib.import_module(example.module))}
    (tmp_path / "dataset_cards").symlink_to(ROOT / "dataset_cards")
    monkeypatch.chdir(tmp_path)
    assert failures(example, scope) == ""


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if not one.runs], ids=lambda one: f"{one.module}.{one.name}"
)
def test_an_example_that_is_not_run_is_still_python(example: Example) -> None:
    for part in doctest.DocTestParser().get_examples(example.code):
        compile(part.source, example.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_a_wrong_example_is_found_and_a_marked_one_is_not_run() -> None:
    source = '''
def twice(number):
    """Doubles.

    Example:

    ```python
    >>> twice(2)
    5
    ```

    Example (not run: it needs a model):

    ```python
    >>> twice(model)
    ```
    """
    return 2 * number
'''
    wrong, marked = examples_in("m", source)
    assert "Got:\n    4" in failures(wrong, {"twice": lambda number: 2 * number})
    assert wrong.runs and not marked.runs


def test_the_public_names_that_do_something_show_how() -> None:
    plain = {"Character", "Layer", "Segment", "View"}  # data that the others' examples hold
    assert set(her_hf.__all__) - plain <= {example.name for example in EXAMPLES}
