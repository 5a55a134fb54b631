"""What is said of a spec's strategies before any trial starts: each is tried once on the model and the images."""

from itertools import islice, product
from pathlib import Path

import torch

from tune_cnn.errors import SpecError, TrialError
from tune_cnn.spec import Configuration, StudySpec
from tune_cnn.spec.configuration import STRATEGIES, has_meaning, is_strategy, strategy_and_knob
from tune_cnn.spec.strategies import Cards, check_strategies, in_order
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.model import built_model
from tune_cnn.training.step.precision import PRECISIONS
from tune_cnn.training.strategies.framework.applied import AppliedStrategies
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun

SAMPLE = 8  # images that a strategy is shown: enough for it to see its layers at work, on whatever machine this is
MOST_TRIED = 12  # configurations of a strategy: a start must not take long; what the others meet, their trials say


def inspect_strategies(spec: StudySpec, images: ImageSets, *, cache_dir: Path) -> Cards:
    """The cards of all strategies that the spec names; SpecError where one can't be used as the spec has it.

    Torch's global generator is left as it was.
    """
    named = [strategy_and_knob(key)[0] for key in spec.space if key.startswith(STRATEGIES)]
    cards = cards_of(dict.fromkeys(named))
    filled = spec.model_copy(update={"space": check_strategies(spec.space, cards)})
    for name in in_order(cards, cards):
        if filled.dimension(STRATEGIES + name).holds(True):
            find_strategy(name).check(filled, images.facts)
            for configuration in _tried(filled, name, cards):
                with torch.random.fork_rng(devices=[]):
                    _try(filled, configuration, images, cache_dir)
    return cards


def _tried(spec: StudySpec, name: str, cards: Cards) -> list[Configuration]:
    """The space's first configuration with this strategy and what it needs on, and no others.

    Once for each setting of the model and of the knobs that decide whether it can act, as far as they are listed.
    """
    on = {name, *cards[name].needs}
    params = {key: dimension.ends[0] for key, dimension in spec.space.items()}
    params |= {key: strategy_and_knob(key)[0] in on for key in params if is_strategy(key)}
    decisive = {f"{STRATEGIES}{name}.{knob}" for knob in find_strategy(name).decisive}
    varied = [key for key in spec.space if key in decisive or (decisive and key.startswith("model."))]
    settings = product(*(spec.space[key].ends for key in varied))
    found = [params | dict(zip(varied, values, strict=True)) for values in islice(settings, MOST_TRIED)]
    return [Configuration.from_params({k: v for k, v in one.items() if has_meaning(k, one)}) for one in found]


def _try(spec: StudySpec, configuration: Configuration, images: ImageSets, cache_dir: Path) -> None:
    """Prepare what it has on, on the CPU: it must find something to act on."""
    job = TrainingJob(
        trial=0,
        configuration=configuration,
        data=spec.data,
        model=spec.model,
        split_seed=spec.seed,
        cache_dir=str(cache_dir),
    )
    device = torch.device("cpu")
    context = TrialContext(
        job=job,
        group=ProcessGroup(),
        device=device,
        images=images,
        resident=ResidentSets(),
        precision=PRECISIONS["fp32"],
        meters=Meters(device, gpu_share=0),
    )
    run = TrainingRun(context, built_model(context), sample_images=SAMPLE)
    try:
        AppliedStrategies(run, configuration.strategies_on).prepare()
    except TrialError as error:
        raise SpecError(f"space.strategies: {error}") from None
    finally:
        context.meters.close()
