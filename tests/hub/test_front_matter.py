"""The YAML at the top of a card."""

import pytest

from her_hf.hub.front_matter import joined_card, split_card, title_of


def test_there_and_back() -> None:
    card = "---\nlicense: mit\nlanguage:\n- en\n- 中文\n---\n\n# A model\n\n---\n\nMore.\n"
    front, body = split_card(card, "README.md")
    assert front == {"license": "mit", "language": ["en", "中文"]} and body == "\n# A model\n\n---\n\nMore.\n"
    assert joined_card(front, body) == card


@pytest.mark.parametrize("card", ["# A model\n", "---\n---\n# A model\n", ""])
def test_a_card_without_any(card: str) -> None:
    assert split_card(card, "README.md")[0] == {}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: A page\n---\n# Other\n", "A page"),
        ("---\npretty_name: Rows\n---\n", "Rows"),
        ("---\nlicense: mit\n---\n\n# her-small \n\n# More\n", "her-small"),
        ("\ufeff---\ntitle: A\n---\n", "A"),
        ("nothing", None),
    ],
)
def test_the_title_of_a_card(text: str, title: str | None) -> None:
    assert title_of(text, "README.md") == title
