#!/usr/bin/env python3
"""GeoJSON of the USGS to one event a line, in the order of their times: convert-earthquakes.py IN.json OUT.ndjson"""

import json
import sys

FIELDS = ("mag", "magType", "place", "type", "status", "tsunami", "sig", "felt")


def event(feature):
    properties = feature["properties"]
    fields = {"id": feature["id"], "time": properties["time"]}
    fields.update((name, properties[name]) for name in FIELDS)
    # Longitude and latitude in degrees, depth in km.
    fields["coordinates"] = feature["geometry"]["coordinates"]
    return fields


def main(source, target):
    with open(source, encoding="utf-8") as file:
        features = json.load(file)["features"]
    events = sorted(map(event, features), key=lambda event: (event["time"], event["id"]))
    with open(target, "w", encoding="utf-8") as file:
        for fields in events:
            print(json.dumps(fields, ensure_ascii=False, separators=(",", ":")), file=file)
    print(f"{target}: {len(events)} events", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
