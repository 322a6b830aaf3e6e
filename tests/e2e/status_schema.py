#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""status_schema.py SCHEMA URL COMMAND...: validates the JSON that the command
prints, and that the URL returns (unless it is empty), with the schema; and expects that
the schema refuses the document if any object has a member less or more."""

import copy
import json
import subprocess
import sys
import urllib.request

import jsonschema

schema_path, url, *command = sys.argv[1:]
with open(schema_path, encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)


def objects(value, path=()):
    """The paths of all objects in the document."""
    if isinstance(value, dict):
        yield path
        for key, member in value.items():
            yield from objects(member, path + (key,))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, path + (index,))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def undescribed(value, path=""):
    """Properties of the schema without a description."""
    for key, member in value.items() if isinstance(value, dict) else ():
        if key == "properties":
            for name, rule in member.items():
                if not rule.keys() & {"description", "$ref", "enum", "const"} \
                        and rule.get("type") not in ("boolean", "integer", "string"):
                    yield f"{path}.{name}"
        yield from undescribed(member, f"{path}.{key}")


assert not list(undescribed(schema)), list(undescribed(schema))

documents = {}
said = subprocess.run(command, stdout=subprocess.PIPE, check=False)
documents["command line"] = said.stdout
if url:
    with urllib.request.urlopen(url, timeout=30) as answer:
        documents["HTTP"] = answer.read()

changes = 0
for name, text in documents.items():
    document = json.loads(text)
    errors = [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(document)]
    assert not errors, f"{name}: {errors}"
    for path in objects(document):
        for key in list(at(document, path)):
            less = copy.deepcopy(document)
            del at(less, path)[key]
            assert not validator.is_valid(less), f"{name}: {path} without {key} is accepted"
            wrong = copy.deepcopy(document)
            at(wrong, path)[key] = {"of": "another type"}
            assert not validator.is_valid(wrong), f"{name}: {path + (key,)} may be anything"
            changes += 2
        more = copy.deepcopy(document)
        at(more, path)["surprise"] = 1
        assert not validator.is_valid(more), f"{name}: {path} with one more is accepted"
        changes += 1
    if url:
        assert len(document["conflicts"]) == 3, document["conflicts"]
        verdicts = [conflict["verdict"] for conflict in document["conflicts"]]
        assert verdicts == ["guarded", "ignored", "untrusted"], verdicts
        assert document["healthy"] is True, document["problems"]
    else:
        assert document["healthy"] is False

if url:
    # Both are equal, except the times that change.
    ours, theirs = (json.loads(text) for text in documents.values())
    for document in (ours, theirs):
        for source in document["sources"]:
            source["last_event"] = source["last_reading"] = None
    assert ours == theirs, "the two differ"
    assert list(ours) == list(theirs) and documents["HTTP"].startswith(b"{\n  \"healthy\""), "the two differ in form"

assert changes > 100, changes
print(f"{', '.join(documents)}: valid; {changes} changed documents refused")
