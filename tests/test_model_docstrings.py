"""Every model's docstring, of which its page in the documentation is made, has all its parts."""

import inspect
import re

import pytest

from manyview.models import MODELS


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


@pytest.mark.parametrize(
    "part",
    [
        r"\.\. math::.*\\mathcal L = ",
        r"(?i)missing view|views are missing|view is missing|a missing view",
        r"\n\*\*Choose it\*\* ",
        r"\n\*\*What goes wrong:\*\* \S.{100}",
        r"\nParameters\n-+\n",
        r"\nReferences\n-+\n.*https://",
        r"\nExamples\n-+\n>>> import manyview as mv\n",
    ],
)
def test_has_part(model, part):
    assert re.search(part, inspect.getdoc(model), flags=re.DOTALL)


def test_defaults_are_the_codes(model):
    """What the docstring says of a default is what the class has."""
    documented = dict(re.findall(r"\n(\w+) : [^\n]*?default ([^\n,]+)\n", inspect.getdoc(model)))
    parameters = inspect.signature(model).parameters
    assert documented or not {"beta", "h_dim"} & set(vars(model).get("__annotations__", {}))
    for name, said in documented.items():
        value = parameters[name].default
        if isinstance(value, float) and "/" in said:
            numerator, denominator = map(float, said.split("/"))
            assert value == pytest.approx(numerator / denominator)
        elif isinstance(value, str):
            assert said.strip('"') == value
        else:
            assert float(said) == value if isinstance(value, float) else str(value) == said


def test_own_parameters_are_documented(model):
    documented = set(re.findall(r"\n(\w+(?:, \w+)*) : ", inspect.getdoc(model)))
    names = {name for entry in documented for name in entry.split(", ")}
    own = {name for name, kind in vars(model).get("__annotations__", {}).items() if "ClassVar" not in str(kind)}
    assert own <= names
