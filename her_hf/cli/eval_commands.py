"""`her-hf eval …`: one subcommand for each evaluation."""

from __future__ import annotations

from .lazy import group_of

COMMANDS = {
    "coser": ("her_hf.cli.eval_coser:coser", "Play CoSER scenes and judge them in four dimensions."),
    "minimax": (
        "her_hf.cli.eval_minimax:app",
        "Play and judge dialogues as in MiniMax's role-play bench (situated reenactment); calibrate a judge.",
    ),
    "form": (
        "her_hf.cli.eval_form:form",
        "Measure dual-layer form: well-formed replies, leaks of thinking, patterns, repetition, lengths.",
    ),
    "reward": (
        "her_hf.cli.eval_reward:reward",
        "Measure a reward model or judge on labelled pairs, such as pairs with human labels.",
    ),
    "show": (
        "her_hf.cli.eval_show:show",
        "Print the figures of a run and open its report.html, which is written if it is missing.",
    ),
    "card": (
        "her_hf.cli.eval_card:card",
        "Write the figures of a run with their settings into the card of the model, as a section and for the Hub.",
    ),
    "compare": (
        "her_hf.cli.eval_compare:compare",
        "Test whether two runs differ on the scenes, seeds or pairs that they share.",
    ),
}

app = group_of(COMMANDS, "Evaluate models; show a run, compare two.")
