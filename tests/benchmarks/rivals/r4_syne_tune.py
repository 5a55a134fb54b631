"""r4: Syne Tune's MOASHA on its local backend, each trial a process of its own, as its examples show them."""

import sys
from pathlib import Path

from settings import Settings
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import choice, loguniform
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

if __name__ == "__main__":
    settings = Settings.read(sys.argv[1])
    space = {
        key: choice(value) if isinstance(value, list) else loguniform(value["low"], value["high"])
        for key, value in settings.space.items()
    }
    scheduler = MOASHA(
        config_space={**space, "settings": sys.argv[1]},
        metrics=["error", "train_time_s"],
        time_attr="epoch",
        max_t=settings.epochs,
        grace_period=1,
        reduction_factor=3,
        random_seed=settings.seed,
    )
    Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("r4_trial.py"))),
        scheduler=scheduler,
        # it counts finished trials at its wake-ups; its default of 5 s between them would be a handicap
        sleep_time=0.1,
        stop_criterion=StoppingCriterion(max_num_trials_finished=settings.trials, max_wallclock_time=settings.seconds),
        n_workers=settings.slots,
        save_tuner=False,
    ).run()
