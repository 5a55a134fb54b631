"""What a message tells its reader to do, beside what does it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from inputs.messages import Message, messages

from tune_cnn.errors import InputError, NothingFits


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A spec that is refused, words of the message that say what to do, and specs that do it."""

    wrong: str
    says: str
    right: tuple[str, ...]


def of(wrong: str, says: str, *right: str) -> Advice:
    return Advice(wrong=wrong, says=says, right=right)


def refusal(what: Callable[[], object]) -> str:
    """What is told in place of `what`."""
    with pytest.raises((InputError, NothingFits, ValueError)) as refused:
        what()
    return str(refused.value)


# Messages whose advice no test follows, each with its reason.
NOT_FOLLOWED = {
    "bytes in its path that are no UTF-8": "a working folder has them, YAML can't; test_file_names.py follows it",
    "needs {…} beside it; add it": "none of ours needs another; tests/spec/test_strategy_cards.py has one that does",
}


def not_followed(room: str, told: Iterable[str]) -> list[Message]:
    """The room's messages that advise, and are none of those that a test was told before it followed them."""
    followed = list(told)
    unseen = [m for m in messages(f"tune_cnn/{room}/") if m.advises and not any(m.gave(one) for one in followed)]
    return [m for m in unseen if not any(words in m.text for words in NOT_FOLLOWED)]
