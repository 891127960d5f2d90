"""Draw the figures of this chapter: `python docs/learn/figures.py` writes images/*.svg and the still in experts.html.

Each figure has a light and a dark version. Nothing is random but where a seed is given, and nothing is downloaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from drawing import THEMES, Svg, between, polyline  # noqa: E402

FIGURES: list[tuple[str, str, str, tuple[int, int], Callable[[Svg], None]]] = []


def figure(title: str, describe: str, width: int, height: int):
    """Register a function that draws on an `Svg`; its name is the file's."""

    def register(draw: Callable[[Svg], None]) -> Callable[[Svg], None]:
        FIGURES.append((draw.__name__, title, describe, (width, height), draw))
        return draw

    return register


def normal(x, mean, sd):
    return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))


# ---- one view -------------------------------------------------------------------------------------------------------


@figure(
    "Autoencoder, adversarial autoencoder and variational autoencoder",
    "Three rows. Each encodes x to a latent z and decodes z to a reconstruction. The autoencoder has a point as z. The "
    "adversarial one has a point as z, and a discriminator that compares points with draws of the prior. The "
    "variational one has a distribution as z, and a divergence that compares it with the prior.",
    460,
    408,
)
def ladder(s: Svg) -> None:
    rows = [
        (20, "Autoencoder", "a point, held by nothing"),
        (144, "Adversarial autoencoder", "a point; all points together are held to p(z)"),
        (290, "Variational autoencoder", "a distribution, held to p(z)"),
    ]
    for i, (y, name, note) in enumerate(rows):
        s.text(8, y, name, anchor="start", weight=600)
        s.text(8, y + 20, note, anchor="start", size=15, colour="soft")
        c = y + 62
        s.rect(16, c - 24, 48, 48, fill="fill")
        s.text(40, c + 6, "x", italic=True, size=19)
        s.rect(396, c - 24, 48, 48, fill="fill")
        s.text(420, c + 6, "x̂", italic=True, size=19)
        s.line(66, c, 188, c, colour="ink", head=True)
        s.line(272, c, 393, c, colour="ink", head=True)
        s.text(126, c - 9, "encoder", size=15)
        s.text(332, c - 9, "decoder", size=15)
        s.rect(190, c - 26, 80, 52, colour="blue", r=12)
        if i < 2:
            s.dot(216, c, colour="blue", r=5)
            s.text(244, c + 6, "z", italic=True, size=19)
        else:
            t = np.linspace(-1, 1, 41)
            s.curve(230 + 32 * t, c + 16 - 34 * np.exp(-6 * t**2), colour="blue", width=2.2)
        if i == 1:
            s.line(230, c + 28, 230, c + 45, colour="red", head=True)
            s.text(230, c + 61, "or a draw of p(z)?", size=15, colour="red")
        if i == 2:
            s.text(230, c + 48, "q(z | x), KL to p(z)", size=15, colour="red")


@figure(
    "The evidence, its lower bound, and the gap between them",
    "A bar for the log-evidence log p(x) is divided in two: the evidence lower bound, and the divergence of the "
    "approximate from the exact posterior. A second bar shows that the bound is the expected log-likelihood, less the "
    "divergence of the posterior from the prior.",
    460,
    212,
)
def evidence(s: Svg) -> None:
    s.text(20, 24, "log p(x), fixed by the decoder", anchor="start", weight=600)
    s.rect(20, 34, 420, 30, fill="fill", r=3)
    s.rect(20, 82, 330, 30, fill="blue", colour="blue", opacity=0.28, r=3)
    s.text(185, 103, "ELBO", weight=600)
    s.rect(350, 82, 90, 30, fill="red", colour="red", opacity=0.28, r=3)
    s.text(440, 132, "KL(q(z | x) ‖ p(z | x))", anchor="end", size=15, colour="red")
    s.rect(20, 150, 400, 30, colour="green", fill="green", opacity=0.22, r=3)
    s.text(184, 171, "E log p(x | z)")
    s.rect(350, 150, 70, 30, colour="orange", fill="paper", dash="5 4", r=3)
    s.text(440, 201, "minus KL(q(z | x) ‖ p(z))", anchor="end", size=15, colour="orange")
    s.line(350, 136, 350, 184, colour="soft", dash="3 4", width=1.2)


