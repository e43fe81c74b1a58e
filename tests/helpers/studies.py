"""Rows of studies made by hand."""

import numpy as np


def causal_rows(problems=40, cut=None):
    """Flow always changes the answer, chance in one draw out of two; that of problem 0 is not reproduced."""
    rows = []
    for problem in range(problems):
        conditions = [
            {"scorer": name, "ratio": ratio, "excluded": 0, "knocked_out": 4, "changed": changed,
             "answer": None if name == "flow" and problem % 2 else "8", "reversed": False,
             "drop": drop * ratio}
            for ratio in (0.1, 0.2)
            for name, changed, drop in (
                ("flow", True, 30 + problem), ("random@seed=0", True, 10), ("random@seed=1", False, 20),
            )
        ]  # fmt: skip
        text = {"cut": cut, "reproduced": problem > 0, "conditions": conditions}
        rows.append({"problem": problem, "correct": True, "texts": [text]})
    return rows


def shape_rows(responses=40):
    """A comma is high in three cases out of four, `</script>` never, the rest now and then."""
    draw = np.random.default_rng(0)
    rows = []
    for problem in range(responses):
        texts = [", ", "</script>", " a", "|", "\n", "$x$"] * 4
        high = [(text == ", ") * (index % 24 != 0) or (text == " a" and draw.random() < 0.4)
                for index, text in enumerate(texts)]  # fmt: skip
        rows.append(
            {
                "problem": problem,
                "texts": texts,
                "structural": [int(not any(c.isalnum() for c in text)) for text in texts],
                "high": [int(is_high) for is_high in high],
                "top_flow": [0.05, 0.2, 0.5, 0.8],
                "top_flow_with_answer": [0.1, 0.3, 0.6, 0.9],
                "spacing": [4, 4, 5],
                "shuffled": [[3, 9], [2, 7, 1]],
            }
        )
    return rows
