"""Keys for classes of unequal size: where they mean something, and beside what they are refused."""

import optuna
import pytest

from tune_cnn.errors import SpecError
from tune_cnn.search.space import SearchSpace
from tune_cnn.spec import Configuration, parse_spec
from tune_cnn.spec.configuration import has_meaning
from tune_cnn.spec.space import parse_space
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.strategies.framework.registry import cards_of

SPEC = {"study": "s", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}


def test_a_key_exists_only_where_those_before_it_do() -> None:
    """Weights beside random sampling alone, as both would set the classes right twice; beta beside effective."""
    assert "class_weights_beta" in Configuration(class_weights="effective").params()
    assert "class_weights" not in Configuration(class_sampling="balanced").params()
    assert not has_meaning("class_weights_beta", {"class_sampling": "balanced", "class_weights": "effective"})
    with pytest.raises(ValueError, match="class_weights='balanced' has no meaning with class_sampling='balanced'"):
        Configuration(class_weights="balanced", class_sampling="balanced")


@pytest.mark.parametrize(
    ("raw", "first", "then", "last"),
    [
        (
            {"class_weights_beta": [0.9, 0.99], "class_weights": "effective", "class_sampling": ["random", "balanced"]},
            "class_sampling",
            "class_weights",
            "class_weights_beta",
        ),
        (
            {"lr_start": [0.1, 0.3], "schedule": "triangle", "optimizer": ["sgd", "schedule_free_sgd"]},
            "optimizer",
            "schedule",
            "lr_start",
        ),
    ],
)
def test_a_key_by_a_key_by_a_third_is_drawn_last(raw: dict[str, object], first: str, then: str, last: str) -> None:
    """In whatever order a spec names them, searched or fixed; what is drawn is a configuration."""
    spec = parse_spec({**SPEC, "space": raw})
    space = SearchSpace(spec.space)
    assert space.searched == [first, last]
    kept = []
    values = raw[first]
    assert isinstance(values, list)
    for at in range(len(values)):
        params, _ = space.decode({first: at, last: 1})
        configuration = spec.configuration(params)
        kept.append((then in configuration.params(), last in configuration.params(), last in params))
    assert kept == [(True, True, True), (False, False, False)]


def test_all_keys_of_a_chain_are_drawn_in_their_turn() -> None:
    """The last of them is named first; drawn before the others it could never be."""
    space = SearchSpace(
        parse_space(
            {
                "class_weights_beta": [0.9, 0.99],
                "class_weights": ["none", "effective"],
                "class_sampling": ["balanced", "random"],
            }
        )
    )
    assert space.searched == ["class_sampling", "class_weights", "class_weights_beta"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask()) for _ in range(40)]
    keys = {tuple(params) for params in drawn}
    assert keys == {tuple(space.searched[:count]) for count in (1, 2, 3)}
    for params in drawn:
        Configuration.from_params(params)


@pytest.mark.parametrize("strategy", ["minibatch_order", "info_batch", "selective_backprop", "isgd"])
def test_a_balanced_epoch_is_not_for_those_that_choose_the_images(strategy: str) -> None:
    """By both names, before any trial."""
    space = parse_space({"class_sampling": ["random", "balanced"], "strategies": {strategy: {}}})
    with pytest.raises(SpecError, match=f"{strategy} can't be on with class_sampling='balanced': it takes the choice"):
        check_strategies(space, cards_of([strategy]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"class_weights": ["none", "effective"]}, "training": "a.b:c"}, "class_weights: is done by our own"),
        ({"space": {"class_sampling": "balanced"}, "training": "a.b:c"}, "asks for its images itself"),
        (
            {"space": {"class_weights": "balanced", "strategies": {"selective_backprop": {}}}},
            "can't be on beside selective_backprop, which chooses images by their losses, so that the weights",
        ),
        ({"space": {"class_weights": "balanced", "class_sampling": "balanced"}}, "unless class_sampling is random"),
        ({"space": {"class_weights_beta": 0.9}}, "unless class_weights is effective"),
        ({"space": {"class_weights_beta": 1.0, "class_weights": "effective"}}, "must be less than 1"),
        ({"space": {"class_weights": None}}, "space.class_weights"),
        ({"space": {"class_sampling": "weighted"}}, "space.class_sampling"),
    ],
)
def test_what_means_nothing_is_one_error(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_spec({**SPEC, **changes})


def test_what_does_nothing_is_taken_beside_all() -> None:
    """The defaults, said aloud."""
    nothing = {"class_weights": "none", "class_sampling": "random"}
    parse_spec({**SPEC, "space": nothing, "training": "a.b:c"})
    check_strategies(parse_space({**nothing, "strategies": {"isgd": {}}}), cards_of(["isgd"]))
