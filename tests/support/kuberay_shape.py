"""The shape of KubeRay's objects, as far as this project uses them: closed sets of keys with their types.

Written from the field reference of the ray.io/v1 definitions (KubeRay 1.5 and later) and of Kubernetes' core objects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], list[str]]


def text(value: Any, path: str) -> list[str]:
    return [] if isinstance(value, str) else [f"{path}: {value!r} is no text"]


def whole(value: Any, path: str) -> list[str]:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return [] if good else [f"{path}: {value!r} is no whole number from 0"]


def flag(value: Any, path: str) -> list[str]:
    return [] if isinstance(value, bool) else [f"{path}: {value!r} is neither true nor false"]


def quantity(value: Any, path: str) -> list[str]:
    good = re.fullmatch(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", str(value))
    return [] if good and not isinstance(value, bool) else [f"{path}: {value!r} is no quantity"]


def choice(*allowed: str) -> Check:
    return lambda value, path: [] if value in allowed else [f"{path}: {value!r} is none of {', '.join(allowed)}"]


def listed(check: Check) -> Check:
    def every(value: Any, path: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [error for index, item in enumerate(value) for error in check(item, f"{path}[{index}]")]

    return every


def named(check: Check) -> Check:
    def every(value: Any, path: str) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: {value!r} is no mapping"]
        return [error for name, item in value.items() for error in check(item, f"{path}.{name}")]

    return every


def shape(required: tuple[str, ...] = (), **fields: Check) -> Check:
    def every(value: Any, path: str) -> list[str]:
        if not isinstance(value, Mapping):
            return [f"{path}: {value!r} is no mapping"]
        errors = [f"{path}: unknown key {name!r}" for name in value if name not in fields]
        errors += [f"{path}: {name!r} is missing" for name in required if name not in value]
        return errors + [
            error for name in value.keys() & fields.keys() for error in fields[name](value[name], f"{path}.{name}")
        ]

    return every


METADATA = shape(name=text, namespace=text, labels=named(text), annotations=named(text))
VARIABLE = shape(("name",), name=text, value=text, valueFrom=named(named(text)))
RESOURCES = shape(limits=named(quantity), requests=named(quantity))
CONTAINER = shape(
    ("name", "image"),
    name=text,
    image=text,
    imagePullPolicy=choice("Always", "IfNotPresent", "Never"),
    command=listed(text),
    args=listed(text),
    env=listed(VARIABLE),
    ports=listed(shape(("containerPort",), containerPort=whole, name=text, protocol=choice("TCP", "UDP"))),
    resources=RESOURCES,
    volumeMounts=listed(shape(("name", "mountPath"), name=text, mountPath=text, readOnly=flag, subPath=text)),
)
VOLUME = shape(
    ("name",),
    name=text,
    emptyDir=shape(medium=choice("Memory", ""), sizeLimit=quantity),
    persistentVolumeClaim=shape(("claimName",), claimName=text, readOnly=flag),
    configMap=shape(("name",), name=text),
    secret=shape(("secretName",), secretName=text),
)
TOLERATION = shape(
    key=text,
    operator=choice("Exists", "Equal"),
    value=text,
    effect=choice("NoSchedule", "NoExecute", "PreferNoSchedule"),
)
POD = shape(
    ("spec",),
    metadata=METADATA,
    spec=shape(
        ("containers",),
        containers=listed(CONTAINER),
        initContainers=listed(CONTAINER),
        volumes=listed(VOLUME),
        nodeSelector=named(text),
        tolerations=listed(TOLERATION),
        restartPolicy=choice("Always", "OnFailure", "Never"),
        serviceAccountName=text,
        terminationGracePeriodSeconds=whole,
    ),
)
HEAD = shape(
    ("template",),
    template=POD,
    rayStartParams=named(text),
    serviceType=choice("ClusterIP", "NodePort", "LoadBalancer"),
    enableIngress=flag,
    resources=named(quantity),
    labels=named(text),
)
WORKERS = shape(
    ("groupName", "template"),
    groupName=text,
    replicas=whole,
    minReplicas=whole,
    maxReplicas=whole,
    numOfHosts=whole,
    idleTimeoutSeconds=whole,
    rayStartParams=named(text),
    template=POD,
    suspend=flag,
    resources=named(quantity),
    labels=named(text),
)
CLUSTER_SPEC = shape(
    ("headGroupSpec",),
    rayVersion=text,
    authOptions=shape(mode=choice("disabled", "token"), secretName=text, enableK8sTokenAuth=flag),
    enableInTreeAutoscaling=flag,
    autoscalerOptions=shape(
        idleTimeoutSeconds=whole,
        upscalingMode=choice("Default", "Aggressive", "Conservative"),
        version=choice("v1", "v2"),
        resources=RESOURCES,
        image=text,
        env=listed(VARIABLE),
    ),
    headGroupSpec=HEAD,
    workerGroupSpecs=listed(WORKERS),
    suspend=flag,
)
JOB_SPEC = shape(
    (),
    entrypoint=text,
    runtimeEnvYAML=text,
    clusterSelector=named(text),
    rayClusterSpec=CLUSTER_SPEC,
    submissionMode=choice("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=POD,
    shutdownAfterJobFinishes=flag,
    ttlSecondsAfterFinished=whole,
    activeDeadlineSeconds=whole,
    backoffLimit=whole,
    jobId=text,
    entrypointNumCpus=quantity,
    entrypointNumGpus=quantity,
    suspend=flag,
    metadata=named(text),
)


def errors_of(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a RayCluster or RayJob, one line each."""
    kind = str(document.get("kind"))
    spec = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}[kind]
    check = shape(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=choice("ray.io/v1"),
        kind=text,
        metadata=METADATA,
        spec=spec,
    )
    found = check(document, kind)
    for group in document["spec"].get("workerGroupSpecs", []):
        name, low, high = group.get("groupName"), group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        if not found and not low <= group.get("replicas", low) <= high:
            found.append(f"{kind}: {name} has {low} to {high} replicas, and {group.get('replicas')} at the start")
    return found
