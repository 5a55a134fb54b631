"""A search on a cluster of two nodes: real ones, on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import drive, package

from tune_cnn.trials import ray_settings


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster of two nodes with two cores each, whose workers start elsewhere than the driver.

    It asks for no token, and the driver has one from a Ray of its own: it must leave it.
    """
    from ray.cluster_utils import Cluster

    began_in = Path.cwd()
    os.chdir(tmp_path)
    ray_settings.make_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        monkeypatch.delenv("RAY_AUTH_MODE")
        yield cluster.address
    finally:
        os.chdir(began_in)
        cluster.shutdown()


def test_trials_and_the_users_code_spread_over_the_nodes(two_nodes, tmp_path):
    """The user's package lies outside of the repository and of the working directory; Ray carries it to both nodes."""
    call = package(tmp_path / "project", "mine")
    code = [str(tmp_path / "project"), str(Path(__file__).parents[1] / "loops.py")]
    found = drive(
        f"""
from tune_cnn.spec import Resources
with connected({two_nodes!r}, code={code!r}, calls=[{call + "Loop"!r}]):
    where = [call_on_node({call!r} + "where", {{"CPU": 1.0}}), call_on_node("loops:place", {{"CPU": 1.0}})["file"]]
    slots = fit(Resources(cpus_per_trial=2), None)
    script = Script([trial(epochs=3, seconds=0.2) for _ in range(6)])
    run_trials(script, payload(loop={call!r} + "Loop"), slots)
    company = [script.side_by_side(point) for point in script.points]
    places = sorted({{point.metrics["node"] for point in script.points}})
    tenants = sorted({{point.metrics["cotenants"] for point in script.points}})
print(json.dumps([where, slots.count, [script.ends[n] for n in sorted(script.ends)], company, places, tenants]))
""",
        cwd=tmp_path,
    )
    where, count, ends, company, places, tenants = found
    assert all("py_modules_files" in path for path in where), f"not carried, but found by their paths: {where}"
    assert count == 2
    assert [state for state, _ in ends] == ["complete"] * 6, ends
    assert len(places) == 2
    assert company.count(2) >= 12
    assert tenants == [0.0], "trials on different nodes share no hardware"
