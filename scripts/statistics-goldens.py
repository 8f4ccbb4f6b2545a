"""What scipy says of stored tables: test/golden/data/statistics.json.

    python3 scripts/statistics-goldens.py > test/golden/data/statistics.json

Needs numpy and scipy; Holm's correction is the definition in R's p.adjust, step by step.
"""

import json

import numpy as np
import scipy
from scipy import stats
from scipy.special import expit, logit

random = np.random.default_rng(16)

tables = [
    [0.1, 0.2, 0.15, 0.05, 0.3],
    [0.02, -0.01, 0.03, 0.005],
    [1, 2, 4],
    [0.3, -0.1, 0.25, 0.4, 0.1, -0.05, 0.2, 0.15, 0.33, 0.01],
    random.normal(0.05, 0.2, 20).round(4).tolist(),
]


def paired(values):
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    return {"values": values, "p": test.pvalue, "low": low, "high": high}


def transformed(values, to, back, slope):
    mean, error = np.mean(values), stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * error * slope(mean)
    return {"values": values, "low": back(to(mean) - half), "high": back(to(mean) + half)}


def holm(p):
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.array(p)[order])
    return np.minimum(1, steps)[np.argsort(order, kind="stable")].tolist()


times = [[61.2, 64.9, 58.8], random.lognormal(4, 0.3, 5).round(3).tolist(), [3, 900, 20, 55]]
shares = [[0.97, 0.99, 0.985], [0.01, 0.0, 0.03, 0.02], random.beta(8, 3, 6).round(4).tolist()]
families = [[0.01, 0.04, 0.03, 0.005, 0.9], random.uniform(0, 0.2, 12).round(4).tolist(), [0.02, 0.02, 0.02]]
wilson = []
for hits, count in [(0, 5), (1, 5), (5, 5), (97, 128), (128, 128)]:
    low, high = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    wilson.append({"hits": hits, "count": count, "low": low, "high": high})
rows = [[0.3, 0.1, 0.2], [2, 1, 1, 5], [4, 4, 4], random.integers(0, 4, 9).tolist()]

print(
    json.dumps(
        {
            "scipy": scipy.__version__,
            "paired": [paired(values) for values in tables],
            "positive": [transformed(v, np.log, np.exp, lambda m: 1 / m) for v in times],
            "share": [transformed(v, logit, expit, lambda m: 1 / (m * (1 - m))) for v in shares],
            "holm": [{"p": p, "adjusted": holm(p)} for p in families],
            "wilson": wilson,
            "ranks": [{"values": row, "ranks": stats.rankdata(row).tolist()} for row in rows],
            "range": [
                {"methods": k, "q": stats.studentized_range.ppf(0.95, k, np.inf)} for k in range(2, 25)
            ],
        },
        indent=1,
    )
)
