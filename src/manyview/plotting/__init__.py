"""Pictures of views and of fitted models: functions that return matplotlib objects, and show or save nothing.

They need matplotlib (``pip install "manyview[plot]"``), and work without pyplot and its global state. A picture is
saved by the figure it is on: ``plot_latents(model, views).figure.savefig("latents.png", dpi=200)``.
"""

from manyview.plotting.history import plot_history
from manyview.plotting.images import plot_images
from manyview.plotting.latents import plot_latents
from manyview.plotting.style import PALETTE

__all__ = ["PALETTE", "plot_history", "plot_images", "plot_latents"]
