"""What checkpoints within an epoch cost: a step after which none is due, ranks that agree, and one that is written.

    python tests/benchmarks/within_epoch.py --repeats 5 --out within_epoch.json

Asked: whole trainings of digits by turns with the question after each step and without it, CPU seconds of a step; and
the question alone, many times over. Agreed: a message between two processes, which ranks of a group send about once a
second. Written: bytes and seconds of a checkpoint after a step, and of one after the epoch, of a small and a larger
model.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from measured import machine, save, show, spread

from tune_cnn.spec import Configuration, DataSpec, ModelSpec
from tune_cnn.training.between_steps import BetweenSteps, Leaving
from tune_cnn.training.checkpoint import Checkpoints
from tune_cnn.training.messages import LeftEpoch, TrainingJob
from tune_cnn.training.process.process_group import ProcessGroup
from tune_cnn.training.rank import RankTraining

QUESTIONS, MESSAGES = 100_000, 300
LEFT_AT = 3  # steps
MODELS = ("small_cnn", "resnet20")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="of each training by turns")
    parser.add_argument("--out", type=Path, default=Path("within_epoch.json"))
    return parser


def main() -> None:
    asked = command_line().parse_args()
    told = machine()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for row in measured(Path(scratch), asked.repeats, asked.epochs):
            rows.append(row)
            save(asked.out, {"machine": told, "rows": rows})
    show(rows)


def measured(folder: Path, repeats: int, epochs: int) -> Iterator[dict[str, Any]]:
    yield {"what": "CPU of a step, asked / not asked", "measured": spread(by_turns(folder, repeats, epochs), 3)}
    yield {"what": "the question alone, µs", "measured": spread([question_us(folder) for _ in range(repeats)])}
    yield {"what": "two processes agree, µs", "measured": spread(agreement_us(repeats), 0)}
    for model in MODELS:
        found = [written_mib_ms(folder, model) for _ in range(repeats)]
        for name in found[0]:
            yield {"what": f"{model}: {name}", "measured": spread([one[name] for one in found])}


def job(folder: Path, model: str, **fields: Any) -> TrainingJob:
    return TrainingJob(
        trial=0,
        configuration=Configuration(epochs=1000, batch_size=64, learning_rate=0.05),
        data=DataSpec(name="digits", subset=600),
        model=ModelSpec(name=model),
        cache_dir=str(folder / "cache"),
        **fields,
    )


def by_turns(folder: Path, repeats: int, epochs: int) -> list[float]:
    """CPU seconds of so many epochs with the question after each step, over those without it; a ratio a repeat."""
    rank = RankTraining()
    rank.begin(job(folder, "small_cnn", checkpoint_dir=str(folder / "turns"), checkpoint_every_s=1e9))
    training: Any = rank._current._training
    train = training._train

    def unasked(epoch: int, steps: int | None = None, leave: object = None) -> Any:
        return train(epoch, steps)

    ratios = []
    rank.train_epoch()
    for _ in range(repeats):
        taken = {}
        for name, way in (("asked", train), ("unasked", unasked)):
            training._train = way
            begun = time.process_time()
            for _ in range(epochs):
                rank.train_epoch()
            taken[name] = time.process_time() - begun
        ratios.append(taken["asked"] / taken["unasked"])
    rank.end()
    return ratios


def question_us(folder: Path) -> float:
    """Of one rank, with a folder for checkpoints and none due."""
    checkpoints = Checkpoints(str(folder / "questions"), every_s=1e9)
    then = BetweenSteps(ProcessGroup(), checkpoints.due_within_epoch, Leaving()).then
    begun = time.perf_counter()
    for step in range(QUESTIONS):
        then(step, QUESTIONS)
    return (time.perf_counter() - begun) / QUESTIONS * 1e6


def agreement_us(repeats: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_agree, args=(1, theirs, repeats), daemon=True)
    other.start()
    group = ProcessGroup()
    address = group.listen("127.0.0.1")
    ours.send(address)
    found = _agreed(group, address, repeats)
    other.join()
    return found


def _agree(number: int, pipe: Connection, repeats: int) -> None:
    _agreed(ProcessGroup(number), pipe.recv(), repeats)


def _agreed(group: ProcessGroup, address: str, repeats: int) -> list[float]:
    group.join(ranks=2, init_method=address, cuda=False, timeout_s=120)
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for step in range(MESSAGES):
            group.share((False, step))
        found.append((time.perf_counter() - begun) / MESSAGES * 1e6)
    group.leave()
    return found


def written_mib_ms(folder: Path, model: str) -> dict[str, float]:
    """Of a checkpoint after `LEFT_AT` steps, and of one after the epoch."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        rank = RankTraining()
        rank.begin(job(folder, model, checkpoint_dir=place, checkpoint_every_s=1e9))
        rank.train_epoch()
        between = _written(rank, rank.checkpoint)
        told: Any = rank._current._between
        ask = told.then

        def then(step: int, of: int) -> Any:
            if step == LEFT_AT:
                rank.leave()
            return ask(step, of)

        told.then = then
        within = _written(rank, lambda: _left(rank))
        rank.end()
    return {
        "after a step, MiB": within[0],
        "after a step, ms": within[1],
        "after an epoch, MiB": between[0],
        "after an epoch, ms": between[1],
    }


def _left(rank: RankTraining) -> str | None:
    left = rank.train_epoch()
    assert isinstance(left, LeftEpoch) and left.step == LEFT_AT
    return left.checkpoint


def _written(rank: RankTraining, write: Callable[[], str | None]) -> tuple[float, float]:
    checkpoints = rank._current._checkpoints
    before_s = checkpoints.checkpoint_time_s
    path = write()
    assert path is not None
    return Path(path).stat().st_size / 2**20, (checkpoints.checkpoint_time_s - before_s) * 1e3


if __name__ == "__main__":
    main()
