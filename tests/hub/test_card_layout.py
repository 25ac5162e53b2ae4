"""Model cards: only what is known."""

from __future__ import annotations

from her_hf.hub.card_layout import ModelCard, hub_id, render_card


def test_card_claims_only_what_is_known() -> None:
    card = render_card(ModelCard(name="m", base="/some/where", dataset="owner/data:config", method="SFT."))
    front = card.split("---")[1]
    assert "datasets:\n- owner/data" in front and "base_model" not in front and "license" not in front
    assert "/some/where" not in card and "not stated" in card
    assert [hub_id(name) for name in ("a/b", "./a/b", "a", "a/b/c")] == ["a/b", None, None, None]
