"""The search spaces that ship with tune_cnn."""

from importlib.resources import files

from tune_cnn.spec import load_spec
from tune_cnn.spec.loading import recipe_names
from tune_cnn.untyped import Plain


def recipes() -> list[dict[str, Plain]]:
    """Each recipe: name, description, data, model and what it searches."""
    return [_recipe(name) for name in recipe_names()]


def _recipe(name: str) -> dict[str, Plain]:
    spec = load_spec(name)
    return {
        "name": name,
        "description": spec.description,
        "data": spec.data.name,
        "model": spec.model.name,
        "searched": list(spec.searched),
        "file": str(files("search_spaces").joinpath(f"{name}.yaml")),
    }
