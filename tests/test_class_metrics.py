"""Confusion tables and balanced accuracy, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, recall_score

from thermvision.annotations.class_metrics import accuracy, balanced_accuracy, confusion

NAMES = ("none", "stubble", "full")


def test_rows_are_true_and_columns_found() -> None:
    assert confusion(["full", "full", "none"], ["none", "full", "none"], NAMES).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 1],
    ]


def test_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="labels goatee do not exist; allowed: none, stubble, full"):
        confusion(["goatee"], ["none"], NAMES)
    with pytest.raises(ValueError, match="1 true labels and 0 found ones"):
        confusion(["none"], [], NAMES)


def test_weights_count_faces_anew() -> None:
    truth, right = ["a", "a", "b"], [1, 0, 1]
    assert accuracy(right, [[1, 1, 1], [0, 2, 2]]).tolist() == pytest.approx([2 / 3, 1 / 2])
    weighted = balanced_accuracy(truth, right, [[1, 1, 1], [0, 2, 2], [1, 1, 0], [0, 0, 0]])
    assert weighted[:3].tolist() == [0.75, 0.5, 0.5]
    assert np.isnan(weighted[3])
    assert np.isnan(accuracy([])).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=30))
def test_it_agrees_with_scikit_learn(rows: list[tuple[str, str]]) -> None:
    truth, found = zip(*rows, strict=True)
    assert (confusion(truth, found, NAMES) == confusion_matrix(truth, found, labels=NAMES)).all()
    recalls = recall_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0)
    hits = np.array(truth) == np.array(found)
    assert balanced_accuracy(truth, hits)[0] == pytest.approx(recalls)


def test_a_constant_answer_is_one_part_in_the_classes() -> None:
    truth = ["none"] * 8 + ["stubble"] + ["full"]
    assert balanced_accuracy(truth, [t == "none" for t in truth])[0] == pytest.approx(1 / 3)
