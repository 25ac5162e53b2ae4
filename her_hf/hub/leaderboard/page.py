"""Writes the leaderboard as a static Space: `index.html`, `leaderboard.json` and `README.md`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.durable import replace_text, write_json
from her_hf.hub.client import check_repo_id
from her_hf.runs.origin import package_version
from her_hf.runs.report.headline import TITLES, missing_share
from her_hf.runs.report.page import plain
from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.published import PUBLISHED, SOURCE
from her_hf.template_files import load_template, template_source

from .columns import BOARDS, Value
from .ranking import LEVEL, Group, Ranked, rank
from .submissions import Entry

FILES = ("index.html", "leaderboard.json", "README.md")
MARKS = {
    "best": ("★", "best of its table"),
    "same": ("≈", "not significantly below the best"),
    "below": ("▽", "significantly below the best"),
    "untested": ("–", "not tested: no score in common with the best"),
    "alone": ("", "the only run of its table"),
}
"""Sign and meaning of each mark."""


def build_leaderboard(
    entries: Sequence[Entry], out: str | Path, *, title: str = "HER leaderboard", results_repo: str | None = None
) -> list[Path]:
    """Writes a static Space that shows runs of all evaluations.

    Runs that were measured in the same way on the same data share a table, with intervals, marks of significance, a
    radar of the dimensions and a table by book; published results stand apart. The page loads nothing.

    Args:
        entries (`Sequence[Entry]`): The runs, see [`~her_hf.hub.leaderboard.submissions.find_entries`].
        out (`str` or `Path`): The folder of the Space; files of an earlier leaderboard are replaced, others are kept.
        title (`str`, *optional*): Title of the page and of the Space.
        results_repo (`str`, *optional*): Hub dataset that takes submissions, `owner/name`; named on the page.

    Returns:
        `list[Path]`: The files.

    Raises:
        `ValueError`: If there is no run, a model has two runs in one table, or `results_repo` is not `owner/name`.

    Example (not run: it needs runs):

    ```python
    >>> build_leaderboard(find_entries([Path("outputs")]), "outputs/leaderboard")
    ```
    """
    if not entries:
        raise ValueError("a leaderboard needs at least one run, got none: name output folders of her-hf eval.")
    if results_repo is not None:
        check_repo_id(results_repo)
    groups = {name: rank(entries, name) for name in BOARDS}
    shown = {name: own for name, own in groups.items() if own}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "leaderboard.json", _data(shown))
    script, style = (template_source(__package__, name) for name in ("leaderboard.js", "leaderboard.css"))
    page = load_template(__package__, "index.html.jinja", filters=(("plain", plain), ("shown", shown_value))).render(
        title=title,
        script=script,
        style=style,
        script_digest=_csp_digest(script),
        boards=BOARDS,
        titles=TITLES,
        groups=shown,
        marks=MARKS,
        level=LEVEL,
        missing=missing_share,
        parts_of=parts_of,
        axes={name: axes_of(own) for name, own in shown.items()},
        published=PUBLISHED,
        dimensions=list(DIMENSIONS),
        source=SOURCE,
        results_repo=results_repo,
        version=package_version(),
        count=len(entries),
    )
    replace_text(out / "index.html", page)
    card = load_template(__package__, "README.md.jinja").render(title=json.dumps(title), results_repo=results_repo)
    replace_text(out / "README.md", card)
    return [out / name for name in FILES]


def shown_value(value: Value) -> str:
    """A value with one decimal."""
    return "–" if value.value is None else f"{value.value:.1f}"


def parts_of(group: Group) -> list[str]:
    """Names of all books, languages or kinds in a group, in the order of the first row that has them."""
    return list(dict.fromkeys(name for row in group.rows for name in row.parts))


def axes_of(groups: Sequence[Group]) -> dict[str, list[dict[str, Any]]]:
    """By group, the name of each run with its values from 0 to 100 on the axes of the radar, better values outside."""
    return {group.key: [_axes(row) for row in group.rows] for group in groups}


def _axes(row: Ranked) -> dict[str, Any]:
    columns = [column for column in BOARDS[row.entry.results["evaluation"]].columns if column.axis]
    values = [row.values[column.name].value for column in columns]
    turned = [
        None if value is None else round(100 - value if column.lower else value, 2)
        for column, value in zip(columns, values, strict=True)
    ]
    return {
        "model": plain(row.entry.submission.model),
        "labels": [f"{column.label} (100 minus)" if column.lower else column.label for column in columns],
        "values": turned,
    }


def _data(groups: Mapping[str, Sequence[Group]]) -> dict[str, Any]:
    """What the page shows, for programs."""
    return {
        name: [{"key": group.key, **dict(group.facts), "rows": [_row(row) for row in group.rows]} for group in own]
        for name, own in groups.items()
    }


def _row(row: Ranked) -> dict[str, Any]:
    submission, results = row.entry.submission, row.entry.results
    return {
        **submission.model_dump(mode="json"),
        "place": row.entry.place,
        "values": {name: value._asdict() for name, value in row.values.items()},
        "parts": {name: value._asdict() for name, value in row.parts.items()},
        "mark": row.mark,
        "p_value": row.p_value,
        "pairs": row.pairs,
        "missing": results["missing"]["share"],
        "settings": results["settings"],
    }


def _csp_digest(script: str) -> str:
    """The digest by which the page's policy allows its own script and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
