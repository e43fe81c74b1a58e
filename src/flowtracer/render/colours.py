"""One colour scale for page, figures and terminal."""

from collections.abc import Sequence

# Eleven even steps of matplotlib's cividis, which stays readable with colour-vision deficiencies.
CIVIDIS = (
    "#00224e", "#083370", "#35456c", "#4f576c", "#666970", "#7d7c78",
    "#948e77", "#aea371", "#c8b866", "#e5cf52", "#fee838",
)  # fmt: skip
FULL_SCALE_QUANTILE = 0.98  # our choice: a few answer tokens must not make all others pale


def full_scale(scores: Sequence[float], candidates: Sequence[bool]) -> float:
    """The score shown at full strength: the 98% quantile of the positive candidate scores."""
    positive = sorted(
        score for score, use in zip(scores, candidates, strict=True) if use and score > 0
    )
    if not positive:
        return max(scores, default=0.0) or 1.0
    return positive[min(len(positive) - 1, int(FULL_SCALE_QUANTILE * len(positive)))]


def strength(score: float, full: float) -> float:
    """0..1, the square root of score / full: spreads out the many small scores."""
    return min(1.0, max(0.0, score / full) ** 0.5)


def levels(scores: Sequence[float], roles: Sequence[str]) -> list[float]:
    """Strength of each token's throughput, as on the page: prompt and response each on their own scale.

    Each token of the prompt carries its part of the source by construction, so its scale begins at the
    prompt's lowest score. The answer takes all of the flow and gets 0: it is marked, not coloured.
    """
    result = [0.0] * len(scores)
    for part in (("template", "user"), ("response",)):
        inside = [role in part for role in roles]
        positive = [score for score, use in zip(scores, inside, strict=True) if use and score > 0]
        full = full_scale(scores, inside)
        low = min(positive) if "user" in part and len(positive) > 1 else 0.0
        low = low if low < full else 0.0
        for token, (score, use) in enumerate(zip(scores, inside, strict=True)):
            if use and score > 0:
                result[token] = strength(score - low, full - low)
    return result


def colour(level: float) -> str:
    """Hex colour of a strength in 0..1 on white paper: faint for weak, dark for strong."""
    position = (1 - level) * (len(CIVIDIS) - 1)
    low = min(int(position), len(CIVIDIS) - 2)
    cover = min(1.0, 0.12 + 1.1 * level)
    mixed = []
    for a, b in zip(_channels(CIVIDIS[low]), _channels(CIVIDIS[low + 1]), strict=True):
        mixed.append(round((a + (b - a) * (position - low)) * cover + 255 * (1 - cover)))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def ink(background: str) -> str:
    """Black or white, whichever stands out more against a hex colour (WCAG 2 luminance)."""
    linear = [
        c / 3294 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in _channels(background)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def _channels(colour_hex: str) -> tuple[int, int, int]:
    return int(colour_hex[1:3], 16), int(colour_hex[3:5], 16), int(colour_hex[5:7], 16)
