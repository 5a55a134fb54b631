"""A configuration exported from a front, with what it promises, and read back from its file."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import SpecError
from tune_cnn.files import write_whole
from tune_cnn.spec import load_spec
from tune_cnn.spec.reading.yaml_text import dump_yaml, read_yaml
from tune_cnn.started import as_started
from tune_cnn.untyped import Plain

_SECTIONS = {"config", "promise", "origin"}
EXPORT_KEYS = {"study", *_SECTIONS}
LAST_KEY = "exported"  # of an export's text, in its origin: a file that was cut short lacks it


@dataclass(frozen=True, kw_only=True)
class Export:
    """A configuration that `train` and `search` accept, what it promises, and where it comes from."""

    study: str
    config: Mapping[str, Plain]
    promise: Mapping[str, Plain]
    origin: Mapping[str, Plain]

    def as_dict(self) -> dict[str, Plain]:
        return {"study": self.study, "config": self.config, "promise": self.promise, "origin": self.origin}

    def to_yaml(self, path: str | Path | None = None) -> str:
        """YAML text; written whole to `path`, where one is given."""
        text = dump_yaml(self.as_dict())
        if path is not None:
            write_whole(Path(path), text)
        return text

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2)


def read_export(path: str | Path) -> Export:
    """An export from its file, YAML or JSON; SpecError where it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: can't be read: it is not UTF-8 text") from None
    raw = read_yaml(text, str(path))
    whole = isinstance(raw, dict) and set(raw) == EXPORT_KEYS and all(isinstance(raw[k], dict) for k in _SECTIONS)
    if not whole or LAST_KEY not in raw["origin"]:
        raise SpecError(
            f"{path}: is not an exported configuration, or not all of it (a mapping of "
            f"{', '.join(sorted(EXPORT_KEYS))}); make one with `{_typed()}`"
        )
    return Export(**raw)


def read_config(source: str | Path) -> Export:
    """An export, or a spec that leaves no choice (it promises nothing); SpecError where there is one left."""
    path = Path(source).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise SpecError(f"{source}: {what}; give an export (`{_typed()}`) or a spec without a choice")
    try:
        spec = load_spec(path)
    except SpecError:
        read_export(path)  # says what is wrong with an export, where it is meant to be one
        raise
    if _SECTIONS & set(read_yaml(path.read_text(encoding="utf-8-sig"), str(path))):
        return read_export(path)
    if spec.searched:
        raise SpecError(
            f"{source}: leaves {', '.join(spec.searched)} open, and one configuration is needed; fix them, or export "
            f"one with `{_typed()}`"
        )
    config = spec.model_dump(exclude_defaults=True)
    config.pop("budget", None)
    return Export(study=spec.study, config=config, promise={"metrics": {}}, origin={})


def _typed() -> str:
    """The command that makes an export, in the words of the user's shell."""
    return shlex.join([*as_started(), "export", "STUDY", "-o", "FILE"])
