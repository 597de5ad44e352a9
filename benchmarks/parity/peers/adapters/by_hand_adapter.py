"""What a person does without a tool: the column with the largest PSI, and the top feature of a domain classifier.

Run by our own Python. `largest PSI`: ten bins by quantiles of the reference, levels as they are, missing values a bin
of their own; an alarm above 0.25. `domain classifier`: a random forest that tells live rows from the reference's, on
folds it was not fitted on; an alarm above an AUC of 0.6.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from common import Finding, run, texts, times
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

SETTINGS = ("largest PSI", "domain classifier")
MOST_PSI, MOST_AUC = 0.25, 0.6
BINS, LEAST_SHARE = 10, 1e-4


def _number(column: pd.Series) -> pd.Series:
    return column.astype("datetime64[ns]").astype("int64") if column.dtype.kind == "M" else column


def psi(reference: pd.Series, live: pd.Series) -> float:
    """Return the population stability index, sum of (q - p) ln(q / p) over bins."""
    if reference.dtype.kind in "iufM":
        edges = np.unique(_number(reference).quantile(np.linspace(0, 1, BINS + 1)[1:-1]))
        binned = [_bins(_number(column), edges) for column in (reference, live)]
    else:
        binned = [column.astype(object).fillna("(missing)").astype(str) for column in (reference, live)]
    p, q = (column.value_counts(normalize=True) for column in binned)
    p, q = (shares.reindex(p.index.union(q.index)).fillna(0).clip(lower=LEAST_SHARE) for shares in (p, q))
    return float(((q - p) * np.log(q / p)).sum())


def _bins(column: pd.Series, edges: np.ndarray) -> pd.Series:
    values = pd.to_numeric(column, errors="coerce")
    codes = pd.Series(np.digitize(values, edges), index=column.index)
    return codes.mask(values.isna(), -1)


def _code(reference: pd.DataFrame, live: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return both tables as numbers: levels by their share in the reference, text among numbers and nulls as -1e9."""
    both = pd.concat([reference, live], ignore_index=True)
    names = [name for name in reference if name in live]
    columns = []
    for name in names:
        if name in texts(reference):
            column = both[name].map(reference[name].value_counts(normalize=True))
        elif name in times(reference):
            column = pd.to_datetime(both[name], errors="coerce").astype("datetime64[ns]").astype("int64")
        else:
            column = pd.to_numeric(both[name], errors="coerce")
        columns.append(column.astype(float).fillna(-1e9).to_numpy())
    return np.column_stack(columns), names


def classify(reference: pd.DataFrame, live: pd.DataFrame) -> Finding:
    x, names = _code(reference, live)
    y = np.r_[np.zeros(len(reference)), np.ones(len(live))]
    probability, weights = np.zeros(len(y)), np.zeros(len(names))
    for fit, test in StratifiedKFold(3, shuffle=True, random_state=0).split(x, y):
        forest = RandomForestClassifier(60, min_samples_leaf=5, class_weight="balanced", random_state=0)
        forest.fit(x[fit], y[fit])
        probability[test] = forest.predict_proba(x[test])[:, 1]
        weights += forest.feature_importances_
    auc = float(roc_auc_score(y, probability))
    top = names[int(np.argmax(weights))]
    return Finding(auc > MOST_AUC, [([top], f"AUC {auc:.2f}, top feature")], {top: auc})


def judge(reference: pd.DataFrame, live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    missing = [name for name in reference if name not in live]
    scores = {name: psi(reference[name], live[name]) for name in reference if name not in missing}
    top = max(scores, key=lambda name: scores[name])
    says = [([top], f"PSI {scores[top]:.2f}")] if scores[top] > MOST_PSI else []
    says = [(missing, "missing column")] if missing else says
    yield "largest PSI", Finding(bool(says), says, scores)
    yield "domain classifier", classify(reference, live)


if __name__ == "__main__":
    run(lambda reference: reference, judge, SETTINGS, each_by_itself=True)