@figure(
    "What the divergence does to the posteriors of four samples",
    "Three panels with the prior and the posteriors of four samples. Without a divergence they are narrow and lie far "
    "outside the prior. With weight one they overlap and fill the prior together. With a large weight all are the "
    "prior, and the samples cannot be told apart.",
    460,
    412,
)
def posteriors(s: Svg) -> None:
    x = np.linspace(-6.5, 6.5, 181)
    px = 230 + x * 33
    panels = [
        ("no divergence: narrow, and anywhere", [-5.6, -2.2, 3.0, 5.4], 0.16, 0.20),
        ("weight 1: apart, and inside the prior", [-1.3, -0.45, 0.45, 1.3], 0.42, 0.5),
        ("weight too large: all are the prior", [0.0], 1.0, 1.15),
    ]
    for i, (label, means, sd, height) in enumerate(panels):
        base = 112 + i * 130
        s.text(16, base - 90, label, anchor="start", weight=600)
        peak = 62 * height / 1.15 if i == 2 else 62
        prior = normal(x, 0, 1) / normal(0, 0, 1) * (62 * 0.42 if i < 2 else 62)
        s.curve(px, base - prior, colour="soft", width=2, dash="6 5")
        for mean in means:
            t = np.linspace(mean - 3.5 * sd, mean + 3.5 * sd, 61)
            s.curve(230 + t * 33, base - normal(t, mean, sd) * sd * np.sqrt(2 * np.pi) * peak, colour="blue", width=2.2)
        s.line(16, base, 444, base, colour="soft", width=1.2)
        s.text(444, base + 19, "z", italic=True, anchor="end", colour="soft")
    s.line(16, 393, 46, 393, colour="soft", dash="6 5", width=2)
    s.text(54, 398, "prior p(z)", anchor="start", size=15)
    s.line(170, 393, 200, 393, colour="blue", width=2.2)
    s.text(208, 398, "posteriors q(z | x)", anchor="start", size=15)


# ---- latents --------------------------------------------------------------------------------------------------------


def plate(s: Svg, x, y, w, h) -> None:
    s.rect(x, y, w, h, colour="soft", width=1.2, r=12)
    s.text(x + w - 12, y + h - 10, "each sample", anchor="end", size=15, colour="soft")


def key(s: Svg, y: float) -> None:
    s.line(30, y, 76, y, head=True)
    s.text(84, y + 5, "generation", anchor="start", size=15)
    s.line(238, y, 284, y, colour="blue", dash="5 4", head=True)
    s.text(292, y + 5, "inference", anchor="start", size=15)


GENERATES = {"colour": "ink", "head": True}
INFERS = {"colour": "blue", "dash": "5 4", "head": True}


def bent(s: Svg, p, q, bow: float) -> None:
    """A bent dashed arrow, for inference, that leaves room for a straight one."""
    x1, y1, x2, y2 = between(p, q)
    length = np.hypot(x2 - x1, y2 - y1)
    mx, my = (x1 + x2) / 2 - bow * (y2 - y1) / length, (y1 + y2) / 2 + bow * (x2 - x1) / length
    s.path(f"M{x1:.1f} {y1:.1f}Q{mx:.1f} {my:.1f} {x2:.1f} {y2:.1f}", colour="blue", dash="5 4", head=True)


@figure(
    "Joint latent: one z generates all views",
    "A graphical model. One latent z has arrows to the views x1, x2 and x3, which are shaded as observed. Dashed "
    "arrows lead back from every view to z.",
    460,
    268,
)
def joint(s: Svg) -> None:
    plate(s, 14, 10, 432, 218)
    z, views = (230, 54), [(90, 168), (230, 168), (370, 168)]
    for i, x in enumerate(views):
        s.line(*between(z, x), **GENERATES)
        bent(s, x, z, (34, 26, -34)[i])
        s.node(*x, f"x{'₁₂₃'[i]}", observed=True)
    s.node(*z, "z", colour="blue")
    key(s, 250)


@figure(
    "Coordinated latents: each view has its own z, and each z generates all views",
    "A graphical model. Each of the views x1 and x2 has a latent of its own, z1 and z2, inferred from it alone. Each "
    "latent generates both views. A double arrow marks that the two latents are made alike.",
    460,
    284,
)
def coordinated(s: Svg) -> None:
    plate(s, 14, 10, 432, 234)
    z, x = [(120, 62), (340, 62)], [(120, 184), (340, 184)]
    for i in range(2):
        for j in range(2):
            s.line(*between(z[i], x[j]), **GENERATES)
        bent(s, x[i], z[i], 34 if i == 0 else -34)
    s.line(150, 50, 310, 50, colour="red", head=True, tail=True)
    s.text(230, 38, "made alike", size=15, colour="red")
    for i in range(2):
        s.node(*z[i], f"z{'₁₂'[i]}", colour="blue")
        s.node(*x[i], f"x{'₁₂'[i]}", observed=True)
    key(s, 266)


