"""The schemas that the manifests are held against, from the files beside this one."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

HERE = Path(__file__).parent


def documents(path: Path) -> list[Any]:
    return json.loads(_as_json(path))


@cache
def _as_json(path: Path) -> str:
    """Return the documents of *path*: YAML is slow to read, and callers change what they get."""
    return json.dumps(list(yaml.safe_load_all(path.read_text())))


def closed(schema: Any) -> Any:
    """Return *schema* with `additionalProperties: false` wherever it lists what there is."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
        copy.setdefault("additionalProperties", open_ended)
    return copy


def knative_schema() -> dict[str, Any]:
    """Return Knative's own schema of a Service; it leaves `metadata` to Kubernetes."""
    (crd,) = documents(HERE / "knative-service-crd.yaml")
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    text = {"type": "object", "additionalProperties": {"type": "string"}}
    schema["properties"]["metadata"]["properties"] = {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": text,
        "annotations": text,
    }
    template = schema["properties"]["spec"]["properties"]["template"]["properties"]
    del template["metadata"]["x-kubernetes-preserve-unknown-fields"]
    return closed(schema)


def container_schema() -> dict[str, Any]:
    spec = knative_schema()["properties"]["spec"]["properties"]["template"]["properties"]["spec"]
    return spec["properties"]["containers"]["items"]


def cloud_run_schema() -> dict[str, Any]:
    (schema,) = documents(HERE / "cloudrun-service-schema.yaml")
    return schema


def kubernetes_schema(kind: str) -> dict[str, Any]:
    """Return the schema of an object of *kind*."""
    (schemas,) = documents(HERE / "kubernetes-schemas.yaml")
    return {**schemas[kind], "$defs": schemas["$defs"]}


def deployment_container_schema() -> dict[str, Any]:
    """Return the schema of a container outside Knative, which passes no `lifecycle` on."""
    schema = container_schema()
    seconds = {"type": "object", "properties": {"seconds": {"type": "integer"}}}
    pre_stop = {"type": "object", "properties": {"sleep": seconds}}
    schema["properties"]["lifecycle"] = closed(
        {"type": "object", "properties": {"preStop": pre_stop}}
    )
    return schema


def complaints(schema: dict[str, Any], instance: Any) -> list[str]:
    validator = jsonschema_rs.validator_for(schema)
    return [f"{list(one.instance_path)}: {one.message}" for one in validator.iter_errors(instance)]
