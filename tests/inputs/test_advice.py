"""What a message on a spec tells its reader to do leads out: each piece of advice is followed here, and it is taken."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from inputs.advice import not_followed, of, refusal

from tune_cnn.spec import Configuration, load_spec
from tune_cnn.spec.strategies import check_strategies
from tune_cnn.training.strategies.framework.registry import cards_of, find_strategies

GOOD = {
    "study": "study: s",
    "data": "data: {name: digits}",
    "model": "model: {name: small_cnn}",
    "budget": "budget: {trials: 3}",
}


OWN_METRIC = "metrics: {f1: {call: 'a:f', unit: '1', direction: max}}"
SPECS = [
    of("data: {name: digits, root: ~nobody-of-that-name/x}", "write the path out", "data: {name: digits, root: /x}"),
    of("data: {name: fashon_mnist}", "did you mean 'fashion_mnist'", "data: {name: fashion_mnist}"),
    of("data: {name: digits, columns: {label: y}}", "leave them out", "data: {name: 'csv:a.csv', columns: {label: y}}"),
    of("data: {name: my_own}", "named as package.module:name", "data: {name: 'my.own:data'}"),
    of(
        "data: {name: 'webdataset:https://ann:word@host/a.tar'}",
        "leave them out here",
        "data: {name: 'webdataset:https://host/a.tar'}",
    ),
    of(
        "data: {name: 'webdataset:https://host/a.tar?sig=word'}",
        "leave it out here",
        "data: {name: 'webdataset:https://host/a.tar'}",
    ),
    of(
        "data: {name: 'webdataset:https://host/a-*.tar'}",
        "use braces, as in train-{0000..0099}.tar",
        "data: {name: 'webdataset:https://host/train-{0000..0099}.tar'}",
    ),
    of(
        "data: {name: 'webdataset:s3://host/a.tar'}",
        "give the https address of the bucket, or mount it and name the shards by their path",
        "data: {name: 'webdataset:https://host/a.tar'}",
        "data: {name: 'webdataset:/mnt/host/a.tar'}",
    ),
    of("model: {name: small_cnn, width: 3}", "model.width", "space: {model.width: 3}"),
    of("3: x", "put it in quotes", "study: '3'"),
    of("study: 3", "put it in quotes", "study: '3'"),
    of("objectives: [accuracy, accuracy]", "leave one out", "objectives: [accuracy]"),
    of("constraints: {peak_memory_mib: {}}", "{max: 20000}", "constraints: {peak_memory_mib: {max: 20000}}"),
    of(
        "objectives: [accuracy, cost]",
        "set prices.per_gpu_hour (of a whole GPU), prices.per_kwh (of its energy) or both",
        "objectives: [accuracy, cost]\nprices: {per_gpu_hour: 2}",
        "objectives: [accuracy, cost]\nprices: {per_kwh: 0.3}",
        "objectives: [accuracy, cost]\nprices: {per_gpu_hour: 2, per_kwh: 0.3, currency: EUR}",
    ),
    of(
        "objectives: [accuracy, carbon_g]",
        "set prices.carbon_g_per_kwh",
        "objectives: [accuracy, carbon_g]\nprices: {carbon_g_per_kwh: 400}",
    ),
    of("prices: {currency: EUR}", "{per_kwh: 0.30}", "prices: {per_kwh: 0.30}"),
    of("metrics: {f1: {unit: '1', direction: max}}", "give package.module:name of", OWN_METRIC),
    of(f"training: 'a:t'\n{OWN_METRIC}", "leave it out", "training: 'a:t'\nmetrics: {f1: {unit: '1', direction: max}}"),
    of("metrics: {accuracy: {call: 'a:f', unit: '1', direction: max}}", "choose another name", OWN_METRIC),
    of("metrics: {test_loss: {call: 'a:f', unit: '1', direction: max}}", "choose another name", OWN_METRIC),
    of("space: {precision: [fp32, fp32]}", "leave one out", "space: {precision: [fp32]}"),
    of(
        "space: {batch_size: {low: 64, high: 32}}",
        "swap them, or give one value",
        "space: {batch_size: {low: 32, high: 64}}",
        "space: {batch_size: 64}",
    ),
    of("space: {batch_size: {low: 64, high: 64}}", "give one value", "space: {batch_size: 64}"),
    of(
        "space: {batch_size: {low: 1, high: 9, step: 2, log: true}}",
        "drop one",
        "space: {batch_size: {low: 1, high: 9, step: 2}}",
        "space: {batch_size: {low: 1, high: 9, log: true}}",
    ),
    of(
        "space: {weight_decay: {low: 0, high: 1, log: true}}",
        "raise it",
        "space: {weight_decay: {low: 1.0e-6, high: 1, log: true}}",
    ),
    of(
        "space: {precision: {low: fp32, high: bf16}}",
        "use a list for a choice",
        "space: {precision: [fp32, bf16]}",
    ),
    of("space: {model: {width: 3}}", "model.width: 16", "space: {model.width: 16}"),
    of(
        "space: {training.alpha: 3}",
        "set training: package.module:name, or leave the argument out",
        "space: {training.alpha: 3}\ntraining: 'package.module:name'",
        "space: {}",
    ),
    of(
        "space: {loader_workers: 1}",
        "leave loader_workers out or change loader",
        "space: {}",
        "space: {loader_workers: 1, loader: stream}",
    ),
    of(
        "space: {loader: stream, loader_workers: 4}",
        "raise resources.cpus_per_trial or search fewer workers",
        "space: {loader: stream, loader_workers: 4}\nresources: {cpus_per_trial: 4}",
        "space: {loader: stream, loader_workers: 1}",
    ),
    of("space: {strategies: s3pool}", "{s3pool: {}}", "space: {strategies: {s3pool: {}}}"),
    of(
        "space: {strategies: {s3pool: {use: false, grid: 8}}}",
        "leave grid out or turn s3pool on",
        "space: {strategies: {s3pool: {use: false}}}",
        "space: {strategies: {s3pool: {use: true, grid: 8}}}",
    ),
    of(
        "training: a:b\nspace: {strategies: {s3pool: {}}}",
        "leave one of them out",
        "training: a:b",
        "space: {strategies: {s3pool: {}}}",
    ),
    of(
        "resources: {ranks: 2}",
        "set cpus_per_trial: 2 or more, or fewer ranks",
        "resources: {ranks: 2, cpus_per_trial: 2}",
        "resources: {ranks: 1}",
    ),
    of(
        "resources: {ranks: 2, cpus_per_trial: 2, gpus_per_rank: 0.5}",
        "Set ranks: 1 or gpus_per_rank: 1",
        "resources: {ranks: 1, cpus_per_trial: 2, gpus_per_rank: 0.5}",
        "resources: {ranks: 2, cpus_per_trial: 2, gpus_per_rank: 1}",
    ),
    of("resources: {gpus_per_rank: 2}", "set ranks for more", "resources: {ranks: 2, cpus_per_trial: 2}"),
    of("resources: {gpus_per_rank: [0.5, 0.5]}", "leave one out", "resources: {gpus_per_rank: [0.5]}"),
    of(
        "resources: {power_limit_w: 200, gpus_per_rank: 0}",
        "leave one of them out",
        "resources: {power_limit_w: 200}",
        "resources: {gpus_per_rank: 0}",
    ),
    of(
        "resources: {ranks: 3, cpus_per_trial: 3}",
        "set space.batch_size, e.g. 192",
        "resources: {ranks: 3, cpus_per_trial: 3}\nspace: {batch_size: 192}",
    ),
    of(
        "resources: {ranks: 2, cpus_per_trial: 2}\nspace: {batch_size: {low: 33, high: 65, step: 2}}",
        "give a range low and step that are multiples of 2, or use a list",
        "resources: {ranks: 2, cpus_per_trial: 2}\nspace: {batch_size: {low: 32, high: 64, step: 2}}",
        "resources: {ranks: 2, cpus_per_trial: 2}\nspace: {batch_size: [32, 64]}",
    ),
    of("budget: {}", "{trials: 100}", "budget: {trials: 100}"),
    of("sampler: {name: random, n_startup_trials: 3}", "takes no arguments", "sampler: {name: random}"),
    of(
        "sampler: {name: tpe, group: true, multivariate: false}",
        "drop one",
        "sampler: {name: tpe, group: true}",
        "sampler: {name: tpe, multivariate: false}",
    ),
    of("patience: 5", "it is called min_growth_pct_per_hour now", "min_growth_pct_per_hour: 5"),
    of("stopper: front", "front is called no_hypervolume_gain now", "stopper: no_hypervolume_gain"),
    of("seed: 1\nseed: 2", "leave one out", "seed: 2"),
    of("extends: [a", "not valid YAML", "extends: quickstart"),
    of("data: {name: digits, max_broken: 1}", "leave it out", "data: {name: digits}"),
    of("space: {augment: none+flip}", "leave it out", "space: {augment: flip}"),
    of("space: {augment: flip+color_jitter+flip}", "leave one out", "space: {augment: flip+color_jitter}"),
    of("training: 'a:b'\nspace: {mixup: 0.2}", "leave mixup out", "training: 'a:b'"),
    of(
        "space: {mix_switch: 0.3, mixup: 0.2}",
        "leave mix_switch out or give cutmix",
        "space: {mixup: 0.2}",
        "space: {mix_switch: 0.3, mixup: 0.2, cutmix: 1.0}",
    ),
    of(
        "space: {mixup: 0.2, strategies: {isgd: {use: true}}}",
        "leave one of them out",
        "space: {mixup: 0.2}",
        "space: {strategies: {isgd: {use: true}}}",
    ),
    of(
        "space: {class_weights: balanced, strategies: {selective_backprop: {use: true}}}",
        "leave one of them out",
        "space: {class_weights: balanced}",
        "space: {strategies: {selective_backprop: {use: true}}}",
    ),
    of(
        "space: {compile: true, activation_checkpointing: true}",
        "leave one of them out",
        "space: {compile: true}",
        "space: {activation_checkpointing: true}",
    ),
]


# What only the cards of the strategies tell: the same, once the space is held against them.
STRATEGIES = [
    of(
        "space: {strategies: {net2net: {use: true}, weight_norm: {use: true}}}",
        "leave one of them out",
        "space: {strategies: {net2net: {use: true}}}",
        "space: {strategies: {weight_norm: {use: true}}}",
    ),
    of(
        "space: {optimizer: muon, strategies: {net2net: {use: true}}}",
        "leave one of them out",
        "space: {optimizer: muon}",
        "space: {strategies: {net2net: {use: true}}}",
    ),
    of(
        "space: {class_sampling: balanced, strategies: {info_batch: {use: true}}}",
        "leave one of them out",
        "space: {class_sampling: balanced}",
        "space: {strategies: {info_batch: {use: true}}}",
    ),
    of("space: {strategies: {s4pool: {}}}", "did you mean 's3pool'", "space: {strategies: {s3pool: {}}}"),
    of(
        "space: {strategies: {minibatch_order: {metric: {low: 1, high: 2}}}}",
        "give a list of them",
        "space: {strategies: {minibatch_order: {metric: [edges, intensity]}}}",
    ),
]


def written(folder: Path, sections: str) -> Path:
    """A spec of these sections, and of the good ones that they don't name."""
    named = {line.partition(":")[0] for line in sections.splitlines()}
    file = folder / "study.yaml"
    text = [text for name, text in GOOD.items() if name not in named]
    file.write_text("\n".join([*text, sections]), encoding="utf-8")
    return file


