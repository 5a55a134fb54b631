"""The driver, killed at random moments, again and again, until its study is finished all the same."""

import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.search_under_test import Search
from faults.verdict import Record, read_runs, wrongs

START_S = 12.0  # a start takes 8 to 15 s: a kill within it meets every step of it
TRAINING_S = (
    4.0  # a kill so long after a start's first word of a trial meets epochs, checkpoints, commits, a trial's end
)
START_SHARE = 0.5  # of the kills
LONGEST_S = 300.0  # that one command may take to its first trial, or to the study's end
KILLS_A_STUDY = 12  # then it may come to its end


def kill_at_random(kills: int, *, seed: int, jobs: int) -> dict[str, Any]:
    """So many kills over as many studies as that takes, `jobs` at a time; what was wrong after each study's end."""
    began_s = time.monotonic()
    shares = [min(KILLS_A_STUDY, kills - first) for first in range(0, kills, KILLS_A_STUDY)]
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda one: _told(one[0], len(shares), one[1], seed), enumerate(shares)))
    moments = sum((one["moments"] for one in done), Counter())
    return {
        "kills": sum(moments.values()),
        "by_moment": ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items())),
        "studies": len(done),
        "points": sum(one["points"] for one in done),
        "wrong": [wrong for one in done for wrong in one["wrong"]],
        "left": [left for one in done for left in one["left"]],
        "took_s": time.monotonic() - began_s,
    }


def _told(number: int, studies: int, kills: int, seed: int) -> dict[str, Any]:
    """One study, and a line of it as soon as it is done: all of them take most of an hour."""
    done = one_study(kills, random.Random(f"{seed}/{number}"))
    wrong = "; ".join([*done["wrong"], *(f"left {left}" for left in done["left"])]) or "nothing wrong"
    print(f"study {number + 1} of {studies}: killed {sum(done['moments'].values())} times, {wrong}", file=sys.stderr)
    return done


def one_study(kills: int, moments: random.Random) -> dict[str, Any]:
    """Kill so often, then let the same command finish the study. Each record must hold all of the one before."""
    search = Search(trials=kills // 2 + 2, epochs=4)
    met: Counter[str] = Counter()
    wrong: list[str] = []
    before: Record | None = None
    try:
        for _ in range(kills):
            driver = search.command()
            moment = _wait(search, driver, moments)
            if driver.poll() is None:
                met[moment] += 1
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            record = search.record()
            if before is not None and record is not None:
                wrong += _lost(before, record)
            before = record or before
        for _ in range(4):
            code = search.command().wait(LONGEST_S)
            record = search.record()
            if code == 0 and record is not None and record.state == "finished":
                break
        if record is not None and record.waiting:
            search.sync().wait(LONGEST_S)
            record = search.record()
        wrong += (
            ["the store can't be read"]
            if record is None
            else list(wrongs(record, read_runs(search.mlflow), trials=search.trials, before=before))
        )
        deadline = time.monotonic() + 20
        while search.left() and time.monotonic() < deadline:
            time.sleep(0.5)
        points = 0 if record is None else len(record.points)
        return {"moments": met, "wrong": wrong, "left": search.left(), "points": points}
    finally:
        search.close()


def _wait(search: Search, driver: Any, moments: random.Random) -> str:
    """Until the moment of the kill, which is drawn; returns what it is meant to meet."""
    if moments.random() < START_SHARE:
        _sleep(driver, moments.uniform(0.0, START_S))
        return "within a start"
    known = _steps(search.record())
    deadline = time.monotonic() + LONGEST_S
    while driver.poll() is None and _steps(search.record()) == known and time.monotonic() < deadline:
        time.sleep(0.1)
    _sleep(driver, moments.uniform(0.0, TRAINING_S))
    return "within trials"


def _sleep(driver: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def _steps(record: Record | None) -> int:
    """Grows with every trial that begins or goes on, and with every point."""
    return 0 if record is None else len(record.points) + sum(trial.attempts for trial in record.trials.values())


def _lost(before: Record, record: Record) -> list[str]:
    now = {(trial, epoch): metrics for trial, epoch, metrics in record.points}
    return [f"trial {t} epoch {e} was committed, and is lost" for t, e, m in before.points if now.get((t, e)) != m]
