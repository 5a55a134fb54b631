"""The model card: promise against result, and weights that load as it says."""

from pathlib import Path
from typing import Any

import pytest

from tune_cnn.metrics import METRICS
from tune_cnn.reports.model_card import ModelCard, model_card, off


def card(**changes: Any) -> str:
    given: dict[str, Any] = {
        "title": "digits, trial 7", "summary": "A small CNN.", "origin": {"study": "digits", "trial": 7, "epoch": 3},
        "data": {"name": "digits", "key": "abc123"},
        "configuration": {"learning_rate": 0.012345678901, "compile": False},
        "promise": {"accuracy": 0.98, "train_time_s": 10.0}, "hardware": {"cpu": "2 cores"},
        "achieved": {"accuracy": 0.97, "train_time_s": 9.0, "test_accuracy": 0.96}, "versions": {"torch": "2.15.0"},
        "weights_file": "weights.safetensors", "build_code": "from torch import nn\nmodel = nn.Linear(2, 3)",
    }  # fmt: skip
    return model_card(ModelCard(**{**given, **changes}))


def test_the_card_sets_promise_against_result() -> None:
    """Each metric with its unit, both values and by how much they differ; what wasn't promised has a dash."""
    text = card()
    assert "| accuracy | 1 | 0.9800 | 0.9700 | -1.0 % (worse) |" in text
    assert "| train\\_time\\_s | s | 10 | 9 | -10.0 % (better) |" in text
    assert "| test\\_accuracy |  | – | 0.96 | – |" in text


def test_the_card_keeps_every_digit_of_the_configuration() -> None:
    """A training is repeated from these numbers, so they aren't rounded."""
    assert "0.012345678901" in card()
    assert "| compile | false |" in card()


@pytest.mark.parametrize(
    ("promised", "achieved", "text"),
    [
        (10.0, 11.0, "+10.0 % (worse)"),
        (10.0, 10.0, "+0.0 %"),
        (10.0, 9.9999, "+0.0 %"),
        (0.0, 1.0, "–"),
        (None, 1.0, "–"),
    ],
)
def test_off_says_for_better_or_worse(promised: float | None, achieved: float, text: str) -> None:
    """More time is worse; no difference is neither; nothing is off from nothing."""
    assert off(promised, achieved, METRICS["train_time_s"]) == text


def test_a_users_text_breaks_no_table() -> None:
    """Pipes, line breaks and HTML in values stay in their cell."""
    text = card(data={"name": "a|b\nc <b>"}, classes=["x|y", "z"], notes=["# no heading"])
    assert "| name | a\\|b c &lt;b> |" in text
    assert "x\\|y, z." in text
    assert "- # no heading" in text


def test_the_weights_load_as_the_card_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code block runs as it stands, beside the weights."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    saved = {"weight": torch.arange(6.0).reshape(3, 2), "bias": torch.ones(3)}
    save_file(saved, tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    code = card().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert torch.equal(names["model"].weight, saved["weight"])


def test_a_card_without_weights_names_no_file() -> None:
    """The training kept its model to itself: nothing is shown that could not be loaded."""
    text = card(weights_file=None, notes=["why"])
    assert "safetensors" not in text
    assert "Its weights are not here" in text
