"""Results published in HER's paper for CoSER and MiniMax Role-Play Bench, to show next to our own.

They were obtained with other judges, prompts and sampling: they show how models rank there, not what our scores mean.

Source: HER, arXiv 2601.21459, main results.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "HER, arXiv 2601.21459, main results"


class CoserScores(NamedTuple):
    """Published scores of CoSER, 0 to 100."""

    avg: float
    SC: float
    AN: float
    CF: float
    SQ: float


class MinimaxScores(NamedTuple):
    """Published scores of MiniMax Role-Play Bench, 0 to 100, with the ends of the 95% interval of `avg`."""

    avg: float
    worlds: float
    stories: float
    preferences: float
    low: float
    high: float


class Published(NamedTuple):
    """One model's row."""

    model: str
    coser: CoserScores
    minimax: MinimaxScores


def _row(model: str, coser: tuple[float, ...], minimax: tuple[float, ...]) -> Published:
    return Published(model, CoserScores(*coser), MinimaxScores(*minimax))


PUBLISHED = (
    _row("Claude-4.5-Opus", (62.43, 63.74, 64.28, 58.45, 63.24), (76.62, 67.23, 82.10, 89.90, 75.5, 77.7)),
    _row("Gemini-3-Pro", (61.80, 65.95, 60.42, 58.34, 62.49), (75.60, 62.72, 83.87, 93.08, 74.5, 76.7)),
    _row("GPT-5.1", (61.10, 64.95, 53.99, 60.13, 65.35), (80.63, 76.62, 72.21, 97.05, 79.6, 81.6)),
    _row("Gemini-2.5-Pro", (60.68, 61.05, 60.80, 57.48, 63.40), (68.23, 52.36, 82.11, 86.08, 67.1, 69.3)),
    _row("DeepSeek-v3.2", (58.68, 55.85, 57.07, 57.44, 64.35), (60.27, 45.81, 66.64, 82.83, 59.2, 61.4)),
    _row("MiniMax-M2-her", (57.30, 60.03, 50.11, 49.30, 69.77), (84.65, 80.55, 79.97, 97.51, 83.6, 85.7)),
    _row("DeepSeek-v3.1", (53.50, 50.15, 53.18, 53.93, 56.72), (64.22, 51.11, 66.45, 88.21, 62.9, 65.5)),
    _row("HER-RL", (53.12, 54.33, 47.26, 52.78, 58.12), (65.73, 59.13, 57.74, 86.90, 63.0, 68.4)),
    _row("HER-SFT", (50.92, 50.52, 45.99, 49.78, 57.37), (58.44, 47.29, 52.78, 86.40, 56.5, 60.4)),
    _row("Grok-4.1-Fast", (47.40, 49.21, 47.57, 42.64, 50.17), (48.47, 29.87, 47.51, 86.64, 47.4, 49.5)),
    _row("Claude-4.5-Sonnet", (45.21, 47.18, 36.02, 47.55, 50.09), (69.35, 55.72, 75.66, 90.28, 68.2, 70.5)),
    _row("Claude-3.7-Think", (39.73, 44.84, 31.00, 42.45, 40.65), (61.25, 50.66, 59.53, 84.15, 58.5, 64.0)),
    _row("CoSER-70B", (35.95, 35.05, 31.16, 32.28, 45.33), (45.38, 34.32, 30.32, 82.58, 43.5, 47.2)),
    _row("GPT-5-Mini", (32.97, 38.10, 24.60, 27.20, 42.00), (57.63, 43.32, 50.11, 93.78, 55.9, 59.3)),
    _row("GPT-4o-240806", (27.69, 34.00, 14.90, 22.90, 38.90), (66.39, 64.96, 46.23, 89.40, 64.1, 68.7)),
    _row("GPT-OSS-120B", (26.12, 32.80, 14.80, 21.50, 35.40), (60.72, 47.27, 56.65, 91.71, 58.0, 63.4)),
    _row("Qwen3-32B", (22.86, 30.56, 19.61, 15.52, 30.56), (50.76, 40.38, 32.82, 89.48, 48.4, 53.2)),
)
"""All rows, best CoSER average first, as printed: the CoSER average of Qwen3-32B is 1.2 below the mean of its four
dimensions; all others equal that mean."""
