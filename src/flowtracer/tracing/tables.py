"""A trace's tokens as rows: the highest ones, and all of them as a table of pandas."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas

    from flowtracer.tracing.data import Role, Trace


class TopToken(NamedTuple):
    """A token and its score. position counts all tokens of the text, the prompt's first, from 0."""

    position: int
    text: str
    role: str
    score: float


def top_tokens(
    trace: "Trace", k: int, *, scorer: str = "flow", roles: "tuple[Role, ...]" = ("response",)
) -> list[TopToken]:
    """The k tokens of these roles with the highest scores, highest first; ties by position.

    Raises ValueError for a scorer that the trace does not hold, and for a role that does not exist.
    """
    scores = scores_of(trace, scorer)
    unknown = [role for role in roles if role not in ("template", "user", "response", "answer")]
    if unknown or k < 0:
        raise ValueError(
            f"there is no role {unknown[0]!r}; use template, user, response or answer"
            if unknown
            else f"k is {k}; it must be at least 0"
        )
    tokens = [i for i, role in enumerate(trace.roles) if role in roles]
    tokens.sort(key=lambda i: (-scores[i], i))
    return [TopToken(i, trace.token_text(i), trace.roles[i], scores[i]) for i in tokens[:k]]


def scores_of(trace: "Trace", scorer: str) -> tuple[float, ...]:
    """A score for each token. Raises ValueError for a scorer that the trace does not hold."""
    held = {"flow": trace.throughput, **trace.scores}
    if scorer not in held:
        raise ValueError(
            f"the trace has no scores by {scorer!r}, it has {', '.join(held)}; trace the text again with "
            f"scorers=[{scorer!r}]"
        )
    return held[scorer]


def dataframe(trace: "Trace") -> "pandas.DataFrame":
    """One row for each token, see `Trace.to_dataframe`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_dataframe needs the package pandas; install it with `pip install pandas`"
        ) from error
    hubs, backbone = set(trace.hubs), set(trace.backbone())
    count = range(len(trace.ids))
    index = pandas.RangeIndex(len(trace.ids), name="position")
    columns: dict[str, Any] = {
        "id": trace.ids,
        # As objects: Arrow, in which pandas keeps texts, refuses half a character.
        "text": pandas.Series(trace.tokens, index, dtype=object),
        "role": trace.roles,
        "answer_weight": trace.answer_weights,
        "throughput": trace.throughput,
        "potential": trace.potential,
        "inflow": trace.inflow,
        "hub": [i in hubs for i in count],
        "backbone": [i in backbone for i in count],
    }
    for name, scores in trace.scores.items():
        columns[f"score_{name}"] = scores
    return pandas.DataFrame(columns, index=index)
