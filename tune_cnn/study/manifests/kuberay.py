"""A RayJob for the KubeRay operator, with the spec beside it as a ConfigMap; secrets are named, never written."""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tune_cnn.errors import DataError, InputError, ResourceError, SpecError
from tune_cnn.spec import StudySpec, to_yaml
from tune_cnn.spec.addresses import QUERY, address_of
from tune_cnn.study.manifests.asked import Asked, Source
from tune_cnn.study.manifests.layout import Layout, layout
from tune_cnn.study.manifests.template import filled

SPEC_FILE = "/etc/tune_cnn/study.yaml"
DRIVER = "/tmp/tune_cnn-driver"  # holds the number of the driver's process
PRE_STOP = f"driver=$(cat {DRIVER}) || exit 0; kill -USR1 $driver; while kill -0 $driver; do sleep 1; done"
POD_HOME = "/tmp/studies"  # the report and nothing else: the record is in TUNE_CNN_STORE
MEMORY_GIB_PER_SLOT = 4  # a trial's process with torch, CUDA's context and some thousand decoded images: 2 to 3 GiB
SHM_SHARE = 0.3  # of a worker's memory, as Ray's own object store takes by default
MAX_SPEC_BYTES = 900_000  # etcd takes no object above 1 MiB
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
# RayJob's own limit is 47: it hangs suffixes on the names of its cluster, services and pods
MAX_NAME = 47
LABEL = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?=[A-Za-z0-9._-]{0,63}")
MLFLOW = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
TAKEN = {"", "/dev", "/dev/shm", "/etc", "/etc/tune_cnn", "/tmp", "/home", "/usr", "/var"}  # the image's own folders
EMBEDDED = {"digits"}  # images that come with a package


def kuberay(sources: Sequence[Source], asked: Asked, *, file: str = "FILE") -> str:
    """The YAML of ConfigMap and RayJob. Raises InputError for what pods can't find or have no right to."""
    (source,) = sources
    spec, name = source.spec, resource_name(source.spec.study)
    mount = _mount(asked)
    _check_spec(spec, mount)
    one = layout(spec.resources, nodes=asked.nodes, slots=asked.slots)
    memory_gib = asked.memory_gib or MEMORY_GIB_PER_SLOT * one.slots_per_node
    secret = _subdomain(asked.secrets or f"{name}-secrets", "--secrets")
    resources = f'cpu: "{one.cpus_per_node}", memory: {memory_gib}Gi'
    if one.gpus_per_node:
        resources += f', nvidia.com/gpu: "{one.gpus_per_node}"'
    return filled(
        "kuberay.yaml",
        {
            "STUDY": spec.study,
            "NAME": name,
            "FILE": shlex.quote(file),
            "SECRET": secret,
            "SPEC": _spec_lines(spec),
            "ENTRYPOINT": json.dumps(_entrypoint(asked)),
            "RAY_VERSION": json.dumps(version("ray")),
            "NOTICE_S": asked.notice_s,
            "PRE_STOP": json.dumps(PRE_STOP),
            "IMAGE": json.dumps(_image(asked)),
            "MLFLOW": _from_secret(MLFLOW, secret),
            "OUTSIDE": _from_secret((*AWS, QUERY), secret),
            "MOUNT": [f"- {{name: studies, mountPath: {json.dumps(mount)}}}"] if mount else [],
            "CLAIM": _claim(asked),
            "WHY_NODES": f"{one.slots} trial(s) at a time, {one.slots_per_node} a node; a trial's ranks share a node",
            "NODES": one.nodes,
            "CPUS_TEXT": json.dumps(str(one.cpus_per_node)),
            "GPUS_TEXT": json.dumps(str(one.gpus_per_node)),
            "SELECTOR": _selector(one, asked),
            "GPU_TOLERATION": ["- {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}"]
            if one.gpus_per_node
            else [],
            "RESOURCES": resources,
            "SHM_GIB": max(1, math.floor(memory_gib * SHM_SHARE)),
        },
    )


def resource_name(study: str) -> str:
    """What Kubernetes takes as a name; where the study's own had to be changed, some of its hash keeps two apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")
    wanted = f"tune-cnn-{study}"
    if plain == study and len(wanted) <= MAX_NAME:
        return wanted
    mark = hashlib.sha256(study.encode()).hexdigest()[:8]
    return f"tune-cnn-{plain[: MAX_NAME - len('tune-cnn--') - len(mark)].rstrip('-')}-{mark}"


def _check_spec(spec: StudySpec, mount: str | None) -> None:
    """What lies on this machine alone, or takes rights that a pod hasn't."""
    if limits := spec.resources.power_limits_w:
        raise ResourceError(
            f"resources.power_limit_w: takes a privileged container, which this manifest doesn't ask for, got "
            f"{', '.join(f'{watts:g}' for watts in limits)} W; leave it out"
        )
    here = spec.data.name not in EMBEDDED and address_of(spec.data.name) is None
    if here and not _mounted(spec.data.root, mount):
        raise DataError(
            f"data.root: must lie where every pod mounts it, got {spec.data.root}, a folder of this machine; copy the "
            "images to the claim (--claim NAME --storage FOLDER), and set data.root below that folder"
        )
    for key, paths in (("resources.code", spec.resources.code), ("warm_start", _files(spec.warm_start))):
        for path in paths:
            if not _mounted(path, mount):
                raise SpecError(
                    f"{key}: must lie where every pod mounts it, got {path}, which is on this machine; put it on the "
                    "claim, or install it in the image and leave the key out"
                )


