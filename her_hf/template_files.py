"""Loads prompts and chat templates from the `templates/` folders of packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

Filters = tuple[tuple[str, Callable[..., object]], ...]


@cache
def template_source(package: str, name: str) -> str:
    """Text of a file in a package's `templates/`, for digests and for templates composed of several files.

    Args:
        package (`str`): The package, usually `__package__` of the calling module.
        name (`str`): Path of the file below `templates/`, with its suffix: `"coser/critic.jinja"`.

    Raises:
        `FileNotFoundError`: If the file does not exist.
    """
    return (files(package) / "templates" / name).read_text(encoding="utf-8")


def load_template(package: str, name: str, *, filters: Filters = ()) -> Template:
    """A file in a package's `templates/` as a compiled Jinja template; it may include files of the same folder.

    Values are never parsed as a template, and inserted verbatim; in a page (`.html.jinja`) they are escaped. An
    undefined variable is an error, because a model would also answer a prompt with missing parts.

    Args:
        package, name: See [`template_source`].
        filters (`tuple[tuple[str, Callable], ...]`, *optional*): Filters of the template's own, by name.

    Raises:
        `jinja2.TemplateNotFound`: If the file does not exist.

    Example:

    ```python
    >>> load_template("her_hf.judging.pairwise", "compact_system.jinja").render()
    'Which reply plays the role better: cand_1, cand_2 or tie? ...'
    ```
    """
    return _environment(package, name.endswith(".html.jinja"), filters).get_template(name)


@cache
def _environment(package: str, escaped: bool, filters: Filters) -> Environment:
    # Blocks are trimmed as transformers does when it compiles the same file as a tokenizer's chat template.
    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        autoescape=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(filters)
    return environment
