"""Every object against its schema: Kubernetes' own for several versions, custom ones with their CEL rules."""

import datetime
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import cel
import jsonschema
import kubernetes_validate
import yaml

from .build import REPOSITORY

# The first with native sidecars, a common one, and the newest that is known.
VERSIONS = ("1.29", "1.32", kubernetes_validate.latest_version())
CUSTOM_GROUPS = ("monitoring.coreos.com/", "monitoring.googleapis.com/")
# What the API server names otherwise for CEL, since CEL reserves it.
RESERVED = set(
    "true false null in as break const continue else for function if import let loop package namespace return var"
    " void while".split()
)
UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def is_custom(item):
    return item["apiVersion"].startswith(CUSTOM_GROUPS)


def crd_folder():
    """$SONDE_CRDS, or `shared/crds` beside the repository where it is; else None."""
    named = os.environ.get("SONDE_CRDS")
    if named:
        return Path(named)
    beside = REPOSITORY.parent / "shared/crds"
    return beside if beside.is_dir() else None


def native_problems(item, version):
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message


def strict(schema):
    """A CRD's OpenAPI schema as JSON Schema: unknown fields are refused as strict field validation does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {key: strict(value) for key, value in schema.items() if key != "format"}
    # A property may itself be called `properties`; only a mapping to schemas closes an object.
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


# --- CEL --------------------------------------------------------------------------------------------------------------


def duration(text):
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError(f"`{text}` is no duration")
    return datetime.timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))


def as_cel(schema, value):
    """A value as the API server shows it to CEL: durations are durations, reserved names are escaped."""
    if isinstance(value, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        below = {key: properties.get(key, more if isinstance(more, dict) else {}) for key in value}
        return {
            f"__{key}__" if key in RESERVED and key in properties else key: as_cel(below[key], value[key])
            for key in value
        }
    if isinstance(value, list):
        return [as_cel(schema.get("items", {}), part) for part in value]
    return duration(value) if schema.get("format") == "duration" else value


def is_url(text):
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path.startswith("/")))


def rule_problems(schema, value, path=""):
    """Where a value breaks a CEL rule (`x-kubernetes-validations`) of its schema or of one below."""
    for validation in schema.get("x-kubernetes-validations", []):
        try:
            context = cel.Context()
            context.add_function("isURL", is_url)
            context.add_variable("self", as_cel(schema, value))
            kept = cel.evaluate(validation["rule"], context)
        except (ValueError, TypeError, RuntimeError) as error:
            yield f"{path or '.'}: `{validation['rule']}` cannot be evaluated: {error}"
            continue
        if kept is not True:
            yield f"{path or '.'}: {validation.get('message') or validation['rule']}"
    if isinstance(value, dict):
        more = schema.get("additionalProperties")
        for key, part in value.items():
            below = schema.get("properties", {}).get(key, more)
            if isinstance(below, dict):
                yield from rule_problems(below, part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from rule_problems(schema.get("items", {}), part, f"{path}[{index}]")


# --- CustomResourceDefinitions ----------------------------------------------------------------------------------------


class Definitions:
    """The CustomResourceDefinitions of a folder; none of them where there is no folder."""

    def __init__(self, folder):
        self.folder = folder
        self.schemas, self.closed = {}, {}
        for path in sorted(folder.glob("*.yaml")) if folder else []:
            for crd in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                for version in crd["spec"]["versions"]:
                    key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                    schema = version["schema"]["openAPIV3Schema"]
                    closed = strict(schema)
                    closed["properties"]["metadata"] = {"type": "object"}
                    self.schemas[key], self.closed[key] = schema, jsonschema.Draft7Validator(closed)

    def absence(self, item):
        """Why an object cannot be checked; None where it can."""
        if self.folder is None:
            return "no CustomResourceDefinitions; hint: SONDE_CRDS names a folder with them"
        if (item["apiVersion"], item["kind"]) not in self.schemas:
            return f"no definition of {item['kind']} in `{self.folder}`"
        return None

    def problems(self, item):
        key = item["apiVersion"], item["kind"]
        for error in self.closed[key].iter_errors(item):
            yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        yield from rule_problems(self.schemas[key], item)
