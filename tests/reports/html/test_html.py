"""The HTML report: one file, whole, safe to open, for any study."""

import json
import re
import shlex
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from reports.made_up_studies import SEARCHED, MadeUp, made_up

from tune_cnn.errors import InputError
from tune_cnn.metrics import EpochPoint
from tune_cnn.reports.html.page import write_report
from tune_cnn.reports.study_report import StudyReport, TrialRow
from tune_cnn.spec.reading.yaml_text import read_yaml
from tune_cnn.states import TrialState
from tune_cnn.study.hints import NextCommands

NASTY = "</script><script>alert('x')</script><img src=https://example.org/x.png>&\"'"
LOADING = {"src", "href", "srcset", "data", "poster", "action"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What the tests want of a page: elements, texts, buttons, figures, and whether all elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.figures: dict[str, Any] = {}
        self._figure: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        self._figure = attributes.get("data-figure")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._figure = None

    def handle_data(self, data: str) -> None:
        if self._figure is not None:
            self.figures[self._figure] = json.loads(data)
        elif self.open and self.open[-1] not in {"script", "style"}:
            self.text += data

    @property
    def copies(self) -> list[str]:
        return [a["data-copy"] or "" for tag, a in self.tags if tag == "button"]


def report(folder: Path, study: MadeUp, **changes: Any) -> Page:
    given: dict[str, Any] = {
        "study": "digits", "description": "", "spec_yaml": "study: digits\n", "state": "complete",
        "started": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "elapsed_s": 125.0, "objectives": study.objectives,
        "searched": SEARCHED, "points": study.points, "front": study.front, "trials": study.trials,
        "importances": {m.name: {"learning_rate": 0.7, "batch_size": 0.3} for m in study.objectives},
        "hardware": {"cpu": "2 cores"}, "versions": {"torch": "2.15.0"}, "commands": ["tune-cnn train x.yaml"],
        "export": NextCommands(study="digits", home=folder).export_of,
    }  # fmt: skip
    path = write_report(folder / "report.html", StudyReport(**{**given, **changes}))
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.open, "every element is closed"
    return page


def test_the_page_holds_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    """No element loads anything, the policy forbids it besides, and plotly.js is inside once."""
    page = report(tmp_path, made_up(20))
    assert not [(tag, a) for tag, a in page.tags if LOADING & a.keys() or tag in {"link", "iframe", "object", "base"}]
    policy = next(a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("window.Plotly = Plotly") == 1
    assert "showSendToCloud: false" in text, "plotly.js offers to upload the chart otherwise"
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_all_parts_are_there(tmp_path: Path) -> None:
    """The answer, five figures with data, front, spec, machine, definitions, commands."""
    page = report(tmp_path, made_up(20), notes=["times are drafts"])
    assert set(page.figures) == {f"figure-{n}" for n in ("front", "curves", "importances", "parallel", "hypervolume")}
    assert all(f["data"] for f in page.figures.values())
    assert {f"figure-{n.removeprefix('figure-')}" for n in page.figures} <= {a.get("id") for _, a in page.tags}
    for wanted in (
        "digits", "best compromise", "The most accurate", "The fastest to train", "2 min 05 s", "2026-01-02 03:04 UTC",
        "study: digits", "2 cores", "2.15.0", "mean cross-entropy on the validation split", "times are drafts",
    ):  # fmt: skip
        assert wanted in page.text, wanted


def test_a_users_text_stays_text(tmp_path: Path) -> None:
    """Markup in names, parameters, reasons, notes, spec, versions makes no element and ends no script."""
    study = made_up(4)
    plain = report(
        tmp_path, study, notes=["a"], trials=[*study.trials, TrialRow(number=90, params={}, state=TrialState.FAILED)]
    )
    trials = [
        TrialRow(number=t.number, params={**t.params, "optimizer": NASTY}, state=t.state, metrics=t.metrics)
        for t in study.trials
    ]
    page = report(
        tmp_path, study, description=NASTY, spec_yaml=NASTY, notes=[NASTY], versions={NASTY: NASTY},
        hardware={"cpu": NASTY}, commands=[NASTY], state=NASTY,
        trials=[*trials, TrialRow(number=90, params={}, state=TrialState.FAILED, reason=NASTY)],
    )  # fmt: skip
    assert page.text.count("alert('x')") >= 8
    scripts = [sum(tag == "script" for tag, _ in p.tags) for p in (plain, page)]
    assert scripts[0] == scripts[1]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "alert('x')" in json.dumps(page.figures["figure-parallel"]), "figures carry it as data"


def test_the_copied_command_exports_the_very_point(tmp_path: Path) -> None:
    """Each row's command names its point, whatever else is confirmed by then; its YAML has its parameters."""
    study = made_up(20)
    typed = NextCommands(study="digits", home=Path("/my studies"), started=("uv", "run", "tune-cnn"))
    page = report(tmp_path, study, export=typed.export_of)
    commands = [shlex.split(c)[2:] for c in page.copies if c.startswith("uv run tune-cnn export")]
    named = [["--trial", str(p.trial), "--epoch", str(p.epoch), "--home", "/my studies"] for p in study.front]
    assert [words[:3] for words in commands] == [["tune-cnn", "export", "digits"]] * len(study.front)
    assert [words[3:9] for words in commands] == named
    yamls = [c for c in page.copies if c.startswith("# study")]
    assert [read_yaml(y, "copied")["space"] for y in yamls] == [study.params[p.trial] for p in study.front]


def test_a_servers_runs_are_linked(tmp_path: Path) -> None:
    """A link loads nothing by itself; without a server there is none."""
    address = "http://there/#/experiments/7/runs?a=b&c"
    links = [
        [attributes["href"] for tag, attributes in report(tmp_path, made_up(6), **given).tags if tag == "a"]
        for given in ({"runs_page": address}, {})
    ]
    assert links == [[address], []]


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        (0, ("accuracy", "train_time_s")),
        (1, ("accuracy", "train_time_s")),
        (6, ("accuracy",)),
        (6, ("accuracy", "train_time_s", "peak_memory_mib")),
        (6, ("val_loss", "images_per_s", "accuracy", "train_time_s")),
    ],
)
def test_any_study_has_a_report(tmp_path: Path, trials: int, names: tuple[str, ...]) -> None:
    """No points, one, one objective, many objectives: each a whole page that says what there is."""
    page = report(tmp_path, made_up(trials, names, epochs=1 if trials == 1 else 5), importances={})
    assert ("There is no front" in page.text) == (trials == 0)
    assert ("figure-front" in page.figures) == (trials > 0)


