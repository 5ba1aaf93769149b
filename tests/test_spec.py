"""Specs: recorded calls, checked names and types, JSON that rebuilds only what is the project's own."""

import json
from dataclasses import dataclass, field

import pytest

from eventsam.engine import Budget
from eventsam.optim import AdamW
from eventsam.recipe import load_recipe, recipe_hash, recipe_names
from eventsam.spec import REQUIRED, Spec, build, differences, flatten, from_json, get, replace, spec, to_json
from eventsam.windows import Window


@dataclass(frozen=True)
class Outer:
    """Holds another."""

    inner: Window
    blocks: tuple[int, ...] = (1, 2)
    rate: float | None = None
    flag: bool = False


def outer() -> Spec:
    return spec(Outer, inner=spec(Window, length_ms=10.0))  # type: ignore[return-value]


def test_build_makes_nested_calls_real() -> None:
    assert build(outer()) == Outer(Window(10.0))


def test_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'learning_rate'"):
        spec(AdamW, learning_rat=1e-3)  # type: ignore[call-arg]


def test_missing_argument_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="num_samples"):
        spec(Budget)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("blocks", "5,11", (5, 11)),
        ("blocks", "5", (5,)),
        ("rate", "1e-3", 1e-3),
        ("rate", "none", None),
        ("flag", "true", True),
        ("inner.length_ms", "20", 20.0),
        ("inner.alignment", "causal", "causal"),
    ],
)
def test_replace_reads_text_as_the_parameters_type(path: str, text: str, value: object) -> None:
    assert get(replace(outer(), path, text), path) == value


def test_replace_leaves_the_original_alone() -> None:
    before = outer()
    replace(before, "inner.length_ms", 99.0)
    assert get(before, "inner.length_ms") == 10.0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("blcks", "1", "did you mean 'blocks'"),
        ("inner.length", "1", "did you mean 'length_ms'"),
        ("blocks.x", "1", "plain value"),
    ],
)
def test_replace_names_the_nearest_path(path: str, value: str, message: str) -> None:
    with pytest.raises(KeyError, match=message):
        replace(outer(), path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [("blocks", "a,b"), ("flag", "perhaps"), ("inner.alignment", "left"), ("inner", "text"), ("rate", "fast")],
)
def test_replace_refuses_other_types(path: str, value: str) -> None:
    with pytest.raises(ValueError, match=path):
        replace(outer(), path, value)


def test_required_values_are_named_with_the_way_to_give_them() -> None:
    with pytest.raises(ValueError, match=r"inner.length_ms is required: give it with --set inner.length_ms=VALUE"):
        build(replace(outer(), "inner.length_ms", REQUIRED))


def test_flatten_includes_defaults_and_names_calls() -> None:
    rows = flatten(outer())
    assert rows["inner"] == "Window"
    assert rows["inner.alignment"] == "centred"
    assert rows["blocks"] == [1, 2]


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_survive_json(name: str) -> None:
    recipe = load_recipe(name)
    rebuilt = from_json(json.loads(json.dumps(to_json(recipe))))
    assert rebuilt == recipe
    assert recipe_hash(rebuilt) == recipe_hash(recipe)


@pytest.mark.parametrize(
    "call",
    [
        "os:system",
        "eventsam.spec:importlib.import_module",
        "eventsam.provenance:subprocess.run",
        "eventsam.spec:_resolve",
        "eventsam.spec:Spec.__class__",
        "eventsamx:Task",
        "eventsam.spec:build.__globals__",
    ],
)
def test_json_cannot_call_what_is_not_the_projects(call: str) -> None:
    with pytest.raises(ValueError, match="refusing"):
        from_json({"call": call, "arguments": {}})


def test_json_refuses_unknown_arguments() -> None:
    with pytest.raises(KeyError, match="did you mean 'length_ms'"):
        from_json({"call": "eventsam.windows:Window", "arguments": {"length": 1}})


def test_differences_list_every_changed_value() -> None:
    assert differences(outer(), replace(outer(), "inner.length_ms", 5.0)) == ["inner.length_ms: 10.0 -> 5.0"]


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'distill'"):
        load_recipe("distil")


def test_made_defaults_are_flattened_as_what_is_made() -> None:
    @dataclass(frozen=True)
    class Holder:
        names: dict[str, int] = field(default_factory=dict)

    assert flatten(spec(Holder)) == {"names": {}}
