"""A stand-in for torchvision, of which multivae imports data sets, transforms and image grids that are not used here.

Every name can be imported, and made an object of, which happens at import; using that says that it is not there.
"""

import sys
from types import ModuleType

__version__ = "0.0.0"


class _Absent(type):
    """The class of names that are not there; what they contain is not there either."""

    def __getattr__(cls, name):
        return __getattr__(name)


def _refuse(self, *args, **kwargs):
    raise ImportError(f"torchvision is a stub here, without {type(self).__name__}")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name, (), {"__init__": lambda self, *args, **kwargs: None, "__call__": _refuse})


for _name in ("datasets", "datasets.utils", "models", "transforms", "transforms.functional", "utils"):
    _module = ModuleType(f"{__name__}.{_name}")
    _module.__getattr__ = __getattr__
    _module.__path__ = []
    sys.modules[_module.__name__] = _module