def test_a_failed_study_tells_why(tmp_path: Path) -> None:
    """No trial with an objective: the reasons are grouped, counted, and the trials named."""
    reasons = ["out of memory", "train_loss is nan", "out of memory"]
    trials = [TrialRow(number=n, params={}, state=TrialState.FAILED, reason=r) for n, r in enumerate(reasons)]
    points = [EpochPoint(trial=1, epoch=1, metrics={"train_time_s": 2.0, "accuracy": float("nan")})]
    page = report(tmp_path, MadeUp(objectives=made_up(0).objectives, points=points, trials=trials))
    assert "There is no front" in page.text
    assert "What went wrong" in page.text
    assert page.text.count("out of memory") == 1
    assert "0, 2" in page.text
    assert not {"figure-front", "figure-curves", "figure-hypervolume"} & page.figures.keys()


@pytest.mark.parametrize("names", [("accuracy", "train_time_s"), ("accuracy", "train_time_s", "peak_memory_mib")])
def test_a_large_study_stays_openable_and_says_what_it_leaves_out(tmp_path: Path, names: tuple[str, ...]) -> None:
    """10,000 points and 2,000 trials: at most 6 MB, and the thinning is told."""
    study = made_up(2000, names)
    page = report(tmp_path, study)
    assert (tmp_path / "report.html").stat().st_size <= 6_000_000
    assert "points off the front a random" in page.text
    assert "Of 2,000 trials a random" in page.text


def test_the_report_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """An older report is replaced, nothing else is left lying, and an unwritable place is the user's error."""
    report(tmp_path, made_up(1))
    page = report(tmp_path, made_up(2), state="newer")
    assert "newer" in page.text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        report(tmp_path / "file", made_up(1))
