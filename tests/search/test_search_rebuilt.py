"""A search is rebuilt from what is past: it knows what the first one knew, and takes up what was not finished."""

import optuna
import pytest
from optuna.trial import TrialState as OptunaState
from searched import SAMPLERS, SMALL, run, trials_of

from tune_cnn.search.samplers import OURS
from tune_cnn.search.search import Search
from tune_cnn.states import TrialState


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_rebuilt_from_its_past_knows_what_the_first_one_knew(spec, curve, name):
    """The same trials, each told as a point of its curve; it goes on without repeating itself; nothing runs on.

    Which point of a curve stands for it is judged anew, by the front of all that is past.
    """
    whole = spec(constraints={"train_time_s": {"max": 15}}, sampler={"name": name, **SMALL.get(name, {})})
    first = Search(whole)
    count = 8 if name == "gp" else 12  # each of its proposals takes a second
    past = run(first, curve, count)
    again = Search(whole, past=past)
    known, rebuilt = trials_of(first), trials_of(again)
    known = [t for t in known if t.state is not OptunaState.FAIL or name == OURS]  # without proposals passed over
    rebuilt = [t for t in rebuilt if t.state is not OptunaState.FAIL or name == OURS]
    facts, facts_again = (
        sorted(repr((t.state, t.params, t.distributions, sorted(t.constraints))) for t in trials)
        for trials in (known, rebuilt)
    )
    assert facts == facts_again
    reached = [[p.metrics["accuracy"], p.metrics["train_time_s"]] for one in past for p in one.points]
    assert all(t.values in reached for t in rebuilt if t.state is OptunaState.COMPLETE)
    later = run(again, curve, 3 if name == "gp" else 6, first=count)
    assert all(new.params not in [p.params for p in past] for new in later)
    assert not [t for t in trials_of(again) if not t.state.is_finished()]


def test_a_rebuilt_genetic_search_breeds_from_its_past(spec, curve):
    """Past trials belong to generations: the next one is not drawn at random again."""
    whole = spec(sampler={"name": "nsga2", "population_size": 4})
    past = run(Search(whole), curve, 15)  # 9 with a result: two generations and one trial
    again = Search(whole, past=past)
    again.ask(15)
    key = optuna.samplers.NSGAIISampler._get_generation_key()
    assert trials_of(again)[-1].system_attrs[key] == 2


def test_an_unfinished_trial_is_taken_up_with_its_parameters(spec, curve):
    """Its end is told as that of any other; the proposals beside it are not those of the first search."""
    whole = spec(sampler={"name": "random"})
    first = Search(whole)
    unfinished = [first.ask(number) for number in range(2)]
    again = Search(whole)
    for number, params in enumerate(unfinished):
        again.resume(number, params)
    fresh = again.ask(2)
    assert fresh not in unfinished
    for number, params in enumerate([*unfinished, fresh]):
        again.finish(number, TrialState.COMPLETE, curve(number, params))
    assert [t.state for t in trials_of(again)] == [OptunaState.COMPLETE] * 3
    assert trials_of(again)[0].params == trials_of(first)[0].params


def test_an_unfinished_trial_outside_the_space_does_no_harm(spec, curve):
    """Its points count in the store; the sampler is not told."""
    search = Search(spec())
    search.resume(0, {"batch_size": 7})
    search.finish(0, TrialState.COMPLETE, curve(0, {}))
    assert not trials_of(search)
