"""What an error says, as others tell it."""

import pytest

from tune_cnn.errors import first_line


@pytest.mark.parametrize(
    ("said", "line"),
    [("one\ntwo", "one"), ("\n  one  \ntwo", "one"), ("", "no message"), (" \n", "no message")],
)
def test_the_first_line_of_an_error_is_never_empty(said: str, line: str) -> None:
    """Blank lines before it are skipped; an error without words says so, and none is raised about it."""
    assert first_line(ValueError(said)) == line
