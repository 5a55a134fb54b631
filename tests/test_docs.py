"""The pages say what the code does: tables, links, examples, and every command.

`python tests/test_docs.py` writes the generated tables anew.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import yaml
from page_commands import Checker
from pages import ROOT, SPAN, Block, Command, anchors, blocks, commands, links, pages, simple, spans, tracked
from study.made_up import commands_in

from tune_cnn.cli.main import app
from tune_cnn.metrics import metrics_table
from tune_cnn.spec import load_spec
from tune_cnn.spec.reading.documentation import spec_table
from tune_cnn.spec.strategies import Site
from tune_cnn.study.commands.catalog import strategies

README = ROOT / "README.md"
LONGEST_README = 12_000  # characters: what a newcomer reads in a quarter of an hour
SPECS = ROOT / "search_spaces" / "README.md"
COMMAND_PAGE = ROOT / "tune_cnn" / "study" / "README.md"
STRATEGIES = ROOT / "tune_cnn" / "training" / "strategies" / "README.md"
PAGES = pages()
# Commands that prose only names, without what they would be given.
NAMED = {("tune-cnn", name) for name in typer.main.get_command(app).commands} | {("ray", "start")}  # type: ignore[attr-defined]  # the app is a group
# What a part of a spec lacks
REST = {"study": "some", "data": {"name": "digits"}, "model": {"name": "small_cnn"}, "budget": {"trials": 1}}


def literature_table() -> str:
    """Markdown: what comes with tune_cnn, by the cards of the strategies."""
    rows = ["| strategy | paper | saves | site | what it does |", "|---|---|---|---|---|"]
    for one in strategies():
        cells = [f"[{one['name']}]({one['name']}.py)", one["paper"], one["saves"], ", ".join(one["sites"])]
        rows.append(f"| {' | '.join([*cells, one['summary'].rstrip('.')])} |")
    return "\n".join(rows) + "\n"


TABLES: list[tuple[str, Path, Callable[[], str]]] = [
    ("spec", SPECS, spec_table),
    ("metrics", SPECS, metrics_table),
    ("literature", STRATEGIES, literature_table),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow reports its import, where it is not told otherwise."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Checker]:
    """In a folder that holds the README's study.yaml."""
    spec = next(block for block in blocks(README, "yaml") if block.text.startswith("study:"))
    (tmp_path / "study.yaml").write_text(spec.text, encoding="utf-8")
    with commands_in(tmp_path, monkeypatch, capfd) as run:
        yield Checker(tmp_path, run)


