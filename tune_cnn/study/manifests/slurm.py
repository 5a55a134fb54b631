"""A batch script for Slurm: one job a study, or an array of jobs for several, that goes on by itself."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import InputError
from tune_cnn.study.hints import HOME
from tune_cnn.study.manifests.asked import Asked, Source
from tune_cnn.study.manifests.layout import Layout, layout
from tune_cnn.study.manifests.template import filled

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
REQUEUE_S = 20  # before the kill: what the controller may take to hear of it
SECRETS = "~/.config/tune_cnn/secrets"


def slurm(sources: Sequence[Source], asked: Asked, *, file: str = "FILE") -> str:
    """The script, to be sent as `file`. Raises InputError for what it can't express."""
    one = _one_layout(sources, asked)
    several = len(sources) > 1
    _check(one, asked)
    home = (asked.home or HOME).expanduser()
    where = ["--home", str(asked.folder / home)]
    if asked.storage is not None:
        where += ["--storage", asked.storage]
    names = [source.spec.study for source in sources]
    return filled(
        "slurm.sh",
        {
            "STUDIES": f"study {names[0]}" if not several else f"{len(names)} studies, one a task of a job array",
            "FILE": shlex.quote(file),
            "JOB_NAME": names[0] if not several else f"{names[0]}-and-{len(names) - 1}",
            "FOLDER": _directive(str(asked.folder)),
            "WHY_NODES": _why(one),
            "NODES": one.nodes,
            "CPUS": one.cpus_per_node,
            "GPUS": one.gpus_per_node,
            "REQUESTS": _requests(one, asked),
            "NOTICE_S": asked.notice_s,
            "LATEST_S": asked.notice_s - REQUEUE_S,
            "ARRAY": _array(names),
            "CHOOSE": _choose(sources),
            "PROGRAMS": shlex.quote(str(asked.programs)),
            "SECRETS": _shell_path(asked.secrets or SECRETS),
            "RECORD": _record(asked),
            "SEARCH": f'"${{search[@]}}" {shlex.join(where)}',
        },
    )


def _one_layout(sources: Sequence[Source], asked: Asked) -> Layout:
    """What every task of the job asks for; InputError where studies differ in it."""
    first, *others = [layout(source.spec.resources, nodes=asked.nodes, slots=asked.slots) for source in sources]
    for source, other in zip(sources[1:], others, strict=True):
        if other != first:
            raise InputError(
                f"manifest slurm: the tasks of a job array ask for the same, got {_told(first)} for "
                f"{sources[0].spec.study} and {_told(other)} for {source.spec.study}; write a manifest for each"
            )
    names = [source.spec.study for source in sources]
    if len(set(names)) < len(names):
        raise InputError(f"manifest slurm: each study may stand once, got {', '.join(names)}; leave one out")
    return first


def _check(one: Layout, asked: Asked) -> None:
    if asked.node is not None and (one.nodes > 1 or not NODE_NAME.fullmatch(asked.node)):
        raise InputError(
            f"--node: names the one node that the job runs on, got {asked.node!r} and {one.nodes} node(s); leave it "
            "out and keep the record in PostgreSQL (TUNE_CNN_STORE)"
        )
    if asked.node is None and asked.storage is None:
        raise InputError(
            "--storage: a job that is queued again may start on other nodes, so checkpoints must lie where all see "
            "them; got none. Give a folder of all nodes or a URI such as s3://bucket/studies, or --node NAME to stay "
            "on one node"
        )


def _why(one: Layout) -> str:
    return f"{one.slots} trial(s) at a time, {one.slots_per_node} a node; a trial's ranks share a node"


def _told(one: Layout) -> str:
    return f"{one.nodes} node(s) with {one.cpus_per_node} cores and {one.gpus_per_node} GPUs"


def _requests(one: Layout, asked: Asked) -> list[str]:
    lines = [f"#SBATCH --cpus-per-task={one.cpus_per_node}"]
    if one.gpus_per_node:
        kind = f"{one.accelerator.lower()}:" if one.accelerator else ""
        if kind:
            lines.append(
                "# The type as this site calls it (`sinfo -o %G` shows the names); Ray must find the spec's own"
            )
        lines.append(f"#SBATCH --gpus-per-node={kind}{one.gpus_per_node}")
    if asked.node is not None:
        lines += ["# Always this node: its disk keeps the record", f"#SBATCH --nodelist={asked.node}"]
    return lines


def _array(names: Sequence[str]) -> list[str]:
    if len(names) == 1:
        return []
    return ["# One task a study; each is requeued by itself", f"#SBATCH --array=0-{len(names) - 1}"]


def _choose(sources: Sequence[Source]) -> list[str]:
    """Bash that sets `search`, the spec's words."""
    if len(sources) == 1:
        return ["# The spec, as it was given", f"search=({shlex.join(sources[0].words)})", ""]
    lines = ["# The spec of this task", 'case "$SLURM_ARRAY_TASK_ID" in']
    lines += [f"    {number}) search=({shlex.join(source.words)}) ;;" for number, source in enumerate(sources)]
    return [*lines, '    *) echo "no study for task $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;', "esac", ""]


def _record(asked: Asked) -> list[str]:
    if asked.node is not None:
        return ["# The record is a SQLite file in --home on this node's disk, or what TUNE_CNN_STORE names"]
    return [
        "# The job may start on any node, so the record must not lie on one node's disk",
        'if [ -z "${TUNE_CNN_STORE:-}" ]; then',
        '    echo "TUNE_CNN_STORE: must name the PostgreSQL database that keeps the record, and is not set;'
        ' write it into $secrets" >&2',
        "    exit 2",
        "fi",
    ]


def _directive(path: str) -> str:
    """A path in an #SBATCH line; InputError where Slurm would take it apart or fill something in."""
    if re.search(r"[\s%\\\"'#]", path):
        raise InputError(
            f"manifest slurm: the folder's path must be free of blanks, quotes, % and #, which Slurm reads in its own "
            f"way, got {path!r}; give the command in another folder"
        )
    return path


def _shell_path(path: str) -> str:
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(str(Path(path).absolute()))
