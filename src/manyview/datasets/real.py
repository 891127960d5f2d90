"""Real data that ship with scikit-learn."""

from __future__ import annotations

import numpy as np

from manyview.data.views import Views

__all__ = ["load_digits"]


def load_digits() -> Views:
    """Handwritten digits: 1,797 images of 8 x 8 pixels, and their labels.

    Returns
    -------
    Views
        ``image``, (1797, 64), grey values in [0, 1]; ``label``, (1797, 10), one-hot.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
    https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> from manyview.datasets import load_digits
    >>> load_digits()
    Views(n=1797, image=(64,), label=(10,))
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    image = (digits.data / 16).astype(np.float32)
    label = np.eye(10, dtype=np.float32)[digits.target]
    return Views(image=image, label=label)
