"""The one resolver of package.module:name."""

from collections import OrderedDict
from pathlib import Path

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec.calls import find_call, module_name, resolve


def test_a_name_stands_for_what_its_module_holds():
    """A class, and what is inside it; found alike for the user and for us."""
    assert find_call("collections:OrderedDict", where="training") is OrderedDict is resolve("collections:OrderedDict")
    assert find_call("collections:OrderedDict.fromkeys", where="training")("ab") == OrderedDict(a=None, b=None)
    assert module_name("a.b:c.d") == "a.b"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "no_such_module:f",
            "importing no_such_module raised ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("broken_for_calls:f", "importing broken_for_calls raised OSError: a disk of sand"),
        ("collections:OrderedDcit", "collections has no 'OrderedDcit'; did you mean 'OrderedDict'?"),
        ("collections:OrderedDict.fromkey", "collections has no 'OrderedDict.fromkey'; did you mean 'fromkeys'?"),
        ("math:pi", "math:pi must be something that can be called, got float"),
        (":f", "must be named as package.module:name, got ':f'"),
        ("math", "must be named as package.module:name, got 'math'"),
        (".math:pi", "must be named as package.module:name, got '.math:pi'"),
    ],
)
def test_a_name_that_stands_for_nothing_is_told_with_its_key(
    path: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where it stands in the spec, what must hold, what came; of a longer fault the first line."""
    (tmp_path / "broken_for_calls.py").write_text("raise OSError('a disk of sand\\nand of water')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError) as error:
        find_call(path, where="metrics.mine.call")
    assert str(error.value).startswith(f"metrics.mine.call: {said}")
    assert "\n" not in str(error.value)
