"""Prompts and chat templates live in files: a package keeps its own in `templates/`, and all are loaded here."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment


@cache
def template_source(package: str, name: str) -> str:
    """Text of a file in a package's `templates/`, for digests and for templates that are put together from parts.

    Args:
        package (`str`): The package, `__package__` of the module that asks.
        name (`str`): Path of the file below `templates/`, with its suffix: `"coser/critic.jinja"`.

    Raises:
        `FileNotFoundError`: If there is no such file.
    """
    return (files(package) / "templates" / name).read_text(encoding="utf-8")


def load_template(package: str, name: str) -> Template:
    """A file in a package's `templates/` as a Jinja template, compiled once; it may include files beside it.

    Text is inserted as it is and never read as a template. A variable that is not given is an error, not an empty
    text: a prompt that lost its scene would be answered all the same.

    Args:
        package, name: See [`template_source`].

    Raises:
        `jinja2.TemplateNotFound`: If there is no such file.

    Example:

    ```python
    >>> load_template("her_hf.judging.pairwise", "compact_system.jinja").render()
    'Which reply plays the role better: cand_1, cand_2 or tie? ...'
    ```
    """
    return _environment(package).get_template(name)


@cache
def _environment(package: str) -> Environment:
    # Blocks are trimmed as transformers does when it compiles the same file as a tokenizer's chat template.
    return ImmutableSandboxedEnvironment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
