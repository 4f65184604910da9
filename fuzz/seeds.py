#!/usr/bin/env python3
"""Writes a corpus to begin from into corpus/, out of conformance/vectors: what is valid there, and what is nearly."""

import hashlib
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "conformance/vectors"


def tests(name):
    return json.loads((VECTORS / f"{name}.json").read_text())["tests"]


def seed(target, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


for name in ("batch_verify", "delegation", "malformed"):
    for test in tests(name):
        if "wire" in test["input"]:
            seed("batch", bytes.fromhex(test["input"]["wire"]))
for test in tests("header"):
    seed("header", bytes.fromhex(test["input"]["header"]))
for test in tests("delegation"):
    if "valid" in test["expect"] and "delegation" in test["expect"]["valid"]:
        seed("delegation", bytes.fromhex(test["expect"]["valid"]["delegation"]))
for test in tests("event_proof"):
    given = test["input"]
    path = "".join(given["path"])
    head = given["header"] + given["signature"] + f"{given['index']:04x}{len(given['path']):02x}"
    if len(given["signature"]) == 130:
        seed("event_proof", bytes.fromhex(head + path + given["leaf"]))
for test in tests("signature"):
    if "publicKey" in test["input"]:
        given = test["input"]
        seed("signature", bytes.fromhex(given["digest"] + given["publicKey"] + given["signature"]))
origin = bytes([1, 20]) + bytes(range(20)) + bytes(12)
seed("cursor", b"\x01" + bytes(8) + bytes(7) + b"\x05" + b"\x00\x03")
seed("cursor", b"\x02" + bytes(16) + b"\x80" + bytes(7) + origin + bytes(16) + b"\x00\x03")


FRAMES = [
    "(request = 1, ping = void)",
    "(request = 2, unsubscribe = 7)",
    "(request = 3, publish = durable)",
    f"(request = 4, signIn = (address = 0x\"{'5a' * 20}\", issuedAt = 1700000000000, signature = 0x\"{'01' * 65}\"))",
    f"(request = 5, subscribe = (stream = 0x\"{'5a' * 20}\", partition = 3, live = true, start = (now = void)))",
    f"(request = 6, subscribe = (stream = 0x\"{'5a' * 20}\", start = (last = 10)))",
    f"(request = 7, subscribe = (stream = 0x\"{'5a' * 20}\", start = (range = (from = 1, to = 2))))",
    f"(request = 8, subscribe = (stream = 0x\"{'5a' * 20}\", start = (cursor = (cursor = 0x\"01{'00' * 18}\"))))",
]
for frame in FRAMES:
    schema = HERE.parent / "schema/frame.capnp"
    head = subprocess.run(["capnp", "encode", schema, "ClientFrame"], input=frame.encode(), capture_output=True, check=True)
    body = b"body" if "publish" in frame else b""
    front = (4 + len(head.stdout) + len(body)).to_bytes(4, "little") + len(head.stdout).to_bytes(4, "little")
    seed("client_frame", b"\x05" + front + head.stdout + body)
