"""The README says what the code does: its tables are made from the models, its commands exist."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tune_cnn.cli import app
from tune_cnn.metrics import metrics_table
from tune_cnn.spec.documentation import spec_table

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize(("name", "made"), [("spec", spec_table), ("metrics", metrics_table)])
def test_table_in_the_readme_is_the_one_that_the_code_makes(name: str, made: Callable[[], str]) -> None:
    """On failure: python tests/test_readme.py writes the tables anew."""
    text = README.read_text(encoding="utf-8")
    assert f"<!-- {name} table -->\n\n{made()}\n<!-- /{name} table -->" in text


def test_every_command_of_the_readme_exists() -> None:
    """`tune-cnn WORD` in the README names a command whose help can be shown."""
    words = set(re.findall(r"tune-cnn ([a-z]+)\b", README.read_text(encoding="utf-8")))
    assert {"search", "front", "export", "train"} <= words
    for word in words:
        assert CliRunner().invoke(app, [word, "--help"]).exit_code == 0, word


def write_tables() -> None:
    """Put the tables as the code makes them between their marks."""
    text = README.read_text(encoding="utf-8")
    for name, made in (("spec", spec_table()), ("metrics", metrics_table())):
        block = f"<!-- {name} table -->\n\n{made}\n<!-- /{name} table -->"
        text = re.sub(f"<!-- {name} table -->.*<!-- /{name} table -->", lambda _, b=block: b, text, flags=re.DOTALL)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_tables()