@figure(
    "Shared and private latents: z for what views share, h for what each has alone",
    "A graphical model. The shared latent z generates both views x1 and x2. The private latent h1 generates x1 alone, "
    "and h2 generates x2 alone. Each private latent is inferred from its own view, and z from both.",
    460,
    284,
)
def private(s: Svg) -> None:
    plate(s, 14, 10, 432, 234)
    z, h, x = (230, 62), [(60, 62), (400, 62)], [(140, 184), (320, 184)]
    for i in range(2):
        s.line(*between(z, x[i]), **GENERATES)
        s.line(*between(h[i], x[i]), **GENERATES)
        bent(s, x[i], z, 26 if i == 0 else -26)
        bent(s, x[i], h[i], 26 if i == 0 else -26)
        s.node(*h[i], f"h{'₁₂'[i]}", colour="orange")
        s.node(*x[i], f"x{'₁₂'[i]}", observed=True)
    s.node(*z, "z", colour="blue")
    s.text(230, 30, "shared", size=15, colour="blue")
    s.text(60, 30, "private", size=15, colour="orange")
    s.text(400, 30, "private", size=15, colour="orange")
    key(s, 266)


# ---- fusion ---------------------------------------------------------------------------------------------------------


def products(experts: Sequence[tuple[float, float]], prior: bool = False) -> tuple[float, float]:
    precision = np.array([sd**-2 for _, sd in experts])
    total = precision.sum() + prior
    return float((precision * [mean for mean, _ in experts]).sum() / total), float(total**-0.5)


def fused(experts: Sequence[tuple[float, float]], x: np.ndarray) -> dict[str, np.ndarray]:
    """The densities at x of what each fusion makes of the experts."""
    n = len(experts)
    subsets = [[experts[m] for m in range(n) if code >> m & 1] for code in range(1, 2**n)]
    mean, sd = products(experts)
    centre = sum(m for m, _ in experts) / n
    return {
        "product with the prior": normal(x, *products(experts, prior=True)),
        "generalised product": normal(x, mean, sd * np.sqrt(n)),
        "mixture": np.mean([normal(x, *e) for e in experts], axis=0),
        "mixture of products": np.mean([normal(x, *products(e)) for e in subsets], axis=0),
        "mean": normal(x, centre, sum(sd**2 for _, sd in experts) ** 0.5 / n),
    }


EXAMPLE = [(0.0, 1.0), (3.0, 0.5)]


@figure(
    "Five ways to fuse two Gaussian experts",
    "Five panels with the experts N(0, 1) and N(3, 0.25). The product with the prior is a narrow peak at 2. The "
    "generalised product is a wider peak at 2.4. The mixture has both experts' bumps. The mixture of products has "
    "three bumps. The mean is a peak at 1.5, where neither expert is likely.",
    460,
    520,
)
def fusions(s: Svg) -> None:
    x = np.linspace(-3, 5, 161)
    px = 16 + (x + 3) * 428 / 8
    results = {
        "product with the prior": "2.0 ± 0.41", "generalised product": "2.4 ± 0.63", "mixture": "1.5 ± 1.70",
        "mixture of products": "1.8 ± 1.47", "mean": "1.5 ± 0.56",
    }  # fmt: skip
    for i, (name, density) in enumerate(fused(EXAMPLE, x).items()):
        base = 92 + i * 98
        for e in EXAMPLE:
            s.curve(px, base - 62 * normal(x, *e), colour="soft", width=1.6, dash="5 4")
        s.path(polyline(px, base - 62 * density) + "Z", colour="blue", fill="blue", opacity=0.2, width=2.4)
        s.line(16, base, 444, base, colour="soft", width=1.2)
        s.text(16, base - 62, name, anchor="start", weight=600)
        s.text(16, base - 43, results[name], anchor="start", size=15, colour="blue")
        if i == 4:
            for tick in range(-3, 6):
                s.text(16 + (tick + 3) * 428 / 8, base + 20, f"{tick}".replace("-", "−"), size=14, colour="soft")


# ---- objectives -----------------------------------------------------------------------------------------------------