@pytest.mark.parametrize(("name", "page", "made"), TABLES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_table_is_the_one_that_the_code_makes(name: str, page: Path, made: Callable[[], str]) -> None:
    """On failure: python tests/test_docs.py writes the tables anew."""
    assert block_of(name, made()) in page.read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    """What is longer has a page where it lives."""
    assert len(README.read_text(encoding="utf-8")) <= LONGEST_README


def test_the_readmes_table_names_every_command() -> None:
    """And no other."""
    rows = re.findall(r"^\| (`[a-z].*?) \| ", README.read_text(encoding="utf-8"), re.MULTILINE)
    named = {span.split()[0] for row in rows for span in SPAN.findall(row)}
    assert named == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # the app is a group


@pytest.mark.parametrize("command", ["status", "list", "front", "export", "recipes", "strategies"])
def test_the_keys_of_a_json_document_are_those_that_the_page_names(command: str, checker: Checker) -> None:
    """What scripts read; of a list, those of its first entry."""
    named = re.search(rf"^\| `{command}` \| (.*) \|$", COMMAND_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert named is not None
    found = checker.document(command)
    first = found[0] if isinstance(found, list) else found
    assert set(re.findall(r"\w+", named[1])) >= set(first), set(first)


def test_the_sites_stand_in_the_order_in_which_strategies_run() -> None:
    """As the enumeration has them, all of them."""
    words = " ".join(STRATEGIES.read_text(encoding="utf-8").split())
    *most, last = Site
    assert f"{', '.join(most)} or {last}" in words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file or folder of the repository, and a heading that is there; none is absolute."""
    files = tracked()
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert not re.search(r"tune[-_]cnn", link), f"{link}: give it relative to the page"
            continue
        assert not link.startswith("/"), link
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        name = target.relative_to(ROOT).as_posix()
        assert name in files or any(file.startswith(f"{name}/") for file in files), f"{link}: is not there"
        assert not anchor or anchor in anchors(target), f"{link}: has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_code_that_a_page_names_are_there(page: Path) -> None:
    """Named from the page's folder, the top, or the package or tests."""
    places = [page.parent, ROOT, ROOT / "tune_cnn", ROOT / "tests"]
    named = [span for _, span in spans(page) if re.fullmatch(r"[\w./-]+\.py", span)]
    assert not [name for name in named if not any((place / name).is_file() for place in places)]


def test_a_decision_that_code_cites_is_in_the_architectures_page() -> None:
    """By its number there."""
    cited = re.compile(r"tune_cnn/README\.md, decision (\d+)")
    code = [file for room in ("tune_cnn", "mlflow_server", "tests") for file in sorted((ROOT / room).rglob("*.py"))]
    numbers = {number for file in code for number in cited.findall(file.read_text(encoding="utf-8"))}
    decided = re.findall(r"^(\d+)\. \*\*", (ROOT / "tune_cnn" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbers and numbers <= set(decided)


@pytest.mark.parametrize("command", [one for page in PAGES for one in commands(page)], ids=str)
def test_a_command_is_right(command: Command, checker: Checker) -> None:
    """What reads is run; what trains, or needs a cluster or a server, is parsed by its own options."""
    if command.in_prose and command.words in NAMED:
        return
    checker.check(command.words)


@pytest.mark.parametrize("block", [one for page in PAGES for one in blocks(page, "yaml")], ids=str)
def test_an_example_of_a_spec_is_one(block: Block, tmp_path: Path) -> None:
    """One that names its study stands alone; a part of one is right with the rest."""
    given = yaml.safe_load(block.text)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(given if "study" in given else {**REST, **given}), encoding="utf-8")
    load_spec(file)


@pytest.mark.parametrize("block", [one for page in PAGES for one in blocks(page, "python")], ids=str)
def test_an_example_of_python_compiles_and_its_imports_are_there(block: Block) -> None:
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(body=list(imports), type_ignores=[]), str(block), "exec"), {})


def test_every_block_says_its_language() -> None:
    """Else nothing would check it; an indented block is a command."""
    for page in PAGES:
        for block in blocks(page):
            assert block.language in {"bash", "python", "yaml"} or not block.text.lstrip("\n").startswith("```"), block


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tune-cnn front made-up --no-such-option", "No such option"),
        ("tune-cnn no-such-command made-up", "no-such-command"),
        ("tune-cnn confirm", "Missing parameter"),
        ("tune-cnn confirm made-up --seeds many", "valid integer"),
        ("tune-cnn export made-up --max-time 0.001", "none of 7 epoch points"),
        ("tune-cnn search no_such_recipe --dry-run", "no_such_recipe"),
        ("tune-cnn search quickstart --set no.such=key", "unknown key"),
        ("tune-cnn train no-such-file.yaml", "there is no such file"),
        ("tune-cnn server --no-such-option", "unrecognized arguments"),
        ("python -m mlflow_server --no-such-option", "unrecognized arguments"),
        ("python -m no_such_module", "no check for the module"),
        ("python tests/no_such_script.py", "is not there"),
        ("python tests/benchmarks/simulate.py --no-such-option", "has no --no-such-option"),
        ("uv sync --extra no-such-extra", "no-such-extra"),
        ("uv run pytest tests/no_such_room", "no tests/no_such_room"),
        ("uv run pytest -m no_such_marker", "no_such_marker"),
        ("ruff check . --no-such-option", "no-such-option"),
        ("uv run mlflow ui --no-such-option", "No such option"),
        ("uv run ray start --no-such-option", "No such option"),
        ("export NO_SUCH_VARIABLE=1", "NO_SUCH_VARIABLE"),
        ("curl https://example.com", "no check for 'curl'"),
    ],
)
def test_a_wrong_command_is_seen(line: str, said: str, checker: Checker) -> None:
    """Options, names and files that are not there, and commands that nobody taught the check."""
    (words,) = simple(line)
    with pytest.raises(Exception, match=said):
        checker.check(words)


def block_of(name: str, table: str) -> str:
    return f"<!-- {name} table -->\n\n{table}\n<!-- /{name} table -->"


def write_tables() -> None:
    """Put the tables as the code makes them between their marks."""
    for name, page, made in TABLES:
        text, block = page.read_text(encoding="utf-8"), block_of(name, made())
        text = re.sub(f"<!-- {name} table -->.*<!-- /{name} table -->", lambda _, b=block: b, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_tables()
