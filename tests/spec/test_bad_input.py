"""Every mistake in a spec is one message: file, key, what must hold, what came, what to do."""

import pytest

from tune_cnn.errors import SpecError
from tune_cnn.spec import load_spec

GOOD = {
    "study": "study: s",
    "data": "data: {name: digits}",
    "model": "model: {name: small_cnn}",
    "budget": "budget: {trials: 3}",
}

# (what the file says, what the message must say after the file's name)
MISTAKES = [
    # names, sections, types
    ("study: 3", 'study: must be text, got 3; put it in quotes: "3"'),
    ("study: ../x", "study: a name is 1 to 128 of A-Z a-z 0-9 . _ - and starts with a letter or digit, got '../x'"),
    ("data: digits", "data: must be a mapping of keys, got 'digits'; its keys are name, root,"),
    ("data: {}", "data.name: is required and missing"),
    ("data: {name: fashon_mnist}", "data.name: there is no data set 'fashon_mnist'; did you mean 'fashion_mnist'"),
    ("data: {name: 'a.b:'}", "your own is named as package.module:name"),
    ("data: {name: digits, rot: x}", "unknown key 'data.rot'; did you mean 'root'?"),
    ("data: {name: digits, validation: 1.5}", "data.validation: must be less than 1, got 1.5"),
    ("data: {name: digits, subset: true}", "data.subset: must be a whole number, got true"),
    ("data: {name: digits, subset: '10'}", "data.subset: must be a whole number, got '10'"),
    ("data: {name: digits, root: ~nobody-of-that-name/x}", "data.root: there is no home folder for"),
    ("model: {name: small_cnn, width: 3}", "the arguments of a model stand in `space`, as model.width"),
    ("model: {name: 'x:'}", "model.name: must be package.module:name, got 'x:'"),
    ("training: train", "training: must be package.module:name or lightning:package.module:Class, got 'train'"),
    ("budgte: {trials: 3}", "unknown key 'budgte'; did you mean 'budget'?"),
    ("batch_size: 3", "unknown key 'batch_size'; it is a key of `space`: put it there, as space.batch_size"),
    ("3: x", "a key must be text, got 3"),
    ("seed: true", "seed: must be a whole number, got true"),
    ("seed: -1", "seed: must be at least 0, got -1"),
    # objectives, constraints, metrics
    ("objectives: accuracy", "objectives: must be a list, got 'accuracy'"),
    ("objectives: []", "objectives: must have at least 1 value, got []"),
    ("objectives: [acuracy]", "objectives: unknown metric 'acuracy'; did you mean 'accuracy'?"),
    ("objectives: [accuracy, accuracy]", "objectives: each may stand once, got accuracy twice; leave one out"),
    ("constraints: {peak_memory_mib: 9}", "constraints.peak_memory_mib: must be a mapping of keys, got 9"),
    ("constraints: {peak_memory_mib: {}}", "constraints.peak_memory_mib: needs max, min or both"),
    ("constraints: {accuracy: {max: 0.1, min: 0.2}}", "constraints.accuracy: min must be at most max, got min=0.2"),
    ("constraints: {accuracy: {min: .nan}}", "constraints.accuracy.min: must be a finite number, got nan"),
    ("constraints: {acuracy: {min: 0.1}}", "constraints: unknown metric 'acuracy'"),
    ("resources: {power_limit_w: 0}", "resources.power_limit_w: must be watts, more than 0, or a list of these, got 0"),
    ("resources: {power_limit_w: .nan}", "resources.power_limit_w: must be a finite number, got nan"),
    ("resources: {power_limit_w: .inf}", "resources.power_limit_w: must be a finite number, got inf"),
    ("resources: {power_limit_w: [true]}", "resources.power_limit_w: must be watts, more than 0"),
    ("resources: {power_limit_w: 250W}", "resources.power_limit_w: must be watts, more than 0, or a list of these"),
    ("resources: {accelerator: []}", "resources.accelerator: a list needs at least one value, got []"),
    ("resources: {accelerator: [A, A]}", "resources.accelerator: a value stands twice"),
    ("resources: {accelerator: 4}", "resources.accelerator: must be a type of accelerator as Ray names it, or a list"),
    ("resources: {accelerator: [A, '']}", "resources.accelerator: must be a type of accelerator as Ray names it"),
    ("resources: {power_limit_w: []}", "resources.power_limit_w: a list needs at least one value, got []"),
    ("resources: {power_limit_w: [200, 200.0]}", "resources.power_limit_w: a value stands twice"),
    ("resources: {power_limit_w: 200, gpus_per_rank: 0}", "resources: power_limit_w is a GPU's, and gpus_per_rank=0"),
    ("prices: {per_kwh: 0}", "prices.per_kwh: must be more than 0, got 0"),
    ("prices: {per_kwh: .inf}", "prices.per_kwh: must be a finite number, got inf"),
    ("prices: {usd_per_kwh: 1}", "unknown key 'prices.usd_per_kwh'; did you mean 'per_kwh'?"),
    ("prices: {}", "prices: needs per_gpu_hour, per_kwh, carbon_g_per_kwh or more of them"),
    ("metrics: {cost: {call: 'a:f', unit: '1', direction: min}}", "metrics: cost is a metric of the table already"),
    ("metrics: {f1: {call: f, unit: '1', direction: max}}", "metrics.f1.call: must be package.module:name, got 'f'"),
    ("metrics: {f1: {unit: '1', direction: max}}", "metrics.f1.call: is required and missing"),
    (
        "training: 'a:t'\nmetrics: {f1: {call: 'a:f', unit: '1', direction: max}}",
        "metrics.f1.call: is never called beside `training`",
    ),
    ("metrics: {f1: {call: 'a:f', unit: '1', direction: up}}", "metrics.f1.direction: must be max or min, got 'up'"),
    ("metrics: {accuracy: {call: 'a:f', unit: '1', direction: max}}", "metrics: accuracy is a metric of the table"),
    ("metrics: {test_loss: {call: 'a:f', unit: '1', direction: max}}", "test_loss is what confirming measures"),
    ("metrics: {'f 1;': {call: 'a:f', unit: '1', direction: max}}", "metrics: a name is 1 to 64 of"),
    # space
    ("space: [1]", "space: must be a mapping of keys, got [1]"),
    ("space: {batchsize: 3}", "space: unknown key 'batchsize'; did you mean 'batch_size'?"),
    ("space: {batch_size: 3.5}", "space.batch_size: must be a whole number, got 3.5"),
    ("space: {batch_size: true}", "space.batch_size: must be a whole number, got true"),
    ("space: {batch_size: 0}", "space.batch_size: must be at least 1, got 0"),
    ("space: {batch_size: []}", "space.batch_size: a choice needs at least one value, got an empty list"),
    ("space: {batch_size: [32, 'x']}", "space.batch_size: must be a whole number, got 'x'"),
    ("space: {precision: [fp32, fp32]}", "space.precision: 'fp32' stands twice in"),
    ("space: {precision: fp8}", "space.precision: must be fp32, tf32, bf16 or fp16, got 'fp8'"),
    ("space: {model.width: [4, 4.0]}", "space.model.width: 4.0 stands twice"),
    ("space: {batch_size: {low: 64, high: 32}}", "space.batch_size: low must be less than high, got low=64, high=32"),
    ("space: {batch_size: {low: 32}}", "space.batch_size: a range is {low, high[, log][, step]}, got"),
    ("space: {batch_size: {low: 1, high: 9, step: 0}}", "space.batch_size: step must be more than 0"),
    ("space: {batch_size: {low: 1, high: 9, step: 1.5}}", "space.batch_size: the step of a range of whole numbers"),
    (
        "space: {batch_size: {low: 1, high: 9, step: 2, log: true}}",
        "space.batch_size: step and log can't both be given",
    ),
    ("space: {batch_size: {low: 1, high: 9, log: 1}}", "space.batch_size: log must be true or false, got 1"),
    (
        "space: {weight_decay: {low: 0, high: 1, log: true}}",
        "space.weight_decay: a range on a log scale starts above 0",
    ),
    ("space: {precision: {low: fp32, high: fp16}}", "space.precision: a range needs numbers"),
    ("space: {learning_rate: 0}", "space.learning_rate: must be more than 0, got 0"),
    ("space: {learning_rate: [0.1, -1]}", "space.learning_rate: must be more than 0, got -1"),
    ("space: {learning_rate: {low: 0, high: 1}}", "space.learning_rate: must be more than 0, got 0"),
    ("space: {learning_rate: .inf}", "space.learning_rate: must be a finite number, got inf"),
    ("space: {model.rates: [[.nan]]}", "space.model.rates: must be a finite number, got nan"),
    ("space: {model.: 3}", "space.model.: must be model.<argument>"),
    ("space: {model: {width: 3}}", "space.model: arguments stand each under a key of their own"),
    ("space: {model.sizes: {a: 1}}", "a mapping as a value stands in a list"),
    ("data: {name: digits, max_broken: 1}", "data: max_broken=1 is for image_folder and csv"),
    ("space: {training.alpha: 3}", "space: training.<argument> is for your own training generator"),
    ("space: {loader_workers: 1}", "space.loader_workers: has no meaning unless loader is batched or stream, got"),
    ("space: {optimizer: [adamw], momentum: 0.9}", "space.momentum: has no meaning unless optimizer is lars or muon"),
    ("space: {loader: stream, loader_workers: 4}", "4 workers need as many cores, got cpus_per_trial=1"),
    ("space: {strategies: s3pool}", "space.strategies: must be a mapping of strategies, as in {s3pool: {}}, got 's3"),
    (
        "space: {strategies: {s3pool: 3}}",
        "space.strategies.s3pool: must be true, false or a mapping of its knobs, got 3",
    ),
    ("space: {strategies: {s3pool: {use: 1}}}", "space.strategies.s3pool: must be true, false or a mapping of its"),
    ("space: {strategies: {s3pool: {use: false, grid: 8}}}", "space.strategies.s3pool.grid: has no meaning while"),
    ("space: {strategies.s3pool.grid: 8}", "space.strategies.s3pool.grid: has no meaning while s3pool is off"),
    (
        "space: {strategies: {s3pool: {grid: [[8, 4]]}}}",
        "space.strategies.s3pool.grid: a knob is a number, a text, true",
    ),
    ("space: {strategies: {s3pool: {grid: {low: 8}}}}", "space.strategies.s3pool.grid: a range is {low, high"),
    ("training: a:b\nspace: {strategies: {s3pool: {}}}", "act on our own training loop, and `training` replaces it"),
    # resources, budget, sampler
    ("resources: {ranks: 2}", "resources: 2 ranks need at least a core each, got cpus_per_trial=1"),
    ("resources: {ranks: 2, cpus_per_trial: 2, gpus_per_rank: 0.5}", "NCCL refuses two ranks on one GPU"),
    ("resources: {gpus_per_rank: 2}", "resources.gpus_per_rank: must be 0, a fraction or 1, got 2"),
    ("resources: {gpus_per_rank: true}", "resources.gpus_per_rank: must be 0, a fraction, 1, or a list of these"),
    ("resources: {gpus_per_rank: [0.5, 0.5]}", "resources.gpus_per_rank: a value stands twice"),
    ("resources: {cpus: 2}", "unknown key 'resources.cpus'; known are: ranks,"),
    (
        "resources: {ranks: 3, cpus_per_trial: 3}",
        "space.batch_size: is divided over the ranks, so it must be a multiple",
    ),
    ("budget: {}", "budget: needs trials, hours, epochs or more of them"),
    ("budget: {epochs: 0}", "budget.epochs: must be at least 1, got 0"),
    ("budget: {trials: 3.0}", "budget.trials: must be a whole number, got 3.0"),
    ("budget: {hours: 1:30}", "budget.hours: must be a number, got '1:30'"),
    ("sampler: tpee", "sampler.name: must be curve_ehvi, tpe, gp, nsga2, random or qmc, got 'tpee'; did you mean"),
    (
        "sampler: {name: random, n_startup_trials: 3}",
        "sampler: random takes no n_startup_trials; it takes no arguments",
    ),
    ("sampler: {n_startup_trials: many}", "sampler.n_startup_trials: must be a whole number, got 'many'"),
    # stopping, confirming
    ("stopper: hypervolume", "stopper.name: must be no_hypervolume_gain or none, got 'hypervolume'"),
    ("stopper: {boldness: 2}", "stopper.boldness: must be at most 1, got 2"),
    ("stopper: {name: none, z: 3}", "unknown key 'stopper.z'; known are: name, boldness"),
    ("min_growth_pct_per_hour: 0", "min_growth_pct_per_hour: must be more than 0, got 0"),
    ("patience: 5", "unknown key 'patience'; it is called min_growth_pct_per_hour now"),
    ("sampler: front", "got 'front'; front is called curve_ehvi now"),
    ("sampler: {name: front}", "got 'front'; front is called curve_ehvi now"),
    ("stopper: front", "must be no_hypervolume_gain or none, got 'front'; front is called no_hypervolume_gain now"),
    ("min_growth_pct_per_hour: slow", "min_growth_pct_per_hour: must be a number, got 'slow'"),
    ("confirm: {points: 0}", "confirm.points: must be at least 1, got 0"),
    ("confirm: {sedes: 5}", "unknown key 'confirm.sedes'; did you mean 'seeds'?"),
    # YAML itself
    ("seed: 1\nseed: 2", "the key 'seed' stands twice"),
    ("seed: [1", "not valid YAML"),
    ("seed: *nowhere", "found undefined alias"),
    ("seed: !!python/object:os.system x", "not valid YAML"),
    ("warm_start: &a [*a]", "nested too deeply, or holds itself"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_is_one_message_that_names_file_and_key(tmp_path, mistake, message):
    """One line; the file first; no words of pydantic's own."""
    file = tmp_path / "study.yaml"
    key = mistake.partition(":")[0]
    file.write_text("\n".join([text for name, text in GOOD.items() if name != key] + [mistake]), encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        load_spec(file)
    said = str(refused.value)
    assert said.startswith(f"{file}: ")
    assert message in said
    assert "\n" not in said
    assert "Input should" not in said and "pydantic" not in said
    assert refused.value.exit_code == 2


def test_the_list_of_strategies_is_named_as_this_was_started(tmp_path, monkeypatch):
    """By Python, where that started it: plain `tune-cnn` may be on no path."""
    monkeypatch.setattr("sys.argv", ["/site/tune_cnn/__main__.py"])
    file = tmp_path / "study.yaml"
    file.write_text("\n".join([*GOOD.values(), "space: {strategies: s3pool}"]), encoding="utf-8")
    with pytest.raises(SpecError, match=r"`.*python.* -m tune_cnn strategies` lists them"):
        load_spec(file)


@pytest.mark.parametrize("section", GOOD)
def test_a_section_that_is_missing_is_named(tmp_path, section):
    """Study, data, model and budget have no default."""
    file = tmp_path / "study.yaml"
    file.write_text("\n".join(text for name, text in GOOD.items() if name != section), encoding="utf-8")
    with pytest.raises(SpecError, match=f"{section}: is required and missing"):
        load_spec(file)


@pytest.mark.parametrize(
    ("range_", "good"),
    [
        ("[32, 64]", True),
        ("[32, 33]", False),
        ("{low: 32, high: 64, step: 2}", True),
        ("{low: 32, high: 64}", False),
        ("{low: 33, high: 65, step: 2}", False),
        ("{low: 32, high: 64, log: true}", False),
    ],
)
def test_every_batch_of_a_space_must_be_divisible_by_the_ranks(tmp_path, range_, good):
    """A list by its values, a range by its low and its step."""
    file = tmp_path / "study.yaml"
    text = [*GOOD.values(), "resources: {ranks: 2, cpus_per_trial: 2}", f"space: {{batch_size: {range_}}}"]
    file.write_text("\n".join(text), encoding="utf-8")
    if good:
        load_spec(file)
    else:
        with pytest.raises(SpecError, match=r"space\.batch_size: .* must be a multiple of 2, got 33"):
            load_spec(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a spec is a mapping of keys, got an empty file"),
        (b"- a", "a spec is a mapping of keys, got"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
        (b"promise: {}\nconfig: 3\n", "config: must be the mapping that `tune-cnn export` writes"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(tmp_path, content, message):
    """Empty, a list, binary, or half an export."""
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        load_spec(file)


def test_a_name_that_is_neither_file_nor_recipe_gets_the_nearest_recipe(tmp_path):
    """And a folder is said to be one."""
    with pytest.raises(SpecError, match=r"quickstrat: no such file or recipe; did you mean 'quickstart'\?"):
        load_spec("quickstrat")
    with pytest.raises(SpecError, match="is a folder"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match="no such file"):
        load_spec("x" * 5000)
