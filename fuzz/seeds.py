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


PARTITION = f"0x\"{'5a' * 20}0003\""
MEMBER = f"0114{'5a' * 20}{'00' * 12}{'00' * 7}09"
SERIES = f"0x\"{'5a' * 20}0003{MEMBER}\""
RANGE = f"(at = {PARTITION}, first = 0x\"{MEMBER}\", last = 0x\"{MEMBER}\")"
HASH = f"0x\"{'5a' * 32}\""
CURSOR = f"0x\"01{'00' * 18}\""
ERROR = '(code = "SERIES_GAP", message = "batches are missing")'
HEAD = f"(series = {SERIES}, nextSequence = 7, last = {HASH}, timestamp = 5, frozen = true)"
DIGEST = f"(count = 1, hash = {HASH})"
BATCH = next(bytes.fromhex(test["input"]["wire"]) for test in tests("batch_verify") if "valid" in test["expect"])
PEER_FRAMES = [
    ("(hello = (log = 1, epoch = 2, ready = true))", b""),
    ("(store = (durable = true))", BATCH),
    (f"(held = (series = {SERIES}, nextSequence = 3, last = {HASH}))", b""),
    (f"(notHeld = (series = {SERIES}, batch = {HASH}, error = {ERROR}))", b""),
    (f"(follow = (at = {PARTITION}, full = true, sinceMs = 5))", b""),
    (f"(notFollowed = (at = {PARTITION}, error = {ERROR}, instead = [0x\"{'5a' * 20}\"]))", b""),
    (f"(unfollow = {PARTITION})", b""),
    (f"(heads = [{HEAD}, {HEAD}])", b""),
    (f"(pull = (pull = 1, series = {SERIES}, until = 9, from = (ageMs = 5)))", b""),
    ("(pulled = 1)", BATCH),
    ("(pullEnd = (pull = 1, result = (done = (base = 1, more = true))))", b""),
    (f"(inventoried = (ask = 1, partitions = [(at = {PARTITION}, digest = {DIGEST})]))", b""),
    (f"(compare = (ask = 1, range = {RANGE}))", b""),
    (f"(compared = (ask = 1, summary = (parts = [(range = {RANGE}, digest = {DIGEST})])))", b""),
    (f"(proof = {len(BATCH)})", BATCH + BATCH),
    (f"(resolve = (read = 1, at = {PARTITION}, filter = (from = 1, to = 2), start = (cursor = {CURSOR})))", b""),
    (f"(read = (read = 1, at = {PARTITION}, cursor = {CURSOR}, filter = (), bytesMax = 9))", b""),
    (
        f"(pageOf = (read = 1, result = (page = (batches = [(bytes = {len(BATCH)}, cursor = {CURSOR})], next = {CURSOR}))))",
        BATCH,
    ),
]
for frame, body in PEER_FRAMES:
    schema = HERE.parent / "schema/peer.capnp"
    head = subprocess.run(["capnp", "encode", schema, "PeerFrame"], input=frame.encode(), capture_output=True, check=True)
    seed("peer_frame", len(head.stdout).to_bytes(4, "little") + head.stdout + body)


def plugin(target, kind, text, front=b""):
    schema = HERE.parent / "schema/plugin.capnp"
    message = subprocess.run(["capnp", "encode", schema, kind], input=text.encode(), capture_output=True, check=True)
    # Behind the table of segments, as there is one only.
    seed(target, front + message.stdout[8:])


