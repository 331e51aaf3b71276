"""The JSON schema of ablation files, for editors: `python -m segcore.schema` writes `experiments/schema.json`.

An editor with a YAML language server offers keys and values, and marks mistakes, after the line
`# yaml-language-server: $schema=schema.json` at the top of a file in `experiments/`.
"""

import json
from pathlib import Path
from typing import Any

from segcore.config import RunConfig, setting_keys
from segcore.definition import METRICS, Definition

SCHEMA = Path(__file__).resolve().parents[1] / "experiments" / "schema.json"


def make_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of an ablation file; settings may be nested or dotted, and none is required."""
    schema = Definition.model_json_schema()
    run = RunConfig.model_json_schema()
    groups = {
        group: run["$defs"][Path(run["properties"][group]["$ref"]).name]
        for group in run["properties"]
        if group != "seed"
    }
    for definition in groups.values():
        definition.pop("required", None)
    dotted = {}
    for key in setting_keys():
        group, name = key.split(".")
        dotted[key] = groups[group]["properties"][name]
    settings = {"type": "object", "properties": groups | dotted, "additionalProperties": False}
    schema["$defs"] = schema.get("$defs", {}) | {"settings": settings}
    schema["properties"]["settings"] = {"$ref": "#/$defs/settings"}
    schema["properties"]["arms"]["additionalProperties"] = {"$ref": "#/$defs/settings"}
    schema["$defs"]["Hypothesis"]["properties"]["metric"]["enum"] = list(METRICS)
    # What a file extends may hold the rest.
    schema["required"] = ["name"]
    schema["title"] = "An ablation"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(make_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
    print(f"wrote {SCHEMA}")
