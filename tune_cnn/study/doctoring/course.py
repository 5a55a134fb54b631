"""Are the machines well? This one is asked, and every node of a cluster; what doesn't hold is named with what to do."""

from collections.abc import Mapping
from dataclasses import asdict

from tune_cnn.as_found import left_as_found
from tune_cnn.errors import TuneCnnError, first_line
from tune_cnn.spec import StudySpec
from tune_cnn.study.doctoring.bounded import bounded
from tune_cnn.study.doctoring.cluster import DATA_S, ROUND_S, Examination, Report
from tune_cnn.study.doctoring.here import leftovers_check, mlflow_check, storage_check, store_check
from tune_cnn.study.locations import Locations
from tune_cnn.study.session.jobs import user_calls
from tune_cnn.training.inspection.health import NodeFacts, find_facts
from tune_cnn.training.inspection.health_checks import Check, check_disk, check_images, checks_of
from tune_cnn.training.inspection.images import find_images
from tune_cnn.trials.cluster.leftovers import find_leftovers, remove_leftovers
from tune_cnn.untyped import Plain


@left_as_found()
def examine(locations: Locations, spec: StudySpec | None = None, *, clean: bool = False) -> dict[str, Plain]:
    """`{ok, nodes: [{name, checks: [{what, seen, must, ok, todo}]}]}`, every wait in it bounded.

    `spec`: whose images are looked for. `clean`: end and remove what dead searches have left. Without an address no
    Ray is started.
    """
    here = find_facts({"home": str(locations.home), **_cache(locations)})
    driver = f"{here.host}, this machine"
    report: Report = {driver: _here(locations, here, spec, clean=clean)}
    if locations.address is not None:
        _cluster(locations, here, spec, report, driver, clean=clean)
    nodes = [{"name": name, "checks": [asdict(check) for check in checks]} for name, checks in report.items()]
    return {"ok": all(check.ok for checks in report.values() for check in checks), "nodes": nodes}


def _cache(locations: Locations) -> Mapping[str, str]:
    return {"cache": locations.cache_dir}


def _here(locations: Locations, here: NodeFacts, spec: StudySpec | None, *, clean: bool) -> list[Check]:
    """The machine where the search begins; without a cluster all of its trials run there too."""
    checks = checks_of(here, here, address=None, nodes=1)
    if locations.address is not None:
        disks = [check_disk(disk) for disk in here.disks]
        checks = [check for check in checks if check.what in {"versions", "open files"} or check in disks]
    elif spec is not None:
        found = bounded(lambda: find_images(spec.data, spec.seed), DATA_S)
        said = f"error: {first_line(found)}" if isinstance(found, Exception) else found
        checks += check_images({"here": said}).values()
    if locations.address is None and locations.storage is not None:  # else it is tried with the nodes
        checks.append(storage_check(locations.storage))
    left = bounded(remove_leftovers if clean else find_leftovers, ROUND_S)
    return [*checks, store_check(locations), mlflow_check(locations.tracking_uri), leftovers_check(left)]


def _cluster(
    locations: Locations, here: NodeFacts, spec: StudySpec | None, report: Report, driver: str, *, clean: bool
) -> None:
    """Join it, without a share of anybody's resources."""
    from tune_cnn.trials.cluster.address import why_silent  # with it comes Ray, which takes seconds
    from tune_cnn.trials.cluster.every_node import every_node
    from tune_cnn.trials.cluster.machines import connected

    address = locations.address
    assert address is not None
    try:
        silent = bounded(lambda: why_silent(address), ROUND_S)
        if silent is not None:
            raise silent if isinstance(silent, TuneCnnError) else TuneCnnError(str(silent))
        code, leave_out = ((), ()) if spec is None else (spec.resources.code, spec.resources.leave_out)
        calls = [] if spec is None else user_calls(spec)
        with connected(address, code=code, calls=calls, leave_out=leave_out), every_node() as nodes:
            examination = Examination(nodes, here, report, driver)
            examination.facts(_cache(locations))
            examination.reachability()
            examination.storage(locations.storage)
            if spec is not None:
                examination.images(spec)
            examination.leftovers(clean=clean)
    except TuneCnnError as error:
        todo = "start it by `ray start --head`, let it go on where its process is stopped, or name another address"
        check = Check(what="cluster", seen=first_line(error), must="lets this machine in", ok=False, todo=todo)
        report[f"the cluster at {address}"] = [check]
