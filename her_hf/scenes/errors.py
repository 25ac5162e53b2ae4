"""The errors of this package: they name source, row, field and problem."""

from __future__ import annotations

from collections.abc import Iterable

MAX_REPORTED = 20
"""Maximum number of bad rows listed in an error; the rest is counted."""
MAX_LINE = 800
"""Maximum characters of a line of an error: keys and names in data may be very long."""
MAX_PLACE = 240
"""Maximum characters of a field's path or a source's name in an error."""


class SceneError(ValueError):
    """Scene data that cannot be used. The length of the message is bounded.

    Args:
        problem (`str`): The problem, the value found, and the remedy.
        field (`str`, *optional*): Path of the field inside its row, e.g. `"dialogues[3].message"`.
        source (`str`, *optional*): File or Hub id.
        row (`str`, *optional*): Position in the source, e.g. `"line 7"` or `"row 3"`, counted from 1.

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
        """The same error with its source and row."""
        return type(self)(self.problem, field=self.field, source=source, row=row or self.row)


class ForeignData(SceneError):
    """A valid file or row of another kind, such as an ordinary picture: it is skipped if there are scenes as well."""


class SameName(ForeignData):
    """A valid card whose character has the visitor's name: it is skipped if there are other cards as well."""


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


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters: the middle of a longer one is left out."""
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def listed(names: Iterable[str], limit: int = MAX_REPORTED) -> str:
    """Names for an error: the first ones, each shortened, and the number of the others."""
    found = list(names)
    more = [f"and {len(found) - limit} more"] if len(found) > limit else []
    return ", ".join([*(repr(shortened(name, 60)) for name in found[:limit]), *more])
