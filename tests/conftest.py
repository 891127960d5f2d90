"""What all tests share."""

# The run-time shape checks compile what a checked module is the first to import; these are large.
import pytorch_lightning  # noqa: F401
import sklearn.model_selection  # noqa: F401
