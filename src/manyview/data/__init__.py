"""Data: named views of the same samples."""

from manyview.data.views import Views, as_views

__all__ = ["Views", "as_views"]
