"""Every message that the packages raise, as one list: where it stands, and its text with {…} for what came.

`python tests/inputs/messages.py [ROOM]` prints it, for instance of `spec`.
"""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
PACKAGES = ("tune_cnn", "mlflow_server")
# What a sentence begins with that tells the reader to do something.
DOING = re.compile(
    r"(?:[;.:,)] |\bor )(?:add|choose|confirm|define|delete|drop|export|fix|free|give|go on|keep|leave|let|loosen|"
    r"lower|make|move|name|number|pip|put|raise|rename|repair|resize|resume|search|set|start|swap|sync|take|turn|update|"
    r"upgrade|use|uv pip|wait|write)\b"
)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One `raise` with a text of ours."""

    file: str  # from the repository's root
    line: int
    text: str

    @property
    def advises(self) -> bool:
        return DOING.search(self.text) is not None

    def gave(self, told: str) -> bool:
        """Whether this is where `told` comes from."""
        parts = re.split(r"\{[^{}]*\}", self.text)
        return re.search(".*".join(map(re.escape, parts)), told, re.DOTALL) is not None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def messages(under: str = "") -> list[Message]:
    """Of all files whose path begins with `under`."""
    files = sorted(file for package in PACKAGES for file in (TOP / package).rglob("*.py"))
    return [
        Message(file=name, line=node.lineno, text=text)
        for file in files
        if (name := str(file.relative_to(TOP))).startswith(under)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if (text := " ".join(filter(None, map(_text, node.exc.args))))
    ]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join("{…}" if isinstance(part, ast.FormattedValue) else _text(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


if __name__ == "__main__":
    found = messages(f"tune_cnn/{sys.argv[1]}" if len(sys.argv) > 1 else "")
    print("\n".join(map(str, found)))
    print(f"{len(found)} messages, {sum(message.advises for message in found)} of which say what to do")
