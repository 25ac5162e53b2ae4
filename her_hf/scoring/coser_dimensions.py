"""The dimensions in which CoSER's critics judge, and the flaws they look for in each.

Criteria of a dimension stand under its code in `her_hf/judging/critics/templates/coser`. Source: CoSER (ICML 2025).
"""

from __future__ import annotations

DIMENSIONS = {
    "SC": "Storyline Consistency",
    "AN": "Anthropomorphism",
    "CF": "Character Fidelity",
    "SQ": "Storyline Quality",
}
"""Code and name of each dimension, in the order of tables."""

FLAW_TYPES: dict[str, tuple[str, ...]] = {
    "SC": ("Storyline Consistency",),
    "AN": ("Self-identity", "Emotional Depth", "Persona Coherence", "Social Interaction"),
    "CF": (
        "Character Language",
        "Knowledge & Background",
        "Personality & Behavior",
        "Relationship & Social Status",
    ),
    "SQ": ("Flow & Progression", "Logical Consistency"),
}
"""Types of flaws that a judge looks for in each dimension."""
