"""What all tests share."""

# The run-time shape checks compile what a checked module is the first to import; these are large.
import pytorch_lightning  # noqa: F401
import sklearn.model_selection  # noqa: F401

# Counting lines makes a test half as slow again, and what these train over and over is counted in others.
UNCOUNTED = ("/oracles/", "/test_conformance.py", "/test_many.py", "/test_checkpoint.py")


def pytest_collection_modifyitems(items):
    for item in items:
        if any(part in item.path.as_posix() for part in UNCOUNTED):
            item.add_marker("no_cover")
