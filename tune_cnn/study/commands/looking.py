"""`data`: what was understood of a study's images, as a document, with a contact sheet in a file."""

import json
from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import InputError, nearest
from tune_cnn.files import write_whole
from tune_cnn.spec import StudySpec, load_spec
from tune_cnn.spec.calls import is_call
from tune_cnn.spec.parts import DATA_KINDS, DATA_NAMES
from tune_cnn.spec.reading.loading import recipe_names
from tune_cnn.untyped import Plain

ENDINGS = (".html", ".png")


def spec_of(what: str, overrides: Sequence[str]) -> StudySpec:
    """A spec or recipe; for a folder or the name of a data set, one that has nothing else to say."""
    named = what in DATA_NAMES or what.partition(":")[0] in DATA_KINDS or is_call(what)
    if not named and not Path(what).is_dir():
        if not Path(what).is_file() and "/" not in what and what not in recipe_names():
            near = nearest(what, [*DATA_NAMES, *recipe_names()])
            raise InputError(f"data: there is no file, folder, recipe or set of images {what!r}{near}")
        return load_spec(what, overrides)
    name, root = (what, ".") if named else ("image_folder", what)
    return load_spec("quickstart", [f"data.name={json.dumps(name)}", f"data.root={json.dumps(root)}", *overrides])


def look(spec: StudySpec, cache_dir: str, output: Path | None) -> dict[str, Plain]:
    """The document of `data`. InputError where the file's ending is none that is written, before anything is read."""
    if output is not None and output.suffix.lower() not in ENDINGS:
        raise InputError(f"--output: must end in {' or '.join(ENDINGS)}, got {str(output)!r}; name it so")
    from tune_cnn.training.inspection.data.look import look_at_data

    seen = look_at_data(spec, Path(cache_dir).expanduser())
    if output is None:
        return seen.document
    if output.suffix.lower() == ".png":
        write_whole(output, seen.sheet_png)
    else:
        from tune_cnn.reports.html.data import data_page

        write_whole(output, data_page(seen.document, seen.strips_png))
    return {**seen.document, "output": str(output)}
