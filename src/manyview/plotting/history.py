"""Learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from manyview.messages import closest
from manyview.plotting.style import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from manyview.estimator import Estimator

__all__ = ["plot_history"]


def plot_history(model: Estimator, terms: Sequence[str] | None = None) -> Figure:
    """Draw the learning curves of a fitted model: a panel for each term of its objective, in nats per sample.

    A panel shows the term on the training and on the held-out samples, and the epoch whose weights were kept.

    Parameters
    ----------
    model : Estimator
        A fitted model.
    terms : sequence of str, optional
        Which columns of ``model.history_``; the loss and all its parts when not given.

    Returns
    -------
    Figure

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If the history has no such term.

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
    >>> model = mv.MVAE(z_dim=2, max_epochs=3, random_state=0, verbose=False).fit(views)
    >>> [ax.get_title() for ax in plot_history(model).axes]
    ['loss', 'log_lik[view_0]', 'log_lik[view_1]', 'kl']
    """
    history = model.history_
    known = [str(name) for name in history.columns if not str(name).startswith("val_")]
    if terms is None:
        terms = [name for name in known if name != "beta"]
    for term in terms:
        if term not in known:
            raise ValueError(f"terms: the history has no term {term!r}{closest(term, known)}")
    figure = new_figure(2.8 * len(terms), 2.6)
    for panel, term in zip(figure.subplots(1, len(terms), squeeze=False).flat, terms, strict=True):
        panel.plot(history.index, history[term], color=PALETTE[0], label="training")
        if f"val_{term}" in history:
            panel.plot(history.index, history[f"val_{term}"], color=PALETTE[1], label="held out")
        panel.axvline(model.best_epoch_, color="0.7", linewidth=1, linestyle=":", label="weights kept")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set(title=term, xlabel="epoch")
    figure.axes[0].legend(frameon=False)
    return figure