def _files(warm_start: Sequence[str]) -> list[str]:
    return [source for source in warm_start if source.startswith("/")]


def _mounted(path: str, mount: str | None) -> bool:
    return mount is not None and Path(path).is_relative_to(mount)


def _mount(asked: Asked) -> str | None:
    """Where the claim is mounted; InputError where checkpoints would lie on a pod's own disk."""
    if asked.storage is None:
        raise InputError(
            "--storage: a pod's disk goes with the pod, so checkpoints must lie outside, got none; give a URI such as "
            "s3://bucket/studies, or a folder with --claim NAME to mount there"
        )
    is_folder = "://" not in asked.storage
    if is_folder and asked.claim is None:
        raise InputError(
            f"--claim: must name the PersistentVolumeClaim (ReadWriteMany) to mount at --storage {asked.storage}, got "
            "none; give it, or a URI such as s3://bucket/studies as --storage"
        )
    if not is_folder and asked.claim is not None:
        raise InputError(f"--claim: is mounted at a folder, got --storage {asked.storage}; leave one of them out")
    if is_folder and asked.storage.rstrip("/") in TAKEN:
        raise InputError(f"--storage: {asked.storage} is the system's own folder; give one of its own, e.g. /studies")
    return asked.storage if is_folder else None


def _entrypoint(asked: Asked) -> str:
    """Ray's Jobs API hands it to a shell on the head, with RAY_ADDRESS set. The driver's number is for preStop."""
    home = str(asked.home) if asked.home is not None else POD_HOME
    assert asked.storage is not None, "_mount has seen it"
    search = ["tune-cnn", "search", SPEC_FILE, "--home", home, "--storage", asked.storage]
    return shlex.join(["bash", "-c", f'echo $$ > {DRIVER}; exec "$@"', "tune-cnn", *search])


def _image(asked: Asked) -> str:
    if not asked.image or re.search(r"\s", asked.image):
        raise InputError(
            f"--image: must name an image that holds Python, tune_cnn and Ray {version('ray')}, got {asked.image!r}; "
            "build one (`pip install .` in a checkout) and give its name with a tag"
        )
    return asked.image


def _spec_lines(spec: StudySpec) -> list[str]:
    text = to_yaml(spec)
    if len(text.encode()) > MAX_SPEC_BYTES:
        raise SpecError(f"spec: must have {MAX_SPEC_BYTES} bytes at most to travel as a ConfigMap, got {len(text)}")
    return text.splitlines()


def _from_secret(names: Sequence[str], secret: str) -> list[str]:
    """Variables that are set where the Secret has them."""
    return [
        line
        for name in names
        for line in (
            f"- name: {name}",
            f"  valueFrom: {{secretKeyRef: {{name: {secret}, key: {name}, optional: true}}}}",
        )
    ]


def _claim(asked: Asked) -> list[str]:
    if asked.claim is None:
        return []
    claim = _subdomain(asked.claim, "--claim")
    return [
        "# ReadWriteMany: head and workers mount it at the same time",
        "- name: studies",
        f"  persistentVolumeClaim: {{claimName: {claim}}}",
    ]


def _selector(one: Layout, asked: Asked) -> list[str]:
    if one.gpus_per_node and one.accelerator and not asked.node_selector:
        raise InputError(
            f"--node-selector: must name the label of the nodes that have resources.accelerator={one.accelerator}, got "
            "none; Kubernetes doesn't know Ray's name of it. E.g. on GKE: --node-selector "
            "cloud.google.com/gke-accelerator=nvidia-tesla-a100"
        )
    pairs = []
    for label in asked.node_selector:
        if not LABEL.fullmatch(label):
            raise InputError(f"--node-selector: must be LABEL=VALUE, got {label!r}")
        key, _, value = label.partition("=")
        pairs.append(f"{json.dumps(key)}: {json.dumps(value)}")
    if not pairs:
        return []
    return ["# The one type of node that the study's times are measured on", f"nodeSelector: {{{', '.join(pairs)}}}"]


def _subdomain(name: str, option: str) -> str:
    if not SUBDOMAIN.fullmatch(name):
        raise InputError(f"{option}: a name in Kubernetes is lower-case letters, digits, - and ., got {name!r}")
    return name
