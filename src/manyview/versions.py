"""What a result was made with."""

from __future__ import annotations

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter to the numbers."""
    import platform
    from importlib.metadata import version

    import manyview

    packages = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn", "hydra-core")
    return {
        "manyview": manyview.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
    }
