#!/usr/bin/env python3
"""Writes the vector files of this folder, or says which are stale.

    python3 generate.py           writes *.json
    python3 generate.py --check   writes nothing; fails when a file is not what would be written, or breaks its schema
"""

import json
import pathlib
import re
import sys

import assignment
import cases
import reference

FOLDER = pathlib.Path(__file__).resolve().parent
FILES = cases.FILES | assignment.FILES
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def text_of(name: str) -> str:
    made = FILES[name]()
    used = {flag for test in made.tests for flag in test["flags"]}
    assert used == set(made.notes), (name, used ^ set(made.notes))
    document = {
        "schema": f"schema/{name}.json",
        "generator": "generate.py",
        "numberOfTests": len(made.tests),
        "notes": made.notes,
        "tests": made.tests,
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def load_schema(name: str):
    return json.loads((FOLDER / "schema" / name).read_text())


def validate(value, schema, file, at="$"):
    """As much of JSON Schema 2020-12 as the schemas here use; any other keyword is an error."""
    known = {"$schema", "$id", "$defs", "title", "description"}
    if "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        found = load_schema(name or file)
        for part in pointer.split("/")[1:]:
            found = found[part]
        validate(value, found, name or file, at)
        known.add("$ref")
    if "oneOf" in schema:
        fits = []
        for option in schema["oneOf"]:
            try:
                validate(value, option, file, at)
                fits.append(option)
            except ValueError:
                continue
        if len(fits) != 1:
            raise ValueError(f"{at}: fits {len(fits)} of {len(schema['oneOf'])} forms")
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or value is True and schema["type"] == "integer"):
        raise ValueError(f"{at}: is not of type {schema['type']}")
    if "const" in schema and value != schema["const"]:
        raise ValueError(f"{at}: is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{at}: {value!r} is not one of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise ValueError(f"{at}: does not match {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
        raise ValueError(f"{at}: {value} is out of range")
    if "minItems" in schema and len(value) < schema["minItems"]:
        raise ValueError(f"{at}: has too few items")
    for i, item in enumerate(value if "items" in schema else ()):
        validate(item, schema["items"], file, f"{at}[{i}]")
    for name in schema.get("required", ()):
        if name not in value:
            raise ValueError(f"{at}: has no {name}")
    for name, part in value.items() if "properties" in schema or "additionalProperties" in schema else ():
        rule = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
        if rule is False:
            raise ValueError(f"{at}: may not have {name}")
        if rule is not True:
            validate(part, rule, file, f"{at}.{name}")
    known |= {"oneOf", "type", "const", "enum", "pattern", "minimum", "maximum", "minItems", "items", "required"}
    known |= {"properties", "additionalProperties"}
    if set(schema) - known:
        raise ValueError(f"{at}: the schema uses {set(schema) - known}, which this does not check")


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__, file=sys.stderr)
        return 64
    reference.self_test()
    total, stale = 0, []
    for name in FILES:
        text = text_of(name)
        document = json.loads(text)
        validate(document, load_schema(f"{name}.json"), f"{name}.json")
        total += document["numberOfTests"]
        path = FOLDER / f"{name}.json"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    unknown = {path.stem for path in FOLDER.glob("*.json")} - set(FILES)
    for name in sorted(stale) + sorted(f"{name}.json" for name in unknown):
        print(f"{name} is not what generate.py writes; run it and look at the difference", file=sys.stderr)
    print(f"{len(FILES)} files, {total} cases{', all fresh' if check and not stale and not unknown else ''}")
    return 1 if stale or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
