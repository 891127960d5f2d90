"""Draw the decision tree of the page "Choose": `python docs/choose_figure.py` writes images/choose-*.svg."""

from __future__ import annotations

from pathlib import Path

from drawing import THEMES, Svg

HERE = Path(__file__).parent

TITLE = "Which model to take"
DESCRIBE = (
    "A list of six questions, the first yes decides. One view alone at hand later: DVCCA. Shared apart from private: "
    "DMVAE or MMVAEPlus. Correlation alone: DCCA or DCCAE. Views missing or predicted from each other: "
    "MEMVAE, MVTCAE, or up to ten views MoPoEVAE, if several are given at once; MCVAE or MMVAE if one at a time. Views "
    "that repeat each other: WeightedMVAE. Views that interact in complete samples: JMVAE. Otherwise MVAE. Before all "
    "of them, PCA, CCA or ridge regression."
)

# Question, and what a yes leads to: names of models, and in brackets when or how.
ROWS = [
    (["Will one view alone", "be at hand later?"], ["DVCCA", "(that view its reference)"]),
    (["Is what views share", "to be told from what", "each has to itself?"], ["DMVAE", "MMVAEPlus"]),
    (["Is correlation all", "that you ask for?"], ["DCCA, DCCAE", "(no density, no samples)"]),
    (
        ["Will views be missing,", "or be predicted", "from each other?"],
        ["(from several at once:)", "MEMVAE, MVTCAE", "MoPoEVAE", "(from one at a time:)", "MCVAE, MMVAE"],
    ),
    (["Do some views repeat", "others, or claim more", "than they know?"], ["WeightedMVAE"]),
    (["Do views interact, and", "are samples complete?"], ["JMVAE"]),
]

WIDTH, LINE, PAD, GAP = 460, 21, 11, 30
LEFT, SPLIT, RIGHT = 8, 212, 258  # left edge and right edge of the questions, left edge of the answers


def box(s: Svg, x: float, y: float, w: float, h: float, lines: list[str], *, answer: bool = False) -> None:
    """Lines of text in a frame; those in brackets are remarks."""
    s.rect(x, y, w, h, fill="paper" if answer else "fill", colour="blue" if answer else "soft", r=8)
    top = y + (h - LINE * len(lines)) / 2
    for i, line in enumerate(lines):
        remark = line.startswith("(")
        s.text(
            x + w / 2,
            top + LINE * i + 16,
            line.strip("()"),
            size=15 if remark else 16,
            colour="soft" if remark else "blue" if answer else "ink",
            weight=600 if answer and not remark else 400,
        )


def draw(s: Svg) -> float:
    """Draw it, and return its height."""
    middle, y = (LEFT + SPLIT) / 2, 4.0
    height = 2 * LINE + PAD
    box(s, LEFT, y, WIDTH - 2 * LEFT, height, ["First fit PCA, CCA or ridge regression,", "and keep their numbers."])
    y += height
    low, no = y, ""  # where the last box ends, and what its way down is called
    for question, answers in ROWS:
        y += GAP
        height = LINE * max(len(question), len(answers)) + 2 * PAD
        tall = LINE * len(question) + 2 * PAD
        top, at = y + (height - tall) / 2, y + height / 2
        box(s, LEFT, top, SPLIT - LEFT, tall, question)
        box(s, RIGHT, y, WIDTH - LEFT - RIGHT, height, answers, answer=True)
        s.line(SPLIT + 2, at, RIGHT - 3, at, colour="blue", head=True)
        s.text((SPLIT + RIGHT) / 2 - 2, at - 8, "yes", size=15, colour="blue")
        down(s, middle, low, top, no)
        y, low, no = y + height, top + tall, "no"
    y += GAP
    down(s, middle, low, y, no)
    box(s, LEFT, y, SPLIT - LEFT, LINE + 2 * PAD, ["MVAE"], answer=True)
    return y + LINE + 2 * PAD + 4


def down(s: Svg, x: float, y: float, end: float, word: str) -> None:
    s.line(x, y + 2, x, end - 3, colour="soft", head=True)
    s.text(x + 10, (y + end) / 2 + 4, word, size=15, colour="soft", anchor="start")


def main() -> None:
    images = HERE / "images"
    images.mkdir(exist_ok=True)
    for theme in THEMES:
        height = draw(Svg(theme, "choose", TITLE, DESCRIBE, WIDTH, 0))
        svg = Svg(theme, "choose", TITLE, DESCRIBE, WIDTH, round(height))
        draw(svg)
        (images / f"choose-{theme}.svg").write_text(str(svg), encoding="utf-8")


if __name__ == "__main__":
    main()
