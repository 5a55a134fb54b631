"""The Markdown pages of the repository, read: their headings, links, blocks of code and commands."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}[^\n]*\n)+")  # a paragraph of code, where it follows an empty line
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# What a span of code begins with where it is a command; other spans are keys, files, expressions.
COMMANDS = {"tune-cnn", "uv", "python", "python3", "pip", "pipx", "pytest", "ray", "mlflow", ".ci/run"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code, and the line of its page at which it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One simple command: its words, as a shell would hand them over."""

    page: Path
    line: int
    words: tuple[str, ...]
    in_prose: bool = False  # not in a block of its own

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} {shlex.join(self.words)}"


def tracked() -> set[str]:
    """Files of the repository by their path from its top; those that git would take up among them."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).is_file()}


def pages() -> list[Path]:
    return [ROOT / name for name in sorted(tracked()) if name.endswith(".md")]


def prose(text: str) -> str:
    """The page with empty lines in place of its blocks of code."""
    return INDENTED.sub(_blank, FENCE.sub(_blank, text))


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def anchors(page: Path) -> set[str]:
    """What `#…` may name in a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = SPAN.sub("", prose(page.read_text(encoding="utf-8")))
    return LINK.findall(text)


def spans(page: Path) -> list[tuple[int, str]]:
    """Code within the prose, each with its line."""
    text = prose(page.read_text(encoding="utf-8"))
    return [(text.count("\n", 0, found.start()) + 1, " ".join(found[1].split())) for found in SPAN.finditer(text)]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The page's blocks of code, indented ones with the language ''."""
    text = page.read_text(encoding="utf-8")
    fenced = [(found, found[1], found[2]) for found in FENCE.finditer(text)]
    indented = [(found, "", found[0]) for found in INDENTED.finditer(FENCE.sub(_blank, text))]
    made = [
        Block(page=page, line=text.count("\n", 0, found.start()) + 1, language=kind, text=code)
        for found, kind, code in fenced
    ]
    made += [Block(page=page, line=_line_of(text, code), language=kind, text=code) for _, kind, code in indented]
    return [block for block in made if language is None or block.language == language]


def _line_of(text: str, code: str) -> int:
    return text.count("\n", 0, text.index(code)) + 1


def commands(page: Path) -> Iterator[Command]:
    """Every command of the page: those of its shell blocks, of its indented blocks, and within its prose."""
    for block in blocks(page):
        if block.language in {"bash", ""}:
            for offset, line in _joined(block.text):
                for words in simple(line):
                    yield Command(page=page, line=block.line + offset + (block.language == "bash"), words=words)
    for number, span in spans(page):
        if span.split()[0] in COMMANDS:
            for words in simple(span):
                yield Command(page=page, line=number, words=words, in_prose=True)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number, those that end in a backslash joined with the next."""
    started, begun = 0, ""
    for number, line in enumerate(text.splitlines()):
        begun, started = (line, number) if not begun else (f"{begun} {line.strip()}", started)
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip()
            continue
        yield started, begun
        begun = ""


def simple(line: str) -> list[tuple[str, ...]]:
    """A line's simple commands, without comments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[tuple[str, ...]] = []
    words: list[str] = []
    tokens = list(lexer)
    for at, token in enumerate(tokens):
        if set(token) <= set(";&|"):
            found.append(tuple(words))
            words = []
        elif token != ">" and not (at and tokens[at - 1] == ">"):
            words.append(token)
    return [one for one in [*found, tuple(words)] if one]
