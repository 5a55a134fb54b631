"""What `doctor` prints: a look tells which node isn't well, and each fault says what must hold and what to do."""

from typing import Any

import pytest

from tune_cnn.reports.terminal.tables.health import health

SOUND = {"what": "clock", "seen": "+0.001 s", "must": "within 2 s", "ok": True, "todo": ""}
ILL = {"what": "open files", "seen": "1,024 [a process]", "must": "4,096", "ok": False, "todo": "raise it"}


def shown(nodes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    health({"ok": False, "nodes": nodes})
    return capsys.readouterr().out


@pytest.mark.parametrize("count", [2, 40])
def test_a_fault_is_told_with_its_node(
    count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: list[dict[str, Any]] = [{"name": f"node-{n}", "checks": [SOUND]} for n in range(count - 1)]
    out = shown([*nodes, {"name": "bad", "checks": [SOUND, ILL]}], capsys, monkeypatch)
    assert "bad: open files: 1,024 [a process]\n  must be: 4,096\n  to do:   raise it" in out
    assert out.count("NOT OK") == 1 and "1 check is not ok." in out
    assert all(f"node-{n}" in out for n in range(count - 1))


def test_where_all_is_well_there_is_a_table_and_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = {**SOUND, "what": "leftovers", "seen": "removed what dead searches had left: 3 folders"}
    out = shown([{"name": "one", "checks": [SOUND, cleaned]}], capsys, monkeypatch)
    assert (
        "ok: +0.001 s" in out
        and "one: removed what dead searches had left: 3 folders" in out
        and out.endswith("All is well.\n")
    )