@figure(
    "Reconstruction matrices of six families",
    "Six small tables with two columns for the decoded views and a row for each source of z. MVAE has one row, the "
    "joint. MCVAE has a row for each view, all cells filled. MEMVAE has the joint row filled and single views only in "
    "their own column. MoPoE has a row for each subset. DCCAE has the diagonal alone. DVCCA has a single row.",
    460,
    448,
)
def matrices(s: Svg) -> None:
    joint_row, one, two = "X", "x₁", "x₂"
    panels = [
        ("MVAE, JMVAE", "MVTCAE", [joint_row], [[1, 1]]),
        ("AE, MCVAE", "MMVAE, MMJSD", [one, two], [[1, 1], [1, 1]]),
        ("MEMVAE", "", [joint_row, one, two], [[1, 1], [1, 0], [0, 1]]),
        ("DMVAE, MoPoE", "", [joint_row, one, two], [[1, 1], [1, 1], [1, 1]]),
        ("DCCAE", "", [one, two], [[1, 0], [0, 1]]),
        ("DVCCA", "reference x₁", [one], [[1, 1]]),
    ]
    for i, (name, more, sources, cells) in enumerate(panels):
        left, top = (i % 2) * 226 + 6, (i // 2) * 148 + 6
        s.text(left, top + 16, name, anchor="start", weight=600)
        if more:
            s.text(left, top + 36, more, anchor="start", size=15, colour="soft" if i == 5 else "ink", weight=600)
        x0, y0 = left + 112, top + (40 if more else 24)
        for m, view in enumerate((one, two)):
            s.text(x0 + 22 + m * 46, y0 + 14, view, italic=True)
        for r, source in enumerate(sources):
            y = y0 + 22 + r * 31
            s.text(x0 - 8, y + 19, f"q(z | {source})", anchor="end", size=15)
            for m in range(2):
                on = cells[r][m]
                s.rect(x0 + m * 46, y, 42, 27, fill="blue" if on else "none", colour="blue" if on else "soft",
                       opacity=0.45 if on else 0, dash="" if on else "3 3", r=4)  # fmt: skip


def importance_bounds() -> tuple[list[int], list[float], list[float], float]:
    """The bound at rising K with the same z in all densities, and with draws of their own; and the exact evidence."""
    rng, x, s2 = np.random.default_rng(0), np.array([1.5, -0.5]), 0.25
    covariance = s2 * np.eye(2) + 1
    exact = -0.5 * (x @ np.linalg.solve(covariance, x) + np.log(np.linalg.det(2 * np.pi * covariance)))
    counts, same, separate = [1, 3, 10, 30, 100, 300, 1000], [], []
    for k in counts:
        z, other = 0.2 + 0.5 * rng.standard_normal((2, 4000, k))
        log_lik = sum(np.log(normal(x_m, z, s2**0.5)) for x_m in x)

        def log_ratio(z):
            return np.log(normal(z, 0, 1)) - np.log(normal(z, 0.2, 0.5))

        same.append(float(np.log(np.exp(log_lik + log_ratio(z)).mean(1)).mean()))
        separate.append(float(np.log(np.exp(log_lik + log_ratio(other)).mean(1)).mean()))
    return counts, same, separate, float(exact)


@figure(
    "Importance-weighted values against the number of draws",
    "A line chart over K from 1 to 1000. With the same z in all densities the value rises to the exact log-evidence "
    "and stays below it. With separate draws it crosses the exact value at about K = 4 and ends half a nat too high.",
    460,
    320,
)
def importance(s: Svg) -> None:
    counts, same, separate, exact = importance_bounds()

    def at(k, value):
        return 66 + np.log10(k) * 122, 30 + (-5.0 - value) / 1.3 * 216

    for tick in (-5.0, -5.5, -6.0):
        y = at(1, tick)[1]
        s.line(66, y, 440, y, colour="fill", width=1.2)
        s.text(58, y + 5, f"−{-tick:.1f}", anchor="end", size=15, colour="soft")
    for k in (1, 10, 100, 1000):
        s.text(at(k, 0)[0], 272, f"{k}", size=15, colour="soft")
    s.text(250, 300, "draws K", colour="soft")
    s.text(66, 18, "nats", anchor="end", size=15, colour="soft")
    y = at(1, exact)[1]
    s.line(66, y, 440, y, colour="ink", dash="7 5")
    s.text(440, y - 8, "exact log p(X)", anchor="end", size=15)
    for values, colour, mark in ((same, "blue", "circle"), (separate, "red", "square")):
        points = [at(k, value) for k, value in zip(counts, values, strict=True)]
        s.curve([p[0] for p in points], [p[1] for p in points], colour=colour, width=2.4)
        for px, py in points:
            if mark == "circle":
                s.dot(px, py, colour=colour, r=4.5)
            else:
                s.rect(px - 4, py - 4, 8, 8, fill=colour, colour=colour, r=0)
    s.text(440, at(1, -5.83)[1], "the same z: a bound", anchor="end", size=15, colour="blue")
    s.text(440, at(1, -5.06)[1], "separate draws: no bound", anchor="end", size=15, colour="red")


# ---- missing views --------------------------------------------------------------------------------------------------


@figure(
    "A missing view is a mask on everything",
    "Left: a table of four samples and three views, in which two cells are missing. Right: for the sample that lacks "
    "view 2, the second expert has no weight in the fusion, and the second row and column of its reconstruction "
    "matrix are zero.",
    460,
    330,
)
def masks(s: Svg) -> None:
    s.text(16, 22, "present: (B, M)", anchor="start", weight=600)
    table = [[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
    for m in range(3):
        s.text(62 + m * 46, 50, f"x{'₁₂₃'[m]}", italic=True)
    for i, row in enumerate(table):
        for m, here in enumerate(row):
            s.rect(42 + m * 46, 58 + i * 34, 42, 30, fill="blue" if here else "none", r=4, opacity=0.45 if here else 0,
                   colour="blue" if here else "red", dash="" if here else "3 3")  # fmt: skip
            if not here:
                s.text(63 + m * 46, 79 + i * 34, "NaN", size=14, colour="red")
    s.path("M186 107H226", colour="ink", head=True)
    s.text(238, 22, "that sample's matrix L", anchor="start", weight=600)
    for m in range(3):
        s.text(328 + m * 46, 50, f"x{'₁₂₃'[m]}", italic=True)
    for r in range(3):
        s.text(300, 79 + r * 34, f"q(z | x{'₁₂₃'[r]})", anchor="end", size=15)
        for m in range(3):
            on = r != 1 and m != 1
            s.rect(307 + m * 46, 58 + r * 34, 42, 30, fill="blue" if on else "none", opacity=0.45 if on else 0, r=4,
                   colour="blue" if on else "red", dash="" if on else "3 3")  # fmt: skip
            if not on:
                s.text(328 + m * 46, 79 + r * 34, "0", colour="red")
    s.text(16, 232, "and in every fusion", anchor="start", weight=600)
    s.text(16, 262, "product", anchor="start")
    s.text(110, 262, "precision 1 + T₁ + 0 · T₂ + T₃", anchor="start")
    s.text(16, 288, "mixture", anchor="start")
    s.text(110, 288, "½ q(z | x₁) + 0 · q(z | x₂) + ½ q(z | x₃)", anchor="start")
    s.text(16, 314, "subsets", anchor="start")
    s.text(110, 314, "{1}, {3}, {1, 3}: 3 in place of 7", anchor="start")


# ---- evaluation -----------------------------------------------------------------------------------------------------

# What the code on the page "Evaluation" prints: coverage of view 1 given view 0.
LEVELS = [0.5, 0.8, 0.9, 0.95]
COVERAGE = {"MVAE": [0.365, 0.616, 0.723, 0.813], "MEMVAE": [0.503, 0.828, 0.910, 0.953]}


@figure(
    "Coverage of predictive intervals against their level",
    "A chart of coverage against level with the diagonal. MEMVAE lies on the diagonal. MVAE, trained on complete data, "
    "lies well below it: its 90 percent intervals cover 72 percent.",
    460,
    372,
)
def coverage(s: Svg) -> None:
    def at(level, share):
        return 70 + (level - 0.3) * 520, 316 - (share - 0.3) * 400

    for tick in (0.4, 0.6, 0.8, 1.0):
        s.line(*at(0.3, tick), *at(1.0, tick), colour="fill", width=1.2)
        s.text(62, at(0, tick)[1] + 5, f"{tick:.1f}", anchor="end", size=15, colour="soft")
        s.text(at(tick, 0)[0], 338, f"{tick:.1f}", size=15, colour="soft")
    s.text(250, 364, "level asked for", colour="soft")
    s.text(70, 20, "share covered", anchor="start", colour="soft")
    s.line(*at(0.3, 0.3), *at(1, 1), colour="soft", dash="6 5")
    for (name, values), colour in zip(COVERAGE.items(), ("red", "blue"), strict=True):
        points = [at(level, value) for level, value in zip(LEVELS, values, strict=True)]
        s.curve([p[0] for p in points], [p[1] for p in points], colour=colour, width=2.4)
        for px, py in points:
            if name == "MVAE":
                s.rect(px - 4.5, py - 4.5, 9, 9, fill=colour, colour=colour, r=0)
            else:
                s.dot(px, py, colour=colour, r=5)
    s.text(at(1, 0)[0], at(0, 0.46)[1], "MVAE: over-confident", size=15, colour="red", anchor="end")
    s.text(at(0.62, 0)[0], at(0, 0.77)[1], "MEMVAE: calibrated", size=15, colour="blue", anchor="end")


@figure(
    "Why deviation is measured jointly",
    "A cloud of reference samples, long along the diagonal, with its ellipse. One sample lies within the cloud's range "
    "on both axes, but off the diagonal and outside the ellipse.",
    460,
    330,
)
def deviation(s: Svg) -> None:
    rng = np.random.default_rng(3)
    cov = np.array([[1.0, 0.85], [0.85, 1.0]])
    root = np.linalg.cholesky(cov)
    cloud = rng.standard_normal((110, 2)) @ root.T

    def at(z):
        return 208 + z[0] * 62, 158 - z[1] * 50

    for z in cloud:
        s.dot(*at(z), colour="soft", r=2.8)
    angle = np.linspace(0, 2 * np.pi, 91)
    ellipse = np.sqrt(5.991) * np.stack([np.cos(angle), np.sin(angle)], 1) @ root.T
    points = np.array([at(z) for z in ellipse])
    s.curve(points[:, 0], points[:, 1], colour="blue", width=2.2)
    odd = np.array([1.3, -1.3])
    s.dot(*at(odd), colour="red", r=7)
    s.text(at(odd)[0] + 14, at(odd)[1] - 2, "each z-score 1.3,", anchor="start", size=15, colour="red")
    distance = float(np.sqrt(odd @ np.linalg.solve(cov, odd)))
    s.text(at(odd)[0] + 14, at(odd)[1] + 17, f"but D = {distance:.1f}", anchor="start", size=15, colour="red")
    s.text(300, 28, "95 % of the reference", anchor="end", size=15, colour="blue")
    s.line(20, 304, 440, 304, colour="soft", head=True)
    s.text(440, 324, "first dimension of z", anchor="end", size=15, colour="soft")
    s.line(20, 304, 20, 44, colour="soft", head=True)
    s.text(12, 34, "second", anchor="start", size=15, colour="soft")


# ---- the still picture of experts.html ------------------------------------------------------------------------------


def still() -> str:
    """What experts.html shows before, or without, its script: the same geometry as there."""
    x = np.linspace(-6, 6, 241)
    densities = fused(EXAMPLE, x)
    curves = {"mixture": densities["mixture"], "mopoe": densities["mixture of products"]}
    curves |= {"product": densities["product with the prior"]}
    top = max(density.max() for density in curves.values())
    top = max(top, *(normal(mean, mean, sd) for mean, sd in EXAMPLE))
    px = 10 + (x + 6) * 440 / 12
    parts = [
        f'<path class="expert" d="{polyline(px, 218 - 196 * normal(x, *e) / top)}"/>'
        f'<text x="{10 + (e[0] + 6) * 440 / 12:.1f}" y="{212 - 196 * normal(0, 0, e[1]) / top:.1f}">{name}</text>'
        for e, name in zip(EXAMPLE, "AB", strict=True)
    ]
    parts += [f'<path class="{name}" d="{polyline(px, 218 - 196 * y / top)}"/>' for name, y in curves.items()]
    return "".join(parts)


def main() -> None:
    images = HERE / "images"
    images.mkdir(exist_ok=True)
    for name, title, describe, (width, height), draw in FIGURES:
        for theme in THEMES:
            svg = Svg(theme, name, title, describe, width, height)
            draw(svg)
            (images / f"{name}-{theme}.svg").write_text(str(svg), encoding="utf-8")
    page = HERE / "experts.html"
    if page.exists():
        old = page.read_text(encoding="utf-8")
        new = re.sub(r"(<!-- still -->).*?(<!-- /still -->)", lambda m: m[1] + still() + m[2], old, flags=re.DOTALL)
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
