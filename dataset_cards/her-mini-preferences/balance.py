"""Whether the label can be told without reading: from length, position, order of layers; or from single words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from her_hf.judging.pairwise.pairs import Pair
from her_hf.scenes import read_turn

FOLDS = 5


def predictability(pairs: Sequence[Pair], scenes: Sequence[str]) -> dict[str, Any]:
    """Accuracy of a logistic regression that sees no word.

    Features: how much longer cand_1 is than cand_2 (characters, words, and the ratio's logarithm), and for each
    pattern whether cand_1 or cand_2 has it. What position alone tells is the intercept. No scene is in two folds.

    Args:
        pairs (`Sequence[Pair]`): Pairs in the order in which they are shown.
        scenes (`Sequence[str]`): The scene of each.

    Returns:
        `dict`: `accuracy`, from 0 to 1 and 0.5 by chance, and `folds`.
    """
    sides = [[read_turn(text, pair.character) for text in (pair.cand_1, pair.cand_2)] for pair in pairs]
    patterns = sorted({turn.pattern for both in sides for turn in both})
    rows = []
    for pair, (one, two) in zip(pairs, sides, strict=True):
        lengths = [len(pair.cand_1) - len(pair.cand_2), len(pair.cand_1.split()) - len(pair.cand_2.split())]
        shown = [(one.pattern == name) - (two.pattern == name) for name in patterns]
        rows.append([*lengths, np.log(len(pair.cand_1) / len(pair.cand_2)), *shown])
    labels = np.array([pair.label == "cand_1" for pair in pairs])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    folds = GroupKFold(n_splits=FOLDS)
    guessed = cross_val_predict(model, np.array(rows, dtype=float), labels, groups=list(scenes), cv=folds)
    return {"accuracy": round(float((guessed == labels).mean()), 4), "folds": FOLDS}


def words_alone(train: Sequence[Pair], test: Sequence[Pair]) -> float:
    """Accuracy on `test` of a logistic regression on words and signs, trained on `train`: what a judge must beat.

    Each pair is seen in both orders; features are the TF-IDF weights of cand_1 less those of cand_2.

    Args:
        train, test (`Sequence[Pair]`): Pairs with labels.

    Returns:
        `float`: From 0 to 1, 0.5 by chance.
    """
    vectors = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", min_df=2)
    vectors.fit([text for pair in train for text in (pair.cand_1, pair.cand_2)])

    def features(pairs: Sequence[Pair]) -> Any:
        return vectors.transform([pair.cand_1 for pair in pairs]) - vectors.transform([pair.cand_2 for pair in pairs])

    both = [one for pair in train for one in (pair, pair.swapped())]
    model = LogisticRegression(C=10.0, max_iter=2000, fit_intercept=False)
    model.fit(features(both), [pair.label == "cand_1" for pair in both])
    guessed = model.predict(features(test))
    return round(float(np.mean(guessed == np.array([pair.label == "cand_1" for pair in test]))), 4)
