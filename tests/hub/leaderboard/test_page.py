from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from her_hf.hub.leaderboard.page import build_leaderboard
from her_hf.hub.leaderboard.submissions import find_entries
from tests.support.leaderboard import board_of_four, put
from tests.support.results import coser_run

HOSTILE = "Ann `${alert(1)}` {{ 7*7 }} \u202eevil"


class Page(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    results = board_of_four(root / "results")
    put(results / "g" / "coser", coser_run(12, harsh=3.0), model=HOSTILE, note="</script><b>bold</b>")
    build_leaderboard(find_entries([results]), root / "out", title="Ours & theirs", results_repo="me/results")
    return root / "out"


def test_tables_are_complete_without_a_script(built: Path) -> None:
    page = Page((built / "index.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.texts).split())
    for words in ("me/good", "me/as-good", "me/bad", "me/judge", "Ours & theirs", "HER-RL", "65.73", "★", "≈", "▽"):
        assert words in text
    assert "By book" in text and "By kind of pair" in text and "Eleven Bells" in text
    assert text.index("me/good") < text.index("me/as-good") < text.index("me/bad")


def test_texts_of_results_are_text(built: Path) -> None:
    raw = (built / "index.html").read_text(encoding="utf-8")
    page = Page(raw)
    assert "\u202e" not in raw and not any(tag in ("b", "img") and "bold" in str(own) for tag, own in page.tags)
    assert "</script><b>" not in raw and "Ann `${alert(1)}` {{ 7*7 }} evil" in page.texts
    assert not any(name.startswith("on") for _, own in page.tags for name in own)


def test_the_page_loads_nothing_and_runs_its_own_script_alone(built: Path) -> None:
    raw = (built / "index.html").read_text(encoding="utf-8")
    page = Page(raw)
    assert not [own for tag, own in page.tags if "src" in own or tag in ("link", "iframe", "img")]
    policy = next(str(own["content"]) for _, own in page.tags if own.get("http-equiv") == "Content-Security-Policy")
    script = re.findall(r"<script>(.*?)</script>", raw, re.DOTALL)
    assert len(script) == 1 and "default-src 'none'" in policy
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()}'" in policy


def test_axes_of_the_radar_are_those_of_the_rows(built: Path) -> None:
    raw = (built / "index.html").read_text(encoding="utf-8")
    found = [json.loads(text) for text in re.findall(r'class="axes">(.*?)</script>', raw)]
    assert found[0][0]["model"] == "me/good" and len(found[0][0]["labels"]) == 4
    form = next(own for own in found if own[0]["labels"][0] == "well-formed")
    assert form[0]["labels"][-1] == "leak (100 minus)" and form[0]["values"][1] == 100.0


def test_the_data_of_the_page_for_programs(built: Path) -> None:
    data = json.loads((built / "leaderboard.json").read_text(encoding="utf-8"))
    assert sorted(data) == ["coser", "form", "minimax", "reward"]
    row = data["coser"][0]["rows"][0]
    assert (row["model"], row["mark"], row["link"]) == ("me/good", "best", "https://example.org/good")
    assert row["values"]["avg"]["low"] < row["values"]["avg"]["value"] < row["values"]["avg"]["high"]
    assert row["settings"]["data"]["digest"] == "ab" * 32


def test_the_folder_is_a_static_space(built: Path) -> None:
    card = (built / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["sdk"], front["app_file"], front["title"]) == ("static", "index.html", "Ours & theirs")
    assert front["datasets"] == ["me/results"] and len(front["short_description"]) <= 60
    assert sorted(file.name for file in built.iterdir()) == ["README.md", "index.html", "leaderboard.json"]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    root = board_of_four(tmp_path / "results")
    pages = [build_leaderboard(find_entries([root]), tmp_path / name)[0].read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_no_runs_no_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        build_leaderboard([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_data_set_that_takes_submissions_has_the_form_of_one(tmp_path: Path) -> None:
    entries = find_entries([put(tmp_path / "run", coser_run(4), model="me/x")])
    with pytest.raises(ValueError, match="must be owner/name on the Hub"):
        build_leaderboard(entries, tmp_path / "out", results_repo="me/results\ntitle: other")
    assert not (tmp_path / "out").exists()
