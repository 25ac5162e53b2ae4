"""The one error of this package: what was wrong in which row of which source."""

from __future__ import annotations

MAX_REPORTED = 20
"""Bad rows that one error lists; the rest is counted."""


class SceneError(ValueError):
    """Scene data that cannot be used.

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
        self.problem, self.field, self.source, self.row = problem, field, source, row
        where = ", ".join(part for part in (source, row, f"field {field!r}" if field else "") if part)
        super().__init__(f"{where}: {problem}" if where else problem)

    def at(self, source: str, row: str = "") -> SceneError:
        """The same error, with its place."""
        return SceneError(self.problem, field=self.field, source=source, row=row or self.row)


def combined(errors: list[SceneError], source: str) -> SceneError:
    """One error for all bad rows of a source."""
    if len(errors) == 1:
        return errors[0].at(source)
    lines = []
    for error in errors[:MAX_REPORTED]:
        field = f", field {error.field!r}" if error.field else ""
        lines.append(f"  {error.row}{field}: {error.problem}")
    if len(errors) > MAX_REPORTED:
        lines.append(f"  and {len(errors) - MAX_REPORTED} more")
    return SceneError(f"{len(errors)} bad rows\n" + "\n".join(lines), source=source)
