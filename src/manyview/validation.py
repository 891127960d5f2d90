"""Hyperparameters checked against the types and ranges that their fields declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from manyview.messages import closest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from manyview.estimator import Estimator

__all__ = ["check_count", "check_hyperparameters", "check_known"]


def check_known(cls: type[Estimator], names: Mapping[str, Any]) -> None:
    """Refuse names that are no hyperparameters of a model.

    Raises
    ------
    TypeError
        With the closest name that there is.
    """
    known = [field.name for field in fields(cls)]
    for name in names:
        if name not in known:
            raise TypeError(f"{cls.__name__} has no hyperparameter {name!r}{closest(name, known)}")


def check_count(name: str, value: Any) -> int:
    """A whole number of at least one.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1:
        return int(value)
    raise ValueError(f"{name}={value!r}: give a whole number, at least 1")


def check_hyperparameters(model: Estimator) -> None:
    """Check each hyperparameter against its field's annotation.

    Raises
    ------
    ValueError
        Naming the hyperparameter, what it is, and what is allowed.
    """
    from pydantic import ValidationError

    for name, adapter in _adapters(type(model)).items():
        value = getattr(model, name)
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError as error:
            reasons = "; or ".join(dict.fromkeys(_reason(detail) for detail in error.errors()))
            raise ValueError(f"{type(model).__name__}: {name}={value!r}: {reasons}") from None


def _reason(detail: Any) -> str:
    message = str(detail["msg"])
    return message[0].lower() + message[1:]


@cache
def _adapters(cls: type[Estimator]) -> dict[str, TypeAdapter[Any]]:
    from pydantic import ConfigDict, TypeAdapter

    hints = get_type_hints(cls, include_extras=True)
    config = ConfigDict(arbitrary_types_allowed=True)
    return {field.name: TypeAdapter(hints[field.name], config=config) for field in fields(cls)}
