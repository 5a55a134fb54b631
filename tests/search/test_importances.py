"""Importances say which dimension matters, for each objective."""

from tune_cnn.search.importances import importances
from tune_cnn.search.search import Past, Search
from tune_cnn.states import TrialState


def test_importances_find_what_matters(spec, curve):
    """The batch decides the time of the made-up curves; before two results there are none."""
    whole = spec({"batch_size": [32, 64, 128, 256], "weight_decay": {"low": 0.0, "high": 0.1}})
    drawn = Search(whole.model_copy(update={"sampler": spec(sampler={"name": "random"}).sampler}))
    asked = [drawn.ask(number) for number in range(40)]
    past = [Past(params=params, state=TrialState.COMPLETE, points=curve(n, params)) for n, params in enumerate(asked)]
    assert importances(whole, past[:1]) == {}
    found = importances(whole, past)
    assert found["train_time_s"]["batch_size"] > 0.8
    assert [list(shares) for shares in found.values()] == [list(whole.searched)] * 2  # the same in every process
    assert importances(spec({"batch_size": 32}), past) == {}
