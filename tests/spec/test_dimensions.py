"""The algebra of dimensions: values, ends, extremes, membership; and a key's dimension or its default."""

import tracemalloc

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import Choice, Fixed, Range
from tune_cnn.spec.dimensions import fixed_of, searched_of

WHOLE = Range(low=1, high=10, step=4)
REAL = Range(low=0.1, high=1.0, step=0.2)


@pytest.mark.parametrize(
    ("dimension", "values", "ends"),
    [
        (Fixed(value=4), [4], [4]),
        (Fixed(value=[1, 2]), [[1, 2]], [[1, 2]]),
        (Choice(values=(8, 2, 4)), [8, 2, 4], [8, 2, 4]),
        (Range(low=3, high=5), [3, 4, 5], [3, 5]),
        (WHOLE, [1, 5, 9], [1, 9]),
        (REAL, [0.1, 0.3, 0.5, 0.7, 0.9], [0.1, 0.9]),
    ],
)
def test_values_and_what_stands_for_them(dimension, values, ends):
    """A list is its own stand-in, a range is stood for by its ends; the extremes are among both."""
    assert list(dimension.values) == values
    assert list(dimension.ends) == ends
    assert [dimension.values[-1], len(dimension.values)] == [values[-1], len(values)]
    assert list(dimension.values[:2]) == values[:2]
    assert (dimension.smallest, dimension.largest) == (min(values), max(values))
    assert all(dimension.holds(value) for value in values)


def test_real_numbers_have_ends_and_no_list():
    """Between them lie as many as floats go."""
    dimension = Range(low=0.5, high=2.0, log=True)
    assert dimension.ends == (0.5, 2.0) and dimension.holds(1.25) and not dimension.holds(2.5)
    with pytest.raises(ValueError, match=r"a number from 0\.5 to 2 has no list of values"):
        _ = dimension.values


def test_a_wide_range_is_counted_and_not_laid_out():
    """A hundred million values take no more memory than three."""
    tracemalloc.start()
    try:
        whole, real = Range(low=1, high=10**8).values, Range(low=0.0, high=1e7, step=0.1).values
        assert (len(whole), whole[-1]) == (10**8, 10**8)
        assert (len(real), real[3], real[-1]) == (10**8 + 1, 0.3, 1e7)
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most_bytes < 100_000


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Fixed(value=True), 1),
        (Fixed(value=1), True),
        (Choice(values=(False, True)), 1),
        (Choice(values=(1, 2)), 3),
        (Choice(values=(1, 2)), "1"),
        (Range(low=0, high=2), True),
        (Range(low=0, high=2), 1.0),
        (Range(low=0, high=2), "1"),
        (Range(low=0, high=2), None),
        (WHOLE, 2),
        (WHOLE, 10),
        (REAL, 0.4),
    ],
)
def test_what_a_dimension_does_not_hold(dimension, value):
    """True is no 1, a real number is no whole one, and what lies between the steps or beyond the last is none."""
    assert not dimension.holds(value)


def test_a_whole_number_is_a_real_one():
    """YAML writes 1 for 1.0."""
    assert Range(low=0.5, high=2.0).holds(1) and Choice(values=(1.0, 2.0)).holds(1)


def test_a_key_has_the_spaces_dimension_or_its_default(spec):
    """A strategy that the space leaves out is off; an argument that it leaves out has no default that we know."""
    whole = spec(space={"batch_size": [16, 32], "epochs": {"low": 2, "high": 8}, "momentum": 0.8})
    assert whole.dimension("batch_size") == Choice(values=(16, 32))
    assert whole.dimension("momentum") == Fixed(value=0.8)
    assert whole.dimension("precision") == Fixed(value="fp32")
    assert whole.dimension("strategies.s3pool") == Fixed(value=False)
    with pytest.raises(KeyError):
        whole.dimension("model.width")
    assert set(searched_of(whole.space)) == {"batch_size", "epochs"} == set(whole.searched)
    assert fixed_of(whole.space)["momentum"] == 0.8 and not whole.searched.keys() & whole.fixed


def test_the_largest_of_a_stepped_range_is_one_that_it_can_take(spec):
    """{low: 0, high: 5, step: 4} is 0 or 4: five workers are never asked for, and four cores are enough."""
    whole = spec(
        space={"loader": "stream", "loader_workers": {"low": 0, "high": 5, "step": 4}}, resources={"cpus_per_trial": 4}
    )
    assert whole.dimension("loader_workers").largest == 4
    with pytest.raises(SpecError, match=r"space\.loader_workers: 4 workers need as many cores, got cpus_per_trial=3"):
        spec(
            space={"loader": "stream", "loader_workers": {"low": 0, "high": 5, "step": 4}},
            resources={"cpus_per_trial": 3},
        )


def test_the_ranks_divide_every_value_of_a_wide_range(spec):
    """Its first two values say it of all: the others are not walked through."""
    wide = {"low": 2, "high": 2 * 10**9, "step": 2}
    assert (
        spec(space={"batch_size": wide}, resources={"ranks": 2, "cpus_per_trial": 2}).dimension("batch_size").largest
        == 2 * 10**9
    )
    with pytest.raises(SpecError, match=r"multiple of 2, got 5; give a range low and step that are multiples of 2"):
        spec(space={"batch_size": {**wide, "step": 3}}, resources={"ranks": 2, "cpus_per_trial": 2})
