"""`report.html`: one self-contained file.

Sections are the Markdown of `report.md`, transcripts come from the rows of the run; all foreign text is escaped, and
nothing is loaded from the network.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

from her_hf.durable import replace_text
from her_hf.template_files import load_template

from .headline import TITLES, facts, headline, player_of
from .transcripts import Transcript

PAGE = "report.html"
_FOLDED = {"system": "system thinking", "thinking": "role thinking", "evidence": "evidence of the judge"}
_TRANSCRIPTS = (
    "Transcripts",
    "Lowest scores first. Thinking is collapsed: system thinking is the model's plan as an author, role thinking is "
    "the character's thought.",
)
_VERDICTS = (
    "Verdicts",
    "Wrong ones first, by decreasing confidence, then ties; missing ones come last. The replies are in the file of "
    "pairs.",
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def write_page(
    results: Mapping[str, Any],
    out: Path,
    *,
    opening: Sequence[str],
    closing: Sequence[str],
    transcripts: Sequence[Transcript],
    left_out: int,
) -> Path:
    """Writes `report.html` into the folder of a run.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder, with the plots that the sections name.
        opening, closing (`Sequence[str]`): Sections in Markdown, before and after the transcripts; the first starts
            with the title. Text of models and files must already be escaped.
        transcripts (`Sequence[Transcript]`): The transcripts, lowest scores first.
        left_out (`int`): Number of transcripts that are not shown.

    Returns:
        `Path`: The page.
    """
    before, after = (render_markdown("\n\n".join(parts), out) for parts in (opening, closing))
    heading, mark, before = before.partition("</h1>")
    called, said = _VERDICTS if results["evaluation"] == "reward" else _TRANSCRIPTS
    text = load_template(__package__, "report.html.jinja", filters=(("plain", plain),)).render(
        heading=heading + mark,
        title=f"{TITLES[results['evaluation']]}: {player_of(results)}",
        facts=facts(results),
        tiles=headline(results),
        opening=before,
        closing=after,
        contents=[*_headings(before), *([("transcripts", called)] if transcripts else []), *_headings(after)],
        transcripts=transcripts,
        left_out=left_out,
        called=called,
        said=said,
        folded=_FOLDED,
    )
    file = out / PAGE
    replace_text(file, text)
    return file


def plain(text: object) -> str:
    """Text without control characters, lone surrogates and bidirectional control characters."""
    signs = _BIDI.sub("", str(text))
    return "".join(sign for sign in signs if sign == "\n" or unicodedata.category(sign) not in ("Cc", "Cs")).strip()


def render_markdown(text: str, folder: Path) -> Markup:
    """HTML of a report's Markdown: headings with ids, scrolling tables, embedded plots."""
    renderer = MarkdownIt("commonmark").enable("table")
    renderer.add_render_rule("table_open", lambda *_: '<div class="scroll"><table>\n')
    renderer.add_render_rule("table_close", lambda *_: "</table></div>\n")

    def image(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
        token = tokens[at]
        picture = folder / str(token.attrs["src"])
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        return f'<img class="plot" src="data:image/png;base64,{data}" alt="{Markup.escape(token.content)}">'

    renderer.add_render_rule("image", image)
    tokens = renderer.parse(text)
    for at, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            token.attrSet("id", _slug(tokens[at + 1].content))
    return Markup(renderer.renderer.render(tokens, renderer.options, {}))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _headings(html: str) -> list[tuple[str, str]]:
    return [(name, Markup(title).unescape()) for name, title in re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', html)]
