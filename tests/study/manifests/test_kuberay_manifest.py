"""The RayJob holds to KubeRay's fields, names every secret and writes none, and refuses what a pod can't find."""

import re
import shlex
from importlib.metadata import version

import jsonschema
import pytest
import yaml

from study.manifests.made_up_specs import asked, source
from study.manifests.rayjob_schema import POD_SPEC, RAY_JOB
from tune_cnn.errors import InputError
from tune_cnn.spec import parse_spec
from tune_cnn.study.manifests.kuberay import MAX_NAME, SUBDOMAIN, kuberay, resource_name

ON_CLAIM = {"image": "registry.example/tune-cnn:1", "storage": "/studies", "claim": "shared"}
ON_S3 = {"image": "registry.example/tune-cnn:1", "storage": "s3://bucket/studies"}
WITH_GPUS = {"gpus_per_rank": 0.5, "slots": 4, "accelerator": "A100", "cpus_per_trial": 2}
CASES = {
    "claim": (source(), ON_CLAIM),
    "s3": (source({"slots": 3}), {**ON_S3, "nodes": 3, "memory_gib": 16}),
    "gpus": (source(WITH_GPUS), {**ON_S3, "nodes": 2, "node_selector": ("gpu.example/type=a100",)}),
    "shards by address": (source(data={"name": "webdataset:https://host/{0..9}.tar", "root": "/home/me"}), ON_S3),
}


def written(case):
    spec, wishes = CASES[case]
    text = kuberay([spec], asked(**wishes))
    config, job = yaml.safe_load_all(text)
    return text, config, job


def pods(job):
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    return cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_the_job_holds_to_kuberays_fields(case):
    """No field that KubeRay doesn't know, none missing that it wants; the same of the pods, by our own rules."""
    _, _, job = written(case)
    jsonschema.validate(job, RAY_JOB)
    for pod in pods(job):
        jsonschema.validate(pod, POD_SPEC)
        declared = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == declared
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_schema_does_look():
    """A field that is misspelt is found, at KubeRay's levels and in a pod."""
    _, _, job = written("claim")
    job["spec"]["rayClusterSpec"]["enableInTreeAutoscalling"] = True
    with pytest.raises(jsonschema.ValidationError, match="enableInTreeAutoscalling"):
        jsonschema.validate(job, RAY_JOB)
    pod, _ = pods(job)
    pod["tolerations"] = [{"key": "x", "efect": "NoSchedule"}]
    with pytest.raises(jsonschema.ValidationError, match="efect"):
        jsonschema.validate(pod, POD_SPEC)


@pytest.mark.parametrize("case", CASES)
def test_the_config_map_holds_the_very_spec(case):
    """What the pods read is what was asked, whole, and mounted where the command looks."""
    _, config, job = written(case)
    assert parse_spec(yaml.safe_load(config["data"]["study.yaml"])) == CASES[case][0].spec
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[4:6] == ["tune-cnn", "search"] or "search" in words
    folder = words[words.index("search") + 1].rpartition("/")[0]
    head, _ = pods(job)
    assert {"name": "spec", "mountPath": folder, "readOnly": True} in head["containers"][0]["volumeMounts"]
    assert {"name": "spec", "configMap": {"name": config["metadata"]["name"]}} in head["volumes"]


def test_resources_come_from_the_spec():
    """Two slots a node at half a GPU each: one GPU, four cores; the head trains nothing."""
    _, _, job = written("gpus")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray") and cluster["enableInTreeAutoscaling"] is True
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (1, 2)
    assert workers["rayStartParams"] == {"num-cpus": "4", "num-gpus": "1"}
    _, pod = pods(job)
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert pod["nodeSelector"] == {"gpu.example/type": "a100"}
    assert {one["key"] for one in pod["tolerations"]} >= {"cloud.google.com/gke-spot", "nvidia.com/gpu"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "tolerations" not in pods(job)[0]  # all ends with the head: not on a spot node


@pytest.mark.parametrize("case", CASES)
def test_secrets_are_named_and_never_written(case, monkeypatch):
    """Whatever stands in the environment of who writes it; the record's password goes to the head alone."""
    monkeypatch.setenv("TUNE_CNN_STORE", "postgresql://u:geheim@h/d")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
    text, _, job = written(case)
    assert "geheim" not in text
    head, worker = pods(job)
    of_head, of_worker = ({one["name"] for one in pod["containers"][0]["env"]} for pod in (head, worker))
    assert {"TUNE_CNN_STORE", "MLFLOW_TRACKING_PASSWORD"} <= of_head
    assert {name for name in of_worker if name.startswith(("TUNE_CNN", "MLFLOW"))} == {"TUNE_CNN_DATA_QUERY"}


@pytest.mark.parametrize("study", ["small", "My_Study.v2", "a" * 128, "x-", "UPPER"])
def test_any_study_has_a_name_in_kubernetes(study):
    name = resource_name(study)
    assert SUBDOMAIN.fullmatch(name) and len(name) <= MAX_NAME


def test_two_studies_have_two_names():
    assert len({resource_name(study) for study in ("a_b", "a-b", "a.b", "A-B", "a--b")}) == 5


REFUSED = {
    "no storage": (source(), {"image": "x:1"}, "--storage: a pod's disk goes with the pod"),
    "no claim": (source(), {"image": "x:1", "storage": "/studies"}, "--claim: must name"),
    "claim for s3": (source(), {**ON_S3, "claim": "c"}, "--claim: is mounted at a folder"),
    "system's folder": (source(), {**ON_CLAIM, "storage": "/etc"}, "the system's own folder"),
    "no image": (source(), {"storage": "s3://b/s"}, "--image: must name an image"),
    "power": (source({"gpus_per_rank": 1, "power_limit_w": 200}), ON_S3, "takes a privileged container"),
    "images here": (
        source(data={"name": "image_folder", "root": "/home/me/pictures"}),
        ON_CLAIM,
        "data.root: must lie where every pod mounts it, got /home/me/pictures",
    ),
    "code here": (source({"code": ["/home/me/code"]}), ON_CLAIM, "resources.code: must lie where every pod mounts it"),
    "start here": (source(warm_start=["/home/me/best.yaml"]), ON_S3, "warm_start: must lie where every pod mounts it"),
    "no label": (source(WITH_GPUS), ON_S3, "--node-selector: must name the label"),
    "odd label": (source(), {**ON_S3, "node_selector": ("x",)}, "--node-selector: must be LABEL=VALUE, got 'x'"),
    "odd secret": (source(), {**ON_S3, "secrets": "/home/me/file"}, "--secrets: a name in Kubernetes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_pod_cannot_find_is_refused(case):
    spec, wishes, says = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(says)):
        kuberay([spec], asked(**wishes))


def test_images_on_the_claim_are_taken():
    spec = source(data={"name": "image_folder", "root": "/studies/pictures"})
    assert "root: /studies/pictures" in kuberay([spec], asked(**ON_CLAIM))