def loaded(folder: Path, sections: str) -> None:
    """Taken by all that a spec is held against without a node."""
    spec = load_spec(written(folder, sections))
    if "strategies" in sections:
        check_strategies(spec.space, cards_of(find_strategies()))


@pytest.mark.parametrize("advice", [*SPECS, *STRATEGIES], ids=lambda advice: advice.wrong)
def test_a_spec_that_is_mended_as_the_message_says_is_taken(tmp_path, advice):
    """Each way that the message names, by itself."""
    assert advice.says in refusal(lambda: loaded(tmp_path, advice.wrong))
    for right in advice.right:
        loaded(tmp_path, right)


OVERRIDES = [("budget", "--set budget.trials=20", "budget.trials=20"), ("seed.x=3", "set seed as a whole", "seed=3")]


@pytest.mark.parametrize(("wrong", "says", "right"), OVERRIDES)
def test_an_override_that_is_mended_as_the_message_says_is_taken(tmp_path, wrong, says, right):
    file = written(tmp_path, "seed: 1")
    assert says in refusal(lambda: load_spec(file, [wrong]))
    load_spec(file, [right])


def test_a_folder_is_mended_by_the_file_in_it(tmp_path):
    assert "is a folder; name a file in it" in refusal(lambda: load_spec(tmp_path))
    load_spec(written(tmp_path, "seed: 1"))


CONFIGURATIONS: list[tuple[dict[str, object], str]] = [
    ({"loader": "device", "loader_workers": 2}, "loader_workers"),
    ({"strategies": {"s3pool": False, "s3pool.grid": 8}}, "strategies"),
    ({"mix_switch": 0.3}, "mix_switch"),
]


@pytest.mark.parametrize(("wrong", "left_out"), CONFIGURATIONS)
def test_a_configuration_without_what_has_no_meaning_is_taken(wrong, left_out):
    assert "leave it out" in refusal(lambda: Configuration.model_validate(wrong))
    Configuration.model_validate({key: value for key, value in wrong.items() if key != left_out})


def followed() -> list[str]:
    """What the tests above are told before they follow it."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        told = [refusal(partial(loaded, place, advice.wrong)) for advice in (*SPECS, *STRATEGIES)]
        told += [refusal(partial(load_spec, written(place, "seed: 1"), [wrong])) for wrong, _, _ in OVERRIDES]
        told += [refusal(lambda: load_spec(place))]
    return [*told, *(refusal(partial(Configuration.model_validate, wrong)) for wrong, _ in CONFIGURATIONS)]


def test_every_piece_of_advice_on_a_spec_is_followed_here():
    assert not_followed("spec", followed()) == []
