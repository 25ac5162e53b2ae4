"""Properties of her_hf.dual_layer that hold for every text.

Two oracles that share no code with the parser say what must be seen: a generator that marks each word with the layer
it writes it into, and a naive reading of the rules with a regular expression and a list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from her_hf.dual_layer import (
    ZERO_WIDTH_SPACE,
    Layer,
    Turn,
    TurnEvent,
    TurnStream,
    View,
    escape_tags,
    parse_turn,
    split_system,
    view_text,
)

# -- texts and settings

PIECES = [
    *("<system_thinking>", "</system_thinking>", "<role_thinking>", "</role_thinking>", "<role_action>", "<think>"),
    *("</role_action>", "</think>", "<role_speech>", "</role_speech>", "< Role_Think >", "</ LONG_role_thinking\n>"),
    *(
        "<thought>",
        "<",
        "> ",
        ">",
        "</",
        "/",
        "role_action>",
        "<b>",
        "[",
        "]",
        "(",
        ")",
        *"【】［］（）",
        ZERO_WIDTH_SPACE,
        "Ann",
        "Bob",
        *("ANN", "BOB C", "*", "**", "_", "(x)", "[Ann]", "**Bob**", "Ann (x):", "Ann ([x] y):", "[Bob] :"),
    ),
    *("<role-thinking>", "</inner voice>", "<思考>", "<role_", "<role_thinking "),
    *("Bob c", "安娜", "Environment", "Look", "a", "b c", " x", ":", "：", " ", "\n", "\u3000", "\ud800", "İ"),
]

SOUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=16).map("".join)
# What looks like a label in front: pieces drawn one by one hardly ever make one.
PARTS = [
    "",
    "*",
    "**",
    "_",
    "[",
    "]",
    "(",
    ")",
    "（x）",
    "(x)",
    "Ann",
    "ANN",
    "Bob c",
    "ann",
    "x",
    " ",
    ":",
    "：",
    "<role_speech>",
    "\n",
    "[x]",
    "([x] y)",
    "【",
]
BEGINNINGS = st.tuples(
    *map(
        st.sampled_from,
        (["", " "], ["", "*", "**", "_", "[", "【"], ["", "[", "*"], ["Ann", "ANN", "bob c", "BOB C", "An"]),
    ),
    *[st.sampled_from(PARTS)] * 6,
).map("".join)
LABELLED = st.builds(str.__add__, st.just("") | BEGINNINGS, SOUP)
SETTINGS = st.fixed_dictionaries(
    {
        "notation": st.sampled_from(["her", "coser"]),
        "prefilled": st.booleans(),
        "names": st.sampled_from([(), ("Ann", "Bob"), ("Bob", "Bob c", "a: b"), ("Ann (a)", "x [b", "<")]),
        "speaker": st.sampled_from([None, "Ann", "Bob c", "a:a"]),
    }
)


def cut(text: str, sizes: list[int]) -> list[str]:
    """Cuts text into chunks of the given sizes, over and over."""
    chunks, position, turn = [], 0, 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        chunks.append(text[position : position + size])
        position, turn = position + size, turn + 1
    return chunks


def stream(chunks: list[str], **kwargs: Any) -> tuple[Turn, list[TurnEvent]]:
    streaming = TurnStream(**kwargs)
    events = [event for chunk in chunks for event in streaming.feed(chunk)]
    return streaming.close(), events + streaming.last_events


# -- the naive reading of the rules

TAG = re.compile(r"<([^<>]{0,64})>")
READ = {
    "system_thinking": "H", "system_think": "H", "systemthinking": "H", "think": "H", "thought": "H",
    "role_thinking": "T", "role_think": "T", "long_role_thinking": "T", "role_action": "A", "role_speech": "S",
}  # fmt: skip
Words = list[tuple[str, str]]


def naive(text: str) -> Words:
    """Each word of a text in HER notation with the letter of its layer, H for system thinking."""
    stack: list[str] = []
    words: Words = []
    end = 0

    def plain(until: int) -> None:
        letter = "H" if "H" in stack else "T" if "T" in stack else stack[-1] if stack else "S"
        found = [word.replace(ZERO_WIDTH_SPACE, "") for word in text[end:until].split()]
        words.extend((letter, word) for word in found if word)

    for match in TAG.finditer(text):
        inner = match[1].strip()
        letter = READ.get(inner.removeprefix("/").strip().lower())
        if letter is None:
            continue
        plain(match.start())
        end = match.end()
        if not inner.startswith("/"):
            stack.append(letter)
        elif letter in stack:
            while stack.pop() != letter:
                pass
        elif stack:
            stack.pop()
    plain(len(text))
    return words


# -- the generator that knows what it hides


@dataclass(frozen=True)
class Node:
    """A piece of well-nested text: words, a tag with children, or a bracket with children."""

    kind: str  # "words", a tag's name, or an opening bracket
    words: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ("", "")
    style: int = 0
    children: tuple[Node, ...] = ()


ENDINGS = ("", "", "!", "，", "<", ">", "<3", "&", "-", "'s")
SPACES = st.sampled_from([("", ""), (" ", " "), ("\n", ""), ("", "\n\n")])
LEAF = st.builds(Node, st.just("words"), st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=3).map(tuple))
NODES = st.recursive(
    LEAF,
    lambda inner: st.builds(
        Node,
        st.sampled_from([*READ, "[", "(", "【", "（", "role_thinking", "role_action"]),
        st.just(()),
        SPACES,
        st.integers(0, 3),
        st.lists(inner, max_size=4).map(tuple),
    ),
    max_leaves=12,
)
TREES = st.lists(NODES, max_size=6).map(tuple)


class Writer:
    """Writes nodes as text and notes the layer of each word: `T7` is the eighth word, a role thought."""

    def __init__(self, coser: bool) -> None:
        self.coser = coser
        self.text = ""
        self.expected: Words = []
        self.gap = ""

    def mark(self, mark: str) -> None:
        """A tag or bracket; words need no space beside it."""
        self.text += mark
        self.gap = ""

    def write(self, nodes: tuple[Node, ...], around: str = "", bracket: str = "") -> None:
        """`around`: letters of the tags and brackets that are open; `bracket`: the innermost, `<` inside a tag."""
        for node in nodes:
            if node.kind == "words":
                self.write_words(node.words, around)
            elif node.kind in READ:
                name = node.kind.upper() if node.style == 1 else node.kind.title() if node.style == 2 else node.kind
                self.mark((f"< {name} >" if node.style == 3 else f"<{name}>") + node.spaces[0])
                self.write(node.children, around + READ[node.kind], "<")
                self.mark(node.spaces[1] + (f"</ {name}\n>" if node.style == 3 else f"</{name}>"))
            else:
                self.write_bracket(node, around, bracket)

    def write_words(self, endings: tuple[str, ...], around: str) -> None:
        letter = "H" if "H" in around else "T" if "T" in around else around[-1:] or "S"
        words = [f"{letter}{len(self.expected) + number}{end}" for number, end in enumerate(endings)]
        self.expected += [(letter, word) for word in words]
        self.text += self.gap + " ".join(words)
        self.gap = " "

    def write_bracket(self, node: Node, around: str, bracket: str) -> None:
        closing = {"[": "]", "(": ")", "【": "】", "（": "）"}[node.kind]
        kind = {"【": "[", "（": "("}.get(node.kind, node.kind)
        if not self.coser or bracket in ("<", "[", kind):  # here a bracket is text
            self.mark(f" {node.kind} ")
            self.write(node.children, around, bracket)
            self.mark(f" {closing} ")
        else:
            self.mark(node.kind + node.spaces[0])
            self.write(node.children, around + {"[": "T", "(": "A"}[kind], kind)
            self.mark(node.spaces[1] + closing)


def spoken(text: str) -> list[str]:
    """Words without what notation adds: brackets, and zero-width spaces."""
    return re.sub(rf"[\[\]()【】（）{ZERO_WIDTH_SPACE}]", " ", text).split()


def words_of(turn: Turn) -> Words:
    letters = {Layer.SYSTEM_THINKING: "H", Layer.ROLE_THINKING: "T", Layer.ROLE_ACTION: "A", Layer.SPEECH: "S"}
    return [(letters[segment.layer], word) for segment in turn.segments for word in spoken(segment.text)]


def only(letters: str, words: Words) -> Words:
    return [(letter, word) for letter, word in words if letter in letters]


LABELS = st.sampled_from([("", None), ("Ann: ", "Ann"), ("Mr. Darcy:", "Mr. Darcy"), ("安娜：", "安娜")])
PLANS = st.sampled_from([None, "plan one", " plan\ntwo "])


@given(tree=TREES, label=LABELS, plan=PLANS, coser=st.booleans(), prefilled=st.booleans())
def test_every_word_is_where_it_was_written(
    tree: tuple[Node, ...], label: tuple[str, str | None], plan: str | None, coser: bool, prefilled: bool
) -> None:
    """On well-nested text: no visible word is lost, glued or moved, and no hidden word is seen."""
    writer = Writer(coser)
    writer.write(tree)
    prefilled = prefilled and plan is not None
    block = "" if plan is None else f"{'' if prefilled else '<system_thinking>'}{plan}</system_thinking>"
    text = block + label[0] + writer.text
    turn = parse_turn(text, notation="coser" if coser else "her", prefilled=prefilled)

    assert turn.name == label[1]
    assert only("TAS", words_of(turn)) == only("TAS", writer.expected)
    if plan is not None:
        assert (turn.system_thinking or "").split() == plan.split()
    hidden = [*spoken(turn.system_thinking or ""), *(word for _, word in only("H", words_of(turn)))]
    assert set(hidden) <= {word for _, word in only("H", writer.expected)} | set((plan or "").split())

    for view, letters in (("self", "TAS"), ("others", "AS")):
        expected = [word for _, word in only(letters, writer.expected)]
        for notation in ("her", "coser"):
            seen = turn.render(notation, view)
            body = seen.removeprefix(f"{turn.name}:") if turn.name else seen
            assert spoken(re.sub(r"</?role_(thinking|action)>", " ", body)) == expected
        if not coser and not prefilled:
            seen = view_text(text, view).removeprefix(label[0].strip())
            assert spoken(re.sub(r"</?role_(thinking|action)>", " ", seen)) == expected


RESTYLED = [("Ann ", ""), ("**Ann** ", ""), ("**Ann ", "**"), ("[Ann] ", ""), ("ANN", ""), ("__ann__ ", "")]
SHORT_TREES = st.lists(NODES, max_size=2).map(tuple)


@given(label=st.sampled_from(RESTYLED), direction=SHORT_TREES, wide=st.booleans(), tree=TREES, plan=PLANS)
@example(("Ann ", ""), (Node("[", children=(Node("words", ("",)),)),), False, (Node("words", ("",)),), None)
def test_every_word_of_a_stage_direction_is_in_its_layer(
    label: tuple[str, str], direction: tuple[Node, ...], wide: bool, tree: tuple[Node, ...], plan: str | None
) -> None:
    """Whether a label is found or not: no thought in its brackets is seen, and no other word is hidden."""
    writer = Writer(coser=True)
    writer.mark(label[0] + ("（" if wide else "("))
    writer.write(direction, "A", "(")
    inside = writer.text.removeprefix(label[0])[1:]
    writer.mark(("）" if wide else ")") + label[1] + ": ")
    writer.write(tree)
    block = "" if plan is None else f"<think>{plan}</think>"
    turn = parse_turn(block + writer.text, notation="coser", names=("Ann",))

    plain = len(inside) <= 80 and inside.strip() and not re.search("[(（)）\n]|<[^<>]+>", inside)
    assert turn.name == "Ann" or not plain
    marked = [(letter, word) for letter, word in words_of(turn) if re.match(r"[HTAS]\d", word)]
    assert only("TAS", marked) == only("TAS", writer.expected)
    for view, letters in (("self", "TAS"), ("others", "AS")):
        expected = [word for _, word in only(letters, writer.expected)]
        for notation in ("her", "coser"):
            seen = spoken(re.sub(r"</?role_(thinking|action)>", " ", turn.render(notation, view)))
            assert [word for word in seen if re.match(r"[HTAS]\d", word)] == expected


@given(trees=st.lists(TREES, min_size=1, max_size=4))
def test_paragraphs_of_several_speakers_are_viewed_one_by_one(trees: list[tuple[Node, ...]]) -> None:
    """A user message may hold what several speakers said: its view is that of each, in paragraphs as before."""
    texts = []
    for number, tree in enumerate(trees):
        writer = Writer(coser=False)
        writer.write(tree)
        texts.append(f"Speaker{number}: {writer.text}".strip())
    for view in ("self", "others"):
        whole = view_text("\n\n".join(texts), view).replace(ZERO_WIDTH_SPACE, "")
        assert whole == "\n\n".join(view_text(text, view) for text in texts).replace(ZERO_WIDTH_SPACE, "")


# -- any text at all


@given(text=SOUP, settings=SETTINGS)
@example(text="[a <role_action><role_action>b</role_action></role_action>] c", settings={"notation": "coser"})
def test_parse_gives_a_turn_in_normal_form(text: str, settings: dict[str, Any]) -> None:
    turn = parse_turn(text, **settings)
    layers = [segment.layer for segment in turn.segments]
    assert (Layer.SPEECH, Layer.SPEECH) not in pairwise(layers)
    for segment in turn.segments:
        assert segment.text and segment.text == segment.text.strip()
        assert escape_tags(segment.text) == segment.text
    assert turn.system_thinking is None or turn.system_thinking == turn.system_thinking.strip()
    assert turn.system_thinking is not None or not settings.get("prefilled")
    assert isinstance(turn.well_formed, bool) and set(turn.pattern) <= set("TAS")
    assert replace(turn, issues=(), origin_id=(7,)) == turn
    assert hash(replace(turn, issues=(), origin_id=(7,))) == hash(turn)


@given(text=LABELLED, settings=SETTINGS)
@example(text="[Ann]<role_speech></role_speech>: a", settings={"notation": "coser", "names": ("Ann",)})
@example(text="**Ann<role_speech></role_speech>:** a", settings={"notation": "coser", "names": ("Ann",)})
def test_parsing_what_was_rendered_gives_the_same_turn(text: str, settings: dict[str, Any]) -> None:
    turn = parse_turn(text, **settings)
    rendered = turn.render(settings["notation"])
    again = parse_turn(rendered, **settings)
    assert again == turn
    assert again.render(settings["notation"]) == rendered


@given(text=LABELLED, settings=SETTINGS)
@example(text="<role_thinking>Ann</role_thinking>: a", settings={"notation": "her", "names": ("Ann",)})
@example(text="Ann <role_action>x</role_action>: a", settings={"notation": "her", "names": ("Ann",)})
@example(text=f"a ){ZERO_WIDTH_SPACE} b", settings={"notation": "her"})
@example(text=f"<role_thinking>[{ZERO_WIDTH_SPACE}a]</role_thinking> b", settings={"notation": "her"})
@example(text=f"<role_action>{ZERO_WIDTH_SPACE}a (</role_action> b", settings={"notation": "her"})
def test_the_two_notations_say_the_same(text: str, settings: dict[str, Any]) -> None:
    turn = parse_turn(text, **settings)
    other = {**settings, "notation": "coser" if settings["notation"] == "her" else "her"}
    assert parse_turn(turn.render(other["notation"]), **other) == turn


@given(text=LABELLED, settings=SETTINGS, sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5))
@example(text="Bob c", settings={"names": ("Bob", "Bob c")}, sizes=[1])
@example(text="<xy</role_action>z", settings={}, sizes=[2])
@example(text="a" + " " * 70 + ": b", settings={}, sizes=[1, 40])
def test_a_stream_gives_the_same_turn_and_its_events_add_up(
    text: str, settings: dict[str, Any], sizes: list[int]
) -> None:
    settings = {"prefilled": False, **settings}
    whole = parse_turn(text, **settings)
    turn, events = stream(cut(text, sizes), **settings)
    assert turn == whole and set(turn.issues) == set(whole.issues)
    assert turn.render() == whole.render()

    names = [event.text for event in events if event.kind == "name"]
    assert names == ([] if turn.name is None else [turn.name])
    texts = [event for event in events if event.kind == "text"]
    assert len(names) + len(texts) == len(events)
    order = [event.segment for event in texts if event.segment is not None]
    assert order == sorted(order), "an event changes a segment that another has followed"
    for number, segment in enumerate(turn.segments):
        assert "".join(event.text for event in texts if event.segment == number) == segment.text
        assert {event.layer for event in texts if event.segment == number} == {segment.layer}
    assert set(order) == set(range(len(turn.segments)))
    system = [event for event in texts if event.segment is None]
    assert "".join(event.text for event in system) == (turn.system_thinking or "")
    assert {event.layer for event in system} <= {Layer.SYSTEM_THINKING}


@given(text=SOUP)
def test_views_show_what_the_naive_reading_shows(text: str) -> None:
    """No text outside thinking is lost and none inside is shown, however broken the tags are."""
    words = naive(text)
    for view, letters in (("self", "TAS"), ("others", "AS")):
        seen = only(letters, words)
        assert naive(view_text(text, view)) == seen
        shown = naive(parse_turn(text).render(view=view))
        assert "".join(word for _, word in shown).replace("：", ":") == "".join(w for _, w in seen).replace("：", ":")
    system, rest = split_system(text)
    assert naive(rest) == only("TAS", words)
    assert {word for _, word in naive(system)} <= {word for _, word in only("H", words)}


@given(text=SOUP, settings=SETTINGS)
def test_others_see_no_thinking_and_the_self_no_system_thinking(text: str, settings: dict[str, Any]) -> None:
    turn = parse_turn(text, **settings)
    for notation in ("her", "coser"):
        others = parse_turn(turn.render(notation, "others"), notation=notation)
        own = parse_turn(turn.render(notation, "self"), notation=notation)
        assert others.system_thinking is None and own.system_thinking is None
        assert not any(segment.layer.is_thinking for segment in others.segments)
        assert all(segment.layer is not Layer.SYSTEM_THINKING for segment in own.segments)


@given(text=SOUP)
def test_a_view_of_a_view_is_the_view(text: str) -> None:
    own, others = view_text(text, "self"), view_text(text, "others")
    assert view_text(own, "self") == own
    assert view_text(others, "others") == view_text(others, "self") == others
    assert view_text(own, "others") == others
    assert split_system(own) == ("", own)


@given(tree=TREES)
def test_elements_are_as_many_in_every_view_as_their_layer_has(tree: tuple[Node, ...]) -> None:
    """What a view drops makes no two elements one: those that it shows are read again as they were."""
    writer = Writer(coser=False)
    writer.write(tree)
    turn = parse_turn(writer.text)
    for view in View:
        seen = turn.render(view=view)
        shown = [segment for segment in turn.segments if view.shows(segment.layer)]
        again = parse_turn(seen).segments
        assert view_text(writer.text, view) == seen if view is not View.FULL else again == turn.segments
        for layer in (Layer.ROLE_ACTION, Layer.ROLE_THINKING):
            assert [part for part in again if part.layer is layer] == [part for part in shown if part.layer is layer]


@given(text=SOUP)
def test_view_text_and_render_differ_in_the_label_only(text: str) -> None:
    turn = parse_turn(text)
    for view in ("self", "others"):
        seen, rendered = view_text(text, view), turn.render(view=view)
        if turn.name is None:
            assert seen == rendered
            continue
        label, colon, body = rendered.partition(":")
        assert label == turn.name and colon
        assert seen.startswith(turn.name)
        after = seen.removeprefix(turn.name).lstrip()
        assert after[0] in ":："
        assert after[1:].strip() == body.strip()


@given(text=SOUP)
def test_escaped_text_opens_no_layer(text: str) -> None:
    escaped = escape_tags(text)
    assert escape_tags(escaped) == escaped
    assert escaped.replace(ZERO_WIDTH_SPACE, "") == text.replace(ZERO_WIDTH_SPACE, "")
    assert {segment.layer for segment in parse_turn(escaped).segments} <= {Layer.SPEECH}
    assert view_text(escaped, "others") == escaped.strip()