COLUMNS = "columns = [(int64 = [1, 2]), (float64 = [0.5, 1.5]), (text = [\"a\", \"b\"]), (data = [0x\"01\", 0x\"0203\"])]"
EVENTS = "events = [(contentType = 1, content = 0x\"0102\"), (contentType = 2, content = 0x\"03\")]"
RECORD = '(place = %d, timestamp = 1700000000000, value = "a record")'
PLUGIN_REPLIES = [
    (0, 2, "(verdicts = [valid, untrusted])"),
    (0, 1, '(failed = (code = unavailable, message = "later"))'),
    (1, 1, f"(signatures = [0x\"{'5a' * 65}\"])"),
    (2, 1, f"(origin = (type = 200, value = 0x\"{'5a' * 32}\"))"),
    (2, 1, f"(origin = (type = 1, value = 0x\"{'5a' * 20}\"))"),
    (3, 0, "(done = void)"),
    (4, 0, f"(state = 0x\"{'5a' * 24}\")"),
    (5, 0, "(emitted = [])"),
    (5, 0, f"(emitted = [(port = 0, timestamps = [1, 2], {EVENTS}), (port = 1, timestamps = [3, 4], {COLUMNS})])"),
    (6, 2, f"(sealed = [0x\"{'5a' * 40}\", 0x\"{'5b' * 41}\"])"),
    (7, 4, '(opened = [(content = "plain"), (fault = forged), (fault = malformed), (content = "")])'),
    (8, 2, f"(wrapped = [0x\"{'5a' * 93}\", 0x\"{'5b' * 93}\"])"),
    (9, 1, f"(unwrapped = 0x\"{'5a' * 32}\")"),
    (10, 0, "(done = void)"),
    (10, 0, '(failed = (code = limit, message = "the disk is full"))'),
    # Of places 16 to 56: at most 11, and the whole of their values.
    (11, 40, f"(records = (records = [{RECORD % 16}, {RECORD % 20}], next = 56, damaged = [18, 30]))"),
    (11, 40, f"(records = (records = [{RECORD % 17}], next = 18))"),
    (11, 41, "(records = (records = [(place = 16, value = \"12345678\")], next = 57))"),
    (11, 40, "(records = (next = 56))"),
    # Of the places 0, 3, 6, 9, 12.
    (12, 5, f"(records = (records = [{RECORD % 0}, {RECORD % 9}], damaged = [3]))"),
]
for call, count, text in PLUGIN_REPLIES:
    plugin("plugin_reply", "Reply", text, bytes([call, count, 0, 0]))
CHECK = f"key = 0x\"{'02' * 33}\", message = 0x\"{'5a' * 32}\", signature = 0x\"{'5a' * 64}\""
SCHEMES = ["ecdsaSecp256k1", "ecdsaP256Sha256", "ecdsaP256Sha256Der", "ed25519", "rsaPkcs1Sha256", "rsaPssSha256", "ethereumAddress"]
PLUGIN_REQUESTS = [
    '(sha256 = ["a", "bc"])',
    '(keccak256 = ["", "bc"])',
    *(f"(check = (scheme = {scheme}, items = [({CHECK})]))" for scheme in SCHEMES),
    "(now = void)",
    "(random = 32)",
    '(log = (level = info, text = "a line"))',
    *(
        f'(blob = (name = "a-file.1", {does}))'
        for does in (
            "size = void",
            'append = "bytes"',
            "read = (offset = 1, length = 9)",
            'put = "bytes"',
            "sync = void",
            "cut = 3",
            "delete = void",
            "list = 9",
        )
    ),
    '(blob = (name = "../out", append = "bytes"))',
    '(http = (method = "PUT", url = "http://127.0.0.1:9/a?b", headers = [(name = "x-a", value = "b")], body = "c", bodyBytesMax = 9))',
    f"(chain = (to = 0x\"{'5a' * 20}\", input = 0x\"01020304\", at = 1700000000000))",
]
for text in PLUGIN_REQUESTS:
    plugin("plugin_request", "HostRequest", text, b"\xff")
FRONT = 'name = "seed", version = "1.2.3", description = "A seed", abi = (major = 1, minor = 0)'
SECTION = b"mainstem.manifest"
BACK = "limits = (memoryBytes = 1, fuel = 2, deadlineMs = 3)"
PORTS = 'inputs = [(name = "in", columns = [(name = "a", type = float64)])], outputs = [(name = "out")]'
PARAMETER = 'parameters = [(name = "p", description = "A number", type = int64, default = "1")]'
CLAIMS = [
    'claim = (signature = (signatureType = 200, originTypes = 0x"c801", signs = true))',
    f'claim = (operators = [(name = "one", description = "One", {PORTS}, {PARAMETER})])',
    "claim = (encryption = (encryptionType = 200, keyBytes = 32, wraps = true))",
    f'claim = (storage = (scheme = "files", {PARAMETER}))',
]
CAPABILITIES = ["crypto, log", "crypto, random, log", "crypto", "blob, clock, http"]
for claim, capabilities in zip(CLAIMS, CAPABILITIES):
    text = f"({FRONT}, {claim}, capabilities = [{capabilities}], {BACK})"
    plugin("plugin_manifest", "Manifest", text)
    schema = HERE.parent / "schema/plugin.capnp"
    message = subprocess.run(["capnp", "encode", schema, "Manifest"], input=text.encode(), capture_output=True, check=True)
    section = bytes([len(SECTION)]) + SECTION + message.stdout[8:]
    length = bytes([len(section) & 127 | 128, len(section) >> 7])
    seed("plugin_manifest", b"\0asm\1\0\0\0" + b"\0" + length + section)
