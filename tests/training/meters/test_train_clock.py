"""Time and speed of training: of the trial and of the last epoch, without what stands between its stretches."""

from tune_cnn.training.meters.clock import TrainClock


def test_speed_is_of_the_last_epoch_and_time_of_the_trial():
    """Two epochs of 10 s and 4 s: train_time_s 14, the step and image rates those of the second."""
    clock = TrainClock()
    for begin, end, steps in ((100.0, 110.0, 5), (200.0, 204.0, 4)):
        clock.epoch()
        clock.enter(begin)
        for _ in range(steps):
            clock.step(16)
        clock.leave(end)
    assert clock.read() == {"train_time_s": 14.0, "step_time_ms": 1000.0, "images_per_s": 16.0}


def test_an_epoch_in_several_stretches_is_one_epoch():
    """A pause within an epoch (a checkpoint) is in neither time nor rate."""
    clock = TrainClock()
    for begin, end in ((0.0, 1.0), (50.0, 51.0)):
        clock.enter(begin)
        clock.step(10)
        clock.leave(end)
    assert clock.read() == {"train_time_s": 2.0, "step_time_ms": 1000.0, "images_per_s": 10.0}
