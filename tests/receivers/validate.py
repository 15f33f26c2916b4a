"""Judges Bundles by fhir.resources (R4B): one JSON Bundle on each line of standard input; what is wrong, a line each, on standard output."""

import json
import sys

from fhir.resources.R4B.bundle import Bundle


def shorten(path):
    return ".".join(str(part) for part in path)


for number, line in enumerate(sys.stdin, 1):
    bundle = json.loads(line)
    try:
        Bundle.parse_obj(bundle)
    except Exception as error:  # whatever it raises is a verdict
        for one in getattr(error, "errors", lambda: [{"loc": (), "msg": str(error)}])():
            print(f"bundle {number}: {shorten(one['loc'])}: {one['msg']}")
    # The entries by themselves, so that nothing is hidden behind a union of all resources.
    for place, entry in enumerate(bundle["entry"]):
        resource = entry["resource"]
        module = __import__(f"fhir.resources.R4B.{resource['resourceType'].lower()}", fromlist=[resource["resourceType"]])
        try:
            getattr(module, resource["resourceType"]).parse_obj(resource)
        except Exception as error:
            print(f"bundle {number}: entry {place} {resource['resourceType']}: {error}")
