"""The errors of this package: what was wrong in which row of which source."""

from __future__ import annotations

from collections.abc import Iterable

MAX_REPORTED = 20
"""Bad rows that one error lists; the rest is counted."""
MAX_LINE = 800
"""Characters of one line of an error: data may put a megabyte into a key or a name."""
MAX_PLACE = 240
"""Characters of a field's path or a source's name in an error."""


class SceneError(ValueError):
    """Scene data that cannot be used. Its text is bounded, whatever the data holds.

    Args:
        problem (`str`): What was got and what to do about it.
        field (`str`, *optional*): Path of the field inside its row, e.g. `"dialogues[3].message"`.
        source (`str`, *optional*): File or Hub id.
        row (`str`, *optional*): Where in the source, e.g. `"line 7"` or `"row 3"`, counted from 1.

    Example:

    ```python
    >>> str(SceneError("is missing; add it.", field="book", source="scenes.json", row="row 2"))
    "scenes.json, row 2, field 'book': is missing; add it."
    ```
    """

    def __init__(self, problem: str, *, field: str = "", source: str = "", row: str = "") -> None:
        lines = problem.split("\n", MAX_REPORTED + 2)[: MAX_REPORTED + 2]  # a heading, the rows, "and 3 more"
        self.problem = "\n".join(shortened(line, MAX_LINE) for line in lines)
        self.field, self.source, self.row = shortened(field, MAX_PLACE), shortened(source, MAX_PLACE), row
        where = ", ".join(part for part in (self.source, row, f"field {self.field!r}" if field else "") if part)
        super().__init__(f"{where}: {self.problem}" if where else self.problem)

    def at(self, source: str, row: str = "") -> SceneError:
        """The same error, with its place."""
        return type(self)(self.problem, field=self.field, source=source, row=row or self.row)


class ForeignData(SceneError):
    """A file or row that is sound but of another kind, such as a plain picture: beside scenes it is passed over."""


class SameName(ForeignData):
    """A sound card whose character is called as the visitor: among other cards, in one file too, it is passed over."""


def combined(errors: list[SceneError], source: str) -> SceneError:
    """One error for all bad rows of a source."""
    if len(errors) == 1:
        return errors[0].at(source)
    lines = []
    for error in errors[:MAX_REPORTED]:
        where = ", ".join(filter(None, (error.row, f"field {error.field!r}" if error.field else "")))
        lines.append(f"  {where}: {error.problem}" if where else f"  {error.problem}")
    if len(errors) > MAX_REPORTED:
        lines.append(f"  and {len(errors) - MAX_REPORTED} more")
    kind = ForeignData if all(isinstance(error, ForeignData) for error in errors) else SceneError
    return kind(f"{len(errors)} bad rows\n" + "\n".join(lines), source=source)


def shortened(text: str, most: int) -> str:
    """A text with its middle left out if it is longer than `most`: what it begins and ends with says most."""
    if len(text) <= most:
        return text
    head = (most - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def listed(names: Iterable[str], most: int = MAX_REPORTED) -> str:
    """Names for an error: the first of them, each shortened, and how many more there are."""
    found = list(names)
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return ", ".join([*(repr(shortened(name, 60)) for name in found[:most]), *more])
