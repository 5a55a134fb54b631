"""KubeRay's own fields as a JSON schema, transcribed: the CRD's file has 1.26 MB, nearly all of it Kubernetes' pod.

Source: github.com/ray-project/kuberay, ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go, read on
2026-11-28. Unknown fields are refused at KubeRay's levels. A pod is held against rules of ours, below: names that it
uses are declared, amounts are quantities, and only fields of core/v1 that we use are known.
"""

from typing import Any

INT = {"type": "integer"}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = {"type": "object", "required": ["spec"]}


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "number"}
AUTOSCALER = _closed(
    {
        "resources": {"type": "object"},
        "image": TEXT,
        "imagePullPolicy": TEXT,
        "env": {"type": "array"},
        "envFrom": {"type": "array"},
        "volumeMounts": {"type": "array"},
        "securityContext": {"type": "object"},
        "idleTimeoutSeconds": INT,
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
        "version": {"enum": ["v1", "v2"]},
    }
)
HEAD = _closed(
    {
        "serviceType": TEXT,
        "headService": {"type": "object"},
        "enableIngress": FLAG,
        "rayStartParams": STRINGS,
        "template": POD,
    },
    "rayStartParams",  # in older versions of the operator
    "template",
)
WORKERS = _closed(
    {
        "groupName": TEXT,
        "replicas": INT,
        "minReplicas": INT,
        "maxReplicas": INT,
        "numOfHosts": INT,
        "rayStartParams": STRINGS,
        "template": POD,
        "scaleStrategy": {"type": "object"},
    },
    "groupName",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
)
CLUSTER = _closed(
    {
        "headGroupSpec": HEAD,
        "workerGroupSpecs": {"type": "array", "items": WORKERS},
        "rayVersion": TEXT,
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": AUTOSCALER,
        "headServiceAnnotations": STRINGS,
        "suspend": FLAG,
    },
    "headGroupSpec",
)
JOB = _closed(
    {
        "activeDeadlineSeconds": INT,
        "backoffLimit": INT,
        "rayClusterSpec": CLUSTER,
        "submitterPodTemplate": POD,
        "metadata": STRINGS,
        "clusterSelector": STRINGS,
        "submitterConfig": _closed({"backoffLimit": INT}),
        "managedBy": TEXT,
        "entrypoint": TEXT,
        "runtimeEnvYAML": TEXT,
        "jobId": TEXT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        "entrypointResources": TEXT,
        "entrypointNumCpus": NUMBER,
        "entrypointNumGpus": NUMBER,
        "ttlSecondsAfterFinished": INT,
        "shutdownAfterJobFinishes": FLAG,
        "suspend": FLAG,
    }
)
METADATA = _closed({"name": {"type": "string", "maxLength": 47}, "labels": STRINGS}, "name")
RAY_JOB = _closed(
    {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": "RayJob"}, "metadata": METADATA, "spec": JOB},
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)
# Of core/v1, the fields that we use
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(Gi|Mi|m)?$"}
AMOUNTS = {"type": "object", "required": ["cpu", "memory"], "additionalProperties": QUANTITY}
SECRET_KEY = _closed({"name": TEXT, "key": TEXT, "optional": FLAG}, "name", "key")
SECRET = _closed(
    {"name": TEXT, "valueFrom": _closed({"secretKeyRef": SECRET_KEY}, "secretKeyRef")}, "name", "valueFrom"
)
RAYS = _closed({"name": {"type": "string", "pattern": "^RAY_"}, "value": TEXT}, "name", "value")  # no secret is Ray's
ENV = {"oneOf": [SECRET, RAYS]}
COMMAND = _closed({"exec": _closed({"command": {"type": "array", "items": TEXT}}, "command")}, "exec")
CONTAINER = _closed(
    {
        "name": TEXT,
        "image": TEXT,
        "resources": _closed({"requests": AMOUNTS, "limits": AMOUNTS}, "requests", "limits"),
        "env": {"type": "array", "items": ENV},
        "lifecycle": _closed({"preStop": COMMAND}),
        "securityContext": _closed(
            {
                "allowPrivilegeEscalation": {"const": False},
                "capabilities": _closed({"drop": {"type": "array", "items": TEXT}}),
            }
        ),
        "volumeMounts": {
            "type": "array",
            "items": _closed({"name": TEXT, "mountPath": TEXT, "readOnly": FLAG}, "name", "mountPath"),
        },
    },
    "name",
    "image",
)
VOLUME = _closed(
    {
        "name": TEXT,
        "configMap": _closed({"name": TEXT}, "name"),
        "emptyDir": _closed({"medium": {"enum": ["", "Memory"]}, "sizeLimit": QUANTITY}),
        "persistentVolumeClaim": _closed({"claimName": TEXT}, "claimName"),
    },
    "name",
)
TOLERATION = _closed(
    {
        "key": TEXT,
        "operator": {"enum": ["Equal", "Exists"]},
        "value": TEXT,
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
    },
    "key",
)
POD_SPEC = _closed(
    {
        "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
        "volumes": {"type": "array", "items": VOLUME},
        "tolerations": {"type": "array", "items": TOLERATION},
        "nodeSelector": STRINGS,
        "terminationGracePeriodSeconds": INT,
    },
    "containers",
)
