"""Pictures of views and of fitted models: functions that return matplotlib objects, and show or save nothing.

They need matplotlib (``pip install "manyview[plot]"``), and work without pyplot and its global state. A picture is
saved by the figure it is on: ``plot_latents(model, views).figure.savefig("latents.png", dpi=200)``.
"""

from manyview.plotting.fusion import plot_fusion
from manyview.plotting.generation import plot_any_to_any, plot_reconstructions, plot_traversals
from manyview.plotting.history import plot_history
from manyview.plotting.images import plot_images
from manyview.plotting.latents import plot_latents
from manyview.plotting.loadings import plot_loadings
from manyview.plotting.prediction import plot_cross_prediction
from manyview.plotting.style import PALETTE

__all__ = [
    "PALETTE",
    "plot_any_to_any",
    "plot_cross_prediction",
    "plot_fusion",
    "plot_history",
    "plot_images",
    "plot_latents",
    "plot_loadings",
    "plot_reconstructions",
    "plot_traversals",
]
