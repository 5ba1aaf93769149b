"""What a run changes against its named recipe."""

from eventsam.recipe import load_recipe
from eventsam.spec import replace
from eventsam.tracking.parameters import changes_of, nearest_recipe, note_of, parameters_of


def test_changes_are_found_against_the_nearest_recipe() -> None:
    recipe = replace(load_recipe("fuse"), "optimizer.learning_rate", 0.01)
    recipe = replace(recipe, "data.root", "/data/objects")
    recipe = replace(recipe, "task.injection_blocks", (0, 2))
    name, changes = nearest_recipe(recipe)
    assert name == "fuse"
    # A root is left to the user: it is given, not changed.
    assert [(change.path, change.default, change.value) for change in changes] == [
        ("optimizer.learning_rate", 3e-3, 0.01),
        ("task.injection_blocks", "final", [0, 2]),
    ]
    parameters = parameters_of(recipe, changes)
    assert parameters["changed.optimizer.learning_rate"] == parameters["optimizer.learning_rate"] == 0.01
    assert "changed.data.root" not in parameters
    note = note_of(name, changes, {"folder": "/runs/a"})
    assert "| `optimizer.learning_rate` | 0.003 | 0.01 |" in note
    assert "folder: `/runs/a`" in note


def test_an_unchanged_recipe_says_so() -> None:
    name, changes = nearest_recipe(load_recipe("reconstruct"))
    assert (name, changes) == ("reconstruct", [])
    assert note_of(name, changes, {}).startswith("Recipe `reconstruct`, unchanged.")
    assert changes_of(load_recipe("fuse"), load_recipe("distill"))
