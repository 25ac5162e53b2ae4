"""Macros of character cards, such as `{{char}}` and `{{random:a,b}}`, expanded when the card is read."""

from __future__ import annotations

import re

from her_hf.durable import derive_seed

MAX_DEPTH = 16
"""Maximum depth of nested macros; deeper ones are text."""
MAX_DICE = 100

_TOKEN = re.compile(r"\{\{(?!\{)|\}\}|<(?:user|bot|char)>", re.IGNORECASE)
_MACRO = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:::?|\s|$)(.*)", re.DOTALL)
_DICE = re.compile(r"\s*(\d{0,3})d?(\d{1,6})\s*([+-]\s*\d{1,6})?\s*", re.IGNORECASE | re.ASCII)
_COMMA = re.compile(r"(?<!\\),")
_HELD = "\ud800"
"""Stands for a comma in the value of a nested macro, which does not separate options of `random`. A lone surrogate,
because no text of a card contains one."""
_NOTHING = ("comment", "hidden_key", "original", "noop", "trim")


class Macros:
    """Expands the macros of one card.

    Random macros (`random`, `pick`, `roll`) are seeded by card, field and position, so the result is reproducible.
    Macros that depend on the chat (`{{time}}`, variables) cannot be expanded when a card is read: they are removed and
    listed in `unknown`.

    Args:
        character (`str`): For `{{char}}`.
        visitor (`str`): For `{{user}}`.
        card (`str`): Name of the card, for the seeds.

    Source: Character Card V3 specification, macros.
    """

    def __init__(self, character: str, visitor: str, card: str) -> None:
        self.character, self.visitor, self.card = character, visitor, card
        self.unknown: list[str] = []

    def fill(self, template: str, field: str) -> str:
        """The text with expanded macros, inner ones first; an inserted value is never expanded again.

        Args:
            template (`str`): The text.
            field (`str`): Its path in the card.
        """
        stack: list[list[str]] = [[]]
        at = 0
        for count, token in enumerate(_TOKEN.finditer(template)):
            stack[-1].append(template[at : token.start()])
            at, word = token.end(), token[0]
            if word == "{{" and len(stack) <= MAX_DEPTH:
                stack.append([])
            elif word == "}}" and len(stack) > 1:
                value = self._value("".join(stack.pop()), f"{field}:{count}")
                stack[-1].append(value if len(stack) == 1 else value.replace(",", _HELD))
            elif word in ("{{", "}}"):
                stack[-1].append(word)
            else:
                stack[-1].append(self.visitor if word.lower() == "<user>" else self.character)
        outer, *unclosed = stack
        pieces = [*outer, *(piece for level in unclosed for piece in ("{{", *level)), template[at:]]
        return "".join(pieces).replace(_HELD, ",")

    def _value(self, body: str, place: str) -> str:
        if body.lstrip().startswith("//"):
            return ""
        found = _MACRO.fullmatch(body)
        rest = found[2].strip() if found else ""
        match found[1].lower() if found else None:
            case "char" | "bot" | "charifnotgroup":
                return self.character
            case "user":
                return self.visitor
            case "newline":
                return "\n"
            case "reverse":
                return rest[::-1]
            case "random" | "pick":
                return self._drawn(rest, place)
            case "roll" if dice := _DICE.fullmatch(rest):
                return self._rolled(dice, place)
            case str(name) if name in _NOTHING:
                return ""
        self.unknown.append(body.strip().replace(_HELD, ","))
        return ""

    def _drawn(self, rest: str, place: str) -> str:
        options = rest.split("::") if "::" in rest else _COMMA.split(rest)
        return options[derive_seed(self.card, place) % len(options)].replace("\\,", ",").strip()

    def _rolled(self, dice: re.Match[str], place: str) -> str:
        count, sides = min(int(dice[1] or 1), MAX_DICE), max(int(dice[2]), 1)
        if "d" not in dice[0].lower():  # "20" is one die
            count, sides = 1, max(int(dice[1] + dice[2]), 1)
        thrown = sum(derive_seed(self.card, place, die) % sides + 1 for die in range(count))
        return str(thrown + int((dice[3] or "0").replace(" ", "")))
