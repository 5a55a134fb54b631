"""A larger batch trains for more epochs, on a schedule that is stretched as far."""

from brisk import job_with
from ranks import digits_job, train

from tune_cnn.spec import Configuration
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.supervised import SupervisedTraining

ON = {"regime_adaptation": True, "regime_adaptation.base_batch": 50}


def test_the_number_of_steps_stays(tmp_path):
    """Four times the batch, four times the epochs: as many steps, but for each epoch's last batch."""
    small = digits_job(tmp_path, epochs=2, batch_size=50)
    large = digits_job(tmp_path, epochs=2, batch_size=200, strategies=ON)
    steps = []
    for job in (small, large):
        results, _ = train(RankTraining(), job)
        assert results[-1].done and results[-1].epoch == job.last_epoch
        steps.append(job.last_epoch * -(-540 // job.configuration.batch_size))
    assert (small.last_epoch, large.last_epoch) == (2, 8)
    assert steps == [22, 24]


def test_the_horizon_is_rounded_up_and_is_epochs_without_the_strategy():
    """3 epochs at 1.5 times the batch are 5."""
    on = {"regime_adaptation": True, "regime_adaptation.base_batch": 100}
    assert Configuration(epochs=3, batch_size=150, strategies=on).horizon == 5
    assert Configuration(epochs=3, batch_size=150, strategies={"regime_adaptation": False}).horizon == 3
    assert Configuration(epochs=3, batch_size=256, strategies={"regime_adaptation": True}).horizon == 6  # of 128


def test_schedule_and_warm_up_are_stretched(tmp_path):
    """The rate at a share of the horizon is what it would be without the strategy."""
    rates = {}
    for name, strategies in (("without", {}), ("with", ON)):
        rank = RankTraining()
        rank.begin(job_with(tmp_path, batch_size=200, epochs=4, warmup_epochs=1.0, strategies=strategies))
        training = rank._current._training
        assert isinstance(training, SupervisedTraining)
        steps = training._loader.steps
        horizon = rank._current.context.job.configuration.horizon
        rates[name] = [training._learning_rate(round(share * horizon * steps)) for share in (0.5, 0.75)]
        rising = training._learning_rate(round(0.25 * horizon * steps) - 1)
        assert rising == training._peak_rate
        rank.end()
    assert rates["with"] == rates["without"]
