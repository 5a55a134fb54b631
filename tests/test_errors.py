"""What an error says, as others tell it."""

import pytest

from tune_cnn.errors import first_line, nearest


@pytest.mark.parametrize(
    ("said", "line"),
    [("one\ntwo", "one"), ("\n  one  \ntwo", "one"), ("", "no message"), (" \n", "no message")],
)
def test_the_first_line_of_an_error_is_never_empty(said: str, line: str) -> None:
    """Blank lines before it are skipped; an error without words says so, and none is raised about it."""
    assert first_line(ValueError(said)) == line


def test_what_is_said_after_a_question_is_a_sentence() -> None:
    """After a list of names it goes on; without names it is all that is said."""
    assert nearest("edgs", ["edges", "loss"], "name your own") == "; did you mean 'edges'? Name your own"
    assert nearest("zzzz", ["edges", "loss"], "name your own") == "; known are: edges, loss; name your own"
    assert nearest("zzzz", [], "name your own") == "; name your own"
    assert nearest("edgs", ["edges"]) == "; did you mean 'edges'?"
