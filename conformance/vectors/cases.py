"""The cases of every vector file. Each function gives (notes, tests); ids are stable: cases are added or superseded, never
renumbered."""

import hashlib

import reference as ref

CHAIN, REGISTRY = 31337, bytes([0xC0] * 20)
NETWORK = ref.network_id(CHAIN, REGISTRY)
STREAM = bytes.fromhex("5a" * 20)
WALLET = 0xAC0974BEC39A17E36BA4A6B4D238FF944BACB478CBED5EFCAE784D7BF4F2FF80
SESSION = 0x59C6995E998F97A5A0044966F0945389DC9E86DAE88C7A8412F4603B6B78690D
OTHER = 0x5DE4111AFA1A4B94908F83103EB1F1706367C2E68CA870FC3FB9A804CDAB365A
T0 = 1_700_000_000_000
NO_ID = bytes(32)


def hex_(data: bytes) -> str:
    return data.hex()


def note(kind, description, effect):
    return {"bugType": kind, "description": description, "effect": effect}


BASIC = note("BASIC", "An ordinary value.", "Nothing works without it.")
LIMIT = note("EDGE_CASE", "The greatest or least value that is allowed.", "Honest data is refused.")
PAST_LIMIT = note("MISSING_STEP", "One more than is allowed.", "Bounds that others count on do not hold.")


class Cases:
    def __init__(self, area, notes):
        self.area, self.notes, self.tests = area, notes, []

    def add(self, name, comment, flags, given, expect):
        flags = flags.split()
        assert all(flag in self.notes for flag in flags), flags
        test = {"id": f"{self.area}/{name}", "comment": comment, "flags": flags, "input": given, "expect": expect}
        assert test["id"] not in {other["id"] for other in self.tests}, test["id"]
        self.tests.append(test)

    def valid(self, name, comment, flags, given, output):
        self.add(name, comment, flags, given, {"valid": output})

    def refused(self, name, comment, flags, given, phase, code, **more):
        self.add(name, comment, flags, given, {"phase": phase, "code": code, **more})


def network_json(chain=CHAIN, registry=REGISTRY):
    return {"chainId": str(chain), "registry": "0x" + registry.hex()}


def event(timestamp, content, content_type=2, encryption_type=0):
    return {
        "timestamp": timestamp,
        "contentType": content_type,
        "encryptionType": encryption_type,
        "content": content if isinstance(content, bytes) else content.encode(),
    }


def event_json(e):
    return e | {"timestamp": str(e["timestamp"]), "content": hex_(e["content"])}


def base_header(**changes):
    fields = {
        "network": NETWORK,
        "stream": STREAM,
        "partition": 7,
        "originType": 1,
        "origin": ref.address(WALLET),
        "series": 4,
        "sequence": 5,
        "count": 6,
        "previous": b"\x07" * 32,
        "merkleRoot": b"\x08" * 32,
        "timestampMin": T0,
        "timestampMax": T0 + 10,
        "signatureType": 1,
    }
    return fields | changes


def header_json(fields):
    out = {}
    for name, value in fields.items():
        if isinstance(value, bytes):
            out[name] = hex_(value)
        elif name in ("series", "sequence", "timestampMin", "timestampMax"):
            out[name] = str(value)
        else:
            out[name] = value
    return out


class Made:
    """A signed batch."""

    def __init__(self, events, secret=WALLET, chain=CHAIN, registry=REGISTRY, signed=None, delegation=b"", **changes):
        times = [e["timestamp"] for e in events]
        self.events = events
        self.fields = base_header(
            network=ref.network_id(chain, registry),
            sequence=0,
            previous=NO_ID,
            count=len(events),
            merkleRoot=ref.merkle_root([ref.leaf_hash(ref.leaf(e)) for e in events]),
            timestampMin=min(times),
            timestampMax=max(times),
        )
        self.fields |= changes
        self.header = ref.header(self.fields)
        self.id = ref.sha256(self.header)
        self.digest = ref.personal_digest(self.id)
        self.signature = ref.sign(secret, self.digest) if signed is None else signed
        self.delegation = delegation

    def wire(self, events=None, signature=None, delegation=None):
        return ref.wire(
            self.header,
            self.signature if signature is None else signature,
            self.delegation if delegation is None else delegation,
            self.events if events is None else events,
        )


THREE = [event(T0, '{"t":20.5}', 1), event(T0 + 3, b"\x00\xff"), event(T0 + 3, "grüezi", 3)]


def high_s(signature):
    s = ref.N - int.from_bytes(signature[32:64], "big")
    return signature[:32] + ref.be(s, 32) + bytes([55 - signature[64]])


# --- network_id.json --------------------------------------------------------------------------------------------------


def network_id():
    c = Cases("network_id", {"Basic": BASIC, "Limit": LIMIT})
    for name, comment, flag, chain, registry in [
        ("dev-chain", "chain 31337", "Basic", CHAIN, REGISTRY),
        ("mainnet", "chain 1", "Basic", 1, bytes(range(20))),
        ("other-registry", "the same chain, one bit of the registry changed", "Basic", CHAIN, REGISTRY[:-1] + b"\xc1"),
        ("zeros", "all zero", "Limit", 0, bytes(20)),
        ("greatest-chain", "the greatest chain id of 64 bits", "Limit", 2**64 - 1, b"\xff" * 20),
    ]:
        c.valid(name, comment, flag, network_json(chain, registry), {"networkId": hex_(ref.network_id(chain, registry))})
    return c


# --- header.json ------------------------------------------------------------------------------------------------------


def header():
    c = Cases(
        "header",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "PastLimit": PAST_LIMIT,
            "OneEncoding": note(
                "MALLEABILITY",
                "Bytes that say what other bytes say already.",
                "One batch has two ids; duplicates pass for equivocation.",
            ),
            "Domain": note(
                "MISSING_STEP",
                "The domain tag is not that of this format and version.",
                "A signature over something else passes for a batch.",
            ),
            "Chain": note(
                "MISSING_STEP",
                "Sequence and previous batch contradict each other.",
                "A series can have two beginnings.",
            ),
        },
    )

    def valid(name, comment, flags, **changes):
        fields = base_header(**changes)
        encoded = ref.header(fields)
        output = {"fields": header_json(fields), "batchId": hex_(ref.sha256(encoded))}
        c.valid(name, comment, flags, {"header": hex_(encoded)}, output)

    def refused(name, comment, flags, code="MALFORMED_BATCH", raw=None, **changes):
        encoded = ref.header(base_header(**changes)) if raw is None else raw
        c.refused(name, comment, flags, {"header": hex_(encoded)}, "decode", code)

    valid("plain", "every field at an ordinary value", "Basic")
    valid("first", "the first batch of a series", "Basic", sequence=0, previous=NO_ID)
    valid("delegated", "signature type 2", "Basic", signatureType=2)
    valid("unknown-signature-type", "types are not judged by the codec", "Basic", signatureType=255)
    valid("plugin-origin", "an origin of 32 bytes of a plugin's type", "Limit", originType=16, origin=bytes(range(1, 33)))
    valid("empty-origin", "an origin of no bytes of a plugin's type", "Limit", originType=255, origin=b"")
    valid("partition-0", "the least partition", "Limit", partition=0)
    valid("partition-99", "the greatest partition", "Limit", partition=99)
    valid("count-1", "one event", "Limit", count=1)
    valid("count-1024", "as many events as a batch can have", "Limit", count=1024)
    valid("span-60000", "60 seconds between first and last", "Limit", timestampMax=T0 + 60_000)
    valid("span-0", "all at one time", "Limit", timestampMax=T0)
    valid("before-1970", "negative timestamps", "Basic", timestampMin=-60_000, timestampMax=-1)
    valid("least-time", "the least timestamp of 64 bits", "Limit", timestampMin=-(2**63), timestampMax=-(2**63) + 60_000)
    valid("greatest-time", "the greatest timestamp of 64 bits", "Limit", timestampMin=2**63 - 60_001, timestampMax=2**63 - 1)
    valid("last-sequence", "the batch that ends the sequence", "Limit", sequence=2**64 - 7, count=6)
    valid("greatest-series", "series 2^64 - 1", "Limit", series=2**64 - 1)
    plain = ref.header(base_header())
    refused("empty", "no bytes", "OneEncoding", raw=b"")
    refused("short", "the last byte is missing", "OneEncoding", raw=plain[:-1])
    refused("long", "a byte more", "OneEncoding", raw=plain + b"\x00")
    refused("version-2", "mainstem/batch/2", "Domain", domain=b"mainstem/batch/2")
    refused("tag-case", "Mainstem/batch/1", "Domain", domain=b"Mainstem/batch/1")
    refused("tag-zero", "no tag", "Domain", domain=bytes(16))
    refused("partition-100", "one past the greatest", "PastLimit", "INVALID_PARTITION", partition=100)
    refused("partition-65535", "all bits set", "PastLimit", "INVALID_PARTITION", partition=65535)
    refused("partition-little-endian", "7 with its bytes swapped", "PastLimit", "INVALID_PARTITION", partition=0x0700)
    refused("origin-type-0", "type 0 is nobody's", "OneEncoding", originType=0)
    refused("address-19", "an Ethereum address of 19 bytes", "OneEncoding", origin=bytes([1] * 19))
    refused("address-21", "an Ethereum address of 21 bytes", "OneEncoding", origin=bytes([1] * 21))
    refused("origin-33", "a length past the field", "PastLimit", originType=16, originLength=33, origin=bytes([1] * 32))
    refused("origin-padding", "padding that is not zero", "OneEncoding", originLength=20, origin=bytes([1] * 20) + bytes(11) + b"\x01")
    refused("count-0", "no events", "PastLimit", "INVALID_EVENT_COUNT", count=0)
    refused("count-1025", "one event too many", "PastLimit", "INVALID_EVENT_COUNT", count=1025)
    refused("count-65535", "all bits set", "PastLimit", "INVALID_EVENT_COUNT", count=65535)
    refused("sequence-overflow", "the next sequence does not fit 64 bits", "PastLimit", sequence=2**64 - 6, count=6)
    refused("first-with-previous", "sequence 0 and a previous batch", "Chain", sequence=0)
    refused("later-without-previous", "sequence 5 and no previous batch", "Chain", previous=NO_ID)
    refused("time-backwards", "the greatest before the least", "PastLimit", "INVALID_TIMESTAMP", timestampMax=T0 - 1)
    refused("span-60001", "a millisecond too long", "PastLimit", "INVALID_TIMESTAMP", timestampMax=T0 + 60_001)
    refused(
        "span-overflow", "a span that overflows 64 bits", "PastLimit", "INVALID_TIMESTAMP",
        timestampMin=-(2**63), timestampMax=2**63 - 1,
    )
    refused(
        "span-negative-overflow", "a negative span that overflows 64 bits", "PastLimit", "INVALID_TIMESTAMP",
        timestampMin=2**63 - 1, timestampMax=-(2**63),
    )
    return c


# --- merkle.json ------------------------------------------------------------------------------------------------------


def merkle():
    c = Cases(
        "merkle",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "Foreign": note("BASIC", "Leaves and root as in Certificate Transparency's own tests.", "Not RFC 6962."),
            "Unbalanced": note(
                "WRONG_PRIMITIVE",
                "A count that is no power of two.",
                "A tree that doubles its last leaf (as Bitcoin's) can be had from two lists.",
            ),
            "Path": note("MISSING_STEP", "A path of another length or order than place and count ask for.", "False proofs pass."),
            "SecondPreimage": note("MISSING_STEP", "An inner node shown as a leaf.", "An event that nobody made is proven."),
        },
    )
    foreign = [bytes.fromhex(t) for t in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    for n in range(9):
        hashes = [ref.leaf_hash(leaf) for leaf in foreign[:n]]
        c.valid(
            f"foreign-{n}", f"the first {n} leaves of Certificate Transparency's tests", "Foreign",
            {"leaves": [hex_(leaf) for leaf in foreign[:n]]},
            {
                "leafHashes": [hex_(h) for h in hashes],
                "root": hex_(ref.merkle_root(hashes)),
                "paths": [[hex_(h) for h in ref.merkle_path(hashes, i)] for i in range(n)],
            },
        )
    for n, flag in [(11, "Unbalanced"), (16, "Basic"), (17, "Unbalanced"), (33, "Unbalanced"), (1000, "Unbalanced"), (1023, "Unbalanced"), (1024, "Limit")]:
        hashes = [ref.leaf_hash(ref.be(i, 8)) for i in range(n)]
        c.valid(
            f"numbers-{n}", f"{n} leaves; leaf i is i in 8 bytes, big-endian", flag, {"numbers": n},
            {"root": hex_(ref.merkle_root(hashes)), "lastPath": [hex_(h) for h in ref.merkle_path(hashes, n - 1)]},
        )
    hashes = [ref.leaf_hash(ref.be(i, 8)) for i in range(6)]
    root, path = ref.merkle_root(hashes), ref.merkle_path(hashes, 4)

    def proof(name, comment, flags, leaf, index, count, path, holds=False):
        given = {"leafHash": hex_(leaf), "index": index, "count": count, "path": [hex_(h) for h in path], "root": hex_(root)}
        if holds:
            c.valid(name, comment, flags, given, {})
        else:
            c.refused(name, comment, flags, given, "verify", "MERKLE_ROOT_MISMATCH")

    proof("path-good", "leaf 4 of 6", "Path", hashes[4], 4, 6, path, True)
    proof("path-place", "shown at another place", "Path", hashes[4], 5, 6, path)
    proof("path-count", "another count, for which the path is too short", "Path", hashes[4], 4, 9, path)
    proof("path-index-past-count", "a place that the count does not have", "Path", hashes[4], 6, 6, path)
    proof("path-count-0", "no leaves", "Path", hashes[4], 0, 0, [])
    proof("path-short", "the uppermost sibling is missing", "Path", hashes[4], 4, 6, path[:-1])
    proof("path-long", "a sibling too many", "Path", hashes[4], 4, 6, path + [NO_ID])
    proof("path-order", "siblings from the root down", "Path", hashes[4], 4, 6, path[::-1])
    proof("path-leaf", "another leaf", "Path", hashes[3], 4, 6, path)
    inner = ref.node_hash(hashes[4], hashes[5])
    proof("node-as-leaf", "an inner node as leaf of the real count", "SecondPreimage", inner, 4, 6, path[1:])
    proof(
        "node-as-leaf-other-count", "holds: hashes alone cannot tell; the signed count and the leaf's 0x00 do",
        "SecondPreimage", inner, 1, 2, path[1:], True,
    )
    return c


# --- signature.json ---------------------------------------------------------------------------------------------------


def signature():
    c = Cases(
        "signature",
        {
            "Basic": BASIC,
            "Nonce": note("WEAK_NONCE", "RFC 6979 gives one signature for one key and digest.", "Two nonces or weak ones give the key away."),
            "DigestPastOrder": note(
                "EDGE_CASE",
                "The digest is not below the curve order; RFC 6979 takes it modulo the order (section 2.3.4).",
                "Some libraries take it as it is and find another nonce: their signature differs and holds as well.",
            ),
            "HighS": note("MALLEABILITY", "s in the upper half of the order (EIP-2).", "Anybody can make a second signature of one message."),
            "Range": note("MISSING_STEP", "r, s or v out of range.", "Forgeries, or panics in the curve code."),
            "Form": note("MALLEABILITY", "Another form than 65 bytes r, s, v with v 27 or 28.", "One signature has several forms."),
            "Forgery": note("AUTH_BYPASS", "Not the signature of this key over this digest.", "Anybody can speak for anybody."),
        },
    )
    for name, secret in [("1", 1), ("2", 2), ("wallet", WALLET), ("session", SESSION), ("order-minus-1", ref.N - 1)]:
        for label, digest in [("hash", ref.sha256(b"Satoshi Nakamoto")), ("zeros", bytes(32)), ("ones", b"\xff" * 32)]:
            c.valid(
                f"sign-{name}-{label}", f"key {name} signs a digest of {label}",
                "Nonce DigestPastOrder" if label == "ones" else "Nonce",
                {"secretKey": hex_(ref.be(secret, 32)), "digest": hex_(digest)},
                {
                    "publicKey": hex_(ref.sec1(ref.public_key(secret))),
                    "address": ref.checksummed(ref.address(secret)),
                    "signature": hex_(ref.sign(secret, digest)),
                },
            )
    for name, message in [("empty", b""), ("hello", b"hello"), ("32-bytes", bytes(range(32))), ("100-bytes", b"x" * 100)]:
        digest = ref.personal_digest(message)
        c.valid(
            f"personal-{name}", "EIP-191 version E: the length is in decimal digits", "Basic",
            {"secretKey": hex_(ref.be(WALLET, 32)), "message": hex_(message)},
            {"digest": hex_(digest), "signature": hex_(ref.sign(WALLET, digest))},
        )
    for name, secret in [("zero", bytes(32)), ("order", ref.be(ref.N, 32)), ("past-order", b"\xff" * 32)]:
        c.refused(f"key-{name}", "no secret key of secp256k1", "Range", {"secretKey": hex_(secret), "digest": hex_(bytes(32))}, "decode", "INVALID_SIGNATURE")
    digest = ref.sha256(b"digest")
    good = ref.sign(WALLET, digest)
    r, s, v = good[:32], good[32:64], good[64:]

    def check(name, comment, flags, bytes_, phase="decode", digest=digest, holds=False):
        given = {"address": "0x" + ref.address(WALLET).hex(), "publicKey": hex_(ref.sec1(ref.public_key(WALLET))), "digest": hex_(digest), "signature": hex_(bytes_)}
        assert (ref.recover(digest, bytes_.ljust(65, b"\x00")) == ref.address(WALLET) and len(bytes_) == 65) == holds, name
        if holds:
            c.valid(name, comment, flags, given, {})
        else:
            c.refused(name, comment, flags, given, phase, "INVALID_SIGNATURE")

    check("good", "as it should be", "Basic", good, holds=True)
    check("high-s", "the twin with high s", "HighS", high_s(good))
    check("high-s-same-v", "high s with v as it was", "HighS", high_s(good)[:64] + v)
    half = ref.N // 2
    check("s-half", "s of half the order, rounded down: in range, and wrong", "Range Forgery", r + ref.be(half, 32) + v, "verify")
    check("s-half-plus-1", "the least high s", "HighS", r + ref.be(half + 1, 32) + v)
    for name, number in [("zero", 0), ("order", ref.N), ("order-plus-1", ref.N + 1), ("prime", ref.P), ("ones", 2**256 - 1)]:
        check(f"r-{name}", f"r is {name}", "Range", ref.be(number, 32) + s + v)
        check(f"s-{name}", f"s is {name}", "Range", r + ref.be(number, 32) + v)
    for number in (0, 1, 2, 26, 29, 30, 35, 255):
        check(f"v-{number}", f"v is {number}", "Form", r + s + bytes([number]))
    check("v-other", "v of the other point", "Forgery", r + s + bytes([55 - v[0]]), "verify")
    check("empty", "no bytes", "Form", b"")
    check("64-bytes", "without v", "Form", r + s)
    check("compact", "EIP-2098: v in the top bit of s", "Form", r + bytes([s[0] | (v[0] - 27) << 7]) + s[1:])
    check("66-bytes", "a byte more", "Form", good + b"\x00")
    check("v-first", "v, r, s", "Form", v + r + s)
    check("swapped", "s, r, v", "Forgery", s + r + v, "verify" if int.from_bytes(r, "big") <= half else "decode")
    check("other-key", "signed by another key", "Forgery", ref.sign(OTHER, digest), "verify")
    check("other-digest", "over another digest", "Forgery", good, "verify", ref.sha256(b"other"))
    check("r-one", "the least r", "Forgery", ref.be(1, 32) + s + v, "verify")
    check("s-one", "the least s", "Forgery", r + ref.be(1, 32) + v, "verify")
    return c


# --- batch_id.json: from fields and events to signed bytes ------------------------------------------------------------


def batch_output(made):
    return {
        "leaves": [hex_(ref.leaf(e)) for e in made.events],
        "merkleRoot": hex_(made.fields["merkleRoot"]),
        "header": hex_(made.header),
        "batchId": hex_(made.id),
        "digest": hex_(made.digest),
        "signature": hex_(made.signature),
        "wire": hex_(made.wire()),
    }


def batch_input(made, secret):
    names = ("stream", "partition", "series", "sequence", "previous")
    fields = header_json(made.fields)
    return {
        "network": network_json(),
        "secretKey": hex_(ref.be(secret, 32)),
        **{name: fields[name] for name in names},
        "events": [event_json(e) for e in made.events],
    }


def batch_id():
    c = Cases(
        "batch_id",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "Carried": note("EDGE_CASE", "Types that the format does not know.", "Newer publishers are refused by older nodes."),
            "Order": note("EDGE_CASE", "Timestamps that do not rise within the batch.", "Order is the series' own, not time's."),
            "Empty": note("EDGE_CASE", "Empty content is content.", "Events vanish."),
        },
    )

    def valid(name, comment, flags, events, secret=WALLET, **changes):
        made = Made(events, secret, origin=ref.address(secret), **changes)
        c.valid(name, comment, flags, batch_input(made, secret), batch_output(made))
        return made

    valid("one-json", "a batch of one: the white paper's event", "Basic", [event(T0, '{"hello":"world"}', 1)])
    first = valid("three", "JSON, binary, text", "Basic", THREE)
    valid("second", "the batch after `three`", "Basic", THREE[:2], sequence=3, previous=first.id)
    valid("other-wallet", "another origin, partition and series", "Basic", THREE, OTHER, partition=0, series=2**64 - 1)
    valid("empty-content", "one event of no bytes", "Empty", [event(T0, b"")])
    valid("empty-among-full", "empty content between others", "Empty", [event(T0, b""), event(T0, b"x"), event(T0, b"")])
    valid("falling-times", "later events with earlier timestamps", "Order", [event(T0 + 5, "a"), event(T0, "b"), event(T0 + 3, "c")])
    valid("before-1970", "negative timestamps", "Limit", [event(-(2**63), "a"), event(-(2**63) + 60_000, "b")])
    valid("unknown-types", "content type 65535, encryption type 513", "Carried", [event(T0, "sealed", 65535, 513)])
    valid("type-zero", "content type 0", "Carried", [event(T0, "?", 0)])
    valid("word-edges", "contents of 7, 8 and 9 bytes", "Limit", [event(T0, b"a" * 7), event(T0, b"a" * 8), event(T0, b"a" * 9)])
    valid("257-events", "more events than a byte counts", "Limit", [event(T0 + i, str(i), 3) for i in range(257)])
    return c


# --- batch_verify.json: what is proven of bytes that decode -----------------------------------------------------------


def delegate(streams=(), expiry=1_800_000_000, chain=CHAIN, registry=REGISTRY, wallet=WALLET, session=SESSION):
    streams, key = list(streams), ref.address(session)
    digest = ref.delegation_digest(chain, registry, key, streams, expiry)
    return ref.delegation(key, streams, expiry, ref.sign(wallet, digest))


def wired(c):
    def valid(name, comment, flags, made, **changes):
        output = {"batchId": hex_(made.id), "events": len(made.events)}
        c.valid(name, comment, flags, {"network": network_json(), "wire": hex_(made.wire(**changes))}, output)

    def refused(name, comment, flags, made, code, phase="verify", **changes):
        wire = made if isinstance(made, bytes) else made.wire(**changes)
        c.refused(name, comment, flags, {"network": network_json(), "wire": hex_(wire)}, phase, code)

    return valid, refused


def batch_verify():
    c = Cases(
        "batch_verify",
        {
            "Basic": BASIC,
            "Replay": note("AUTH_BYPASS", "Signed for another chain or registry.", "What was published on a test network appears on another."),
            "Unknown": note("MISSING_STEP", "A signature type that nobody here can check.", "Unsigned data passes."),
            "Forgery": note("AUTH_BYPASS", "Not the origin's signature over this header.", "Anybody can speak for anybody."),
            "Malleable": note("MALLEABILITY", "Another form of a good signature.", "One batch has two forms."),
            "WrongMessage": note("WRONG_PRIMITIVE", "The right key over something near the right digest.", "Implementations disagree."),
            "Events": note("AUTH_BYPASS", "Events that are not those of the signed root.", "Data is changed on the way."),
            "Times": note("MISSING_STEP", "The signed time range is not that of the events.", "History by time misses or repeats events."),
        },
    )
    valid, refused = wired(c)
    made = Made(THREE)
    valid("good", "as it should be", "Basic", made)
    refused("other-chain", "chain 1", "Replay", Made(THREE, chain=1), "WRONG_NETWORK")
    refused("other-registry", "another registry", "Replay", Made(THREE, registry=bytes([0xC1] * 20)), "WRONG_NETWORK")
    for kind in (0, 3, 15, 16, 255):
        refused(f"type-{kind}", f"signature type {kind}, signed as type 1", "Unknown", Made(THREE, signatureType=kind), "UNKNOWN_SIGNATURE_TYPE")
    refused("origin-type-2", "origin type 2 with signature type 1", "Unknown", Made(THREE, originType=2), "UNKNOWN_ORIGIN_TYPE")
    refused("origin-type-16", "a plugin's origin with signature type 1", "Unknown", Made(THREE, originType=16), "UNKNOWN_ORIGIN_TYPE")
    refused("other-key", "signed by another key", "Forgery", Made(THREE, OTHER), "INVALID_SIGNATURE")
    refused("other-batch", "the signature of another batch", "Forgery", made, "INVALID_SIGNATURE", signature=Made(THREE[:2]).signature)
    refused("zeros", "65 zero bytes", "Forgery", made, "INVALID_SIGNATURE", signature=bytes(65))
    refused("no-signature", "no bytes", "Forgery", made, "INVALID_SIGNATURE", signature=b"")
    refused("other-v", "v of the other point", "Forgery", made, "INVALID_SIGNATURE", signature=made.signature[:64] + bytes([55 - made.signature[64]]))
    refused("high-s", "the twin with high s", "Malleable", made, "INVALID_SIGNATURE", signature=high_s(made.signature))
    refused("v-0-1", "v counted from 0", "Malleable", made, "INVALID_SIGNATURE", signature=made.signature[:64] + bytes([made.signature[64] - 27]))
    refused("64-bytes", "without v", "Malleable", made, "INVALID_SIGNATURE", signature=made.signature[:64])
    refused("66-bytes", "a byte more", "Malleable", made, "INVALID_SIGNATURE", signature=made.signature + b"\x00")
    refused("idle-delegation", "a delegation beside signature type 1", "Malleable", made, "MALFORMED_BATCH", delegation=delegate())
    for name, comment, digest in [
        ("bare-id", "the batch id itself, without EIP-191", made.id),
        ("hex-id", "personal_sign over the id's hex text", ref.personal_digest(made.id.hex().encode())),
        ("0x-id", "personal_sign over the id's hex text with 0x", ref.personal_digest(b"0x" + made.id.hex().encode())),
        ("whole-header", "personal_sign over the header", ref.personal_digest(made.header)),
        ("keccak-id", "the id by Keccak", ref.personal_digest(ref.keccak256(made.header))),
        ("twice", "SHA-256 of the id", ref.personal_digest(ref.sha256(made.id))),
    ]:
        refused(f"signed-{name}", comment, "WrongMessage", made, "INVALID_SIGNATURE", signature=ref.sign(WALLET, digest))
    a, b, d = THREE
    refused("content-bit", "one bit of one content", "Events", made, "MERKLE_ROOT_MISMATCH", events=[a, event(T0 + 3, b"\x01\xff"), d])
    refused("content-type", "another content type", "Events", made, "MERKLE_ROOT_MISMATCH", events=[a | {"contentType": 3}, b, d])
    refused("encryption-type", "another encryption type", "Events", made, "MERKLE_ROOT_MISMATCH", events=[a | {"encryptionType": 1}, b, d])
    refused("swapped", "two events swapped", "Events", made, "MERKLE_ROOT_MISMATCH", events=[a, d, b])
    refused("timestamp-within", "a timestamp within the range", "Events", Made([a, b, d, event(T0 + 9, "z")]), "MERKLE_ROOT_MISMATCH", events=[a, b | {"timestamp": T0 + 4}, d, event(T0 + 9, "z")])
    refused("appended-zero", "a zero byte behind a content", "Events", made, "MERKLE_ROOT_MISMATCH", events=[a, event(T0 + 3, b"\x00\xff\x00"), d])
    doubled = ref.merkle_root([ref.leaf_hash(ref.leaf(e)) for e in [a, b, d, d]])
    refused("doubled-last", "the root of a tree that doubles its last leaf", "Events", Made(THREE, merkleRoot=doubled), "MERKLE_ROOT_MISMATCH")
    no_prefix = ref.sha256(ref.leaf(a))
    refused("no-leaf-prefix", "the root of a tree without 0x00 before leaves", "Events", Made([a], merkleRoot=no_prefix), "MERKLE_ROOT_MISMATCH")
    refused("min-earlier", "the least timestamp is earlier than any event's", "Times", Made(THREE, timestampMin=T0 - 1), "INVALID_TIMESTAMP")
    refused("max-later", "the greatest timestamp is later than any event's", "Times", Made(THREE, timestampMax=T0 + 4), "INVALID_TIMESTAMP")
    refused("min-later", "the least timestamp is later than an event's", "Times", Made(THREE, timestampMin=T0 + 1), "INVALID_TIMESTAMP")
    return c


# --- delegation.json --------------------------------------------------------------------------------------------------


def delegation():
    c = Cases(
        "delegation",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "PastLimit": PAST_LIMIT,
            "TypedData": note("WRONG_PRIMITIVE", "Signed in another domain or by another encoding of the type.", "Wallets show one thing and sign another."),
            "Forgery": note("AUTH_BYPASS", "Not the wallet's leave for this key and stream.", "A session key speaks for a wallet that did not name it."),
            "Form": note("MALLEABILITY", "Bytes that are not the one encoding.", "One batch has two forms."),
        },
    )
    streams = [bytes([i] * 20) for i in range(1, 130)]
    for name, comment, flag, chosen, expiry, chain, registry in [
        ("all-streams", "an empty list: all that the wallet may", "Basic", [], 1_800_000_000, CHAIN, REGISTRY),
        ("one-stream", "one stream", "Basic", [STREAM], 1_800_000_000, CHAIN, REGISTRY),
        ("two-streams", "two streams, mainnet", "Basic", streams[:2], 1, 1, bytes(range(20))),
        ("128-streams", "as many as can be named", "Limit", streams[:128], 2**64 - 1, 2**64 - 1, REGISTRY),
        ("expiry-0", "expired since 1970: for who knows the time", "Limit", [STREAM], 0, CHAIN, REGISTRY),
    ]:
        key = ref.address(SESSION)
        digest = ref.delegation_digest(chain, registry, key, chosen, expiry)
        c.valid(
            f"sign-{name}", comment, flag,
            {
                "network": network_json(chain, registry),
                "walletKey": hex_(ref.be(WALLET, 32)),
                "sessionKey": "0x" + key.hex(),
                "streams": ["0x" + stream.hex() for stream in chosen],
                "expiry": str(expiry),
            },
            {
                "domainSeparator": hex_(ref.domain_separator(chain, registry)),
                "structHash": hex_(ref.delegation_hash(key, chosen, expiry)),
                "digest": hex_(digest),
                "delegation": hex_(ref.delegation(key, chosen, expiry, ref.sign(WALLET, digest))),
                "wallet": "0x" + ref.address(WALLET).hex(),
            },
        )
    valid, refused = wired(c)

    def made(delegation=None, secret=SESSION, **changes):
        return Made(THREE, secret, delegation=delegate() if delegation is None else delegation, **{"signatureType": 2} | changes)

    def forged(digest, session=SESSION):
        return ref.delegation(ref.address(session), [], 1_800_000_000, ref.sign(WALLET, digest))

    key = ref.address(SESSION)
    bare = ref.delegation_hash(key, [], 1_800_000_000)
    bad = "INVALID_DELEGATION"
    valid("batch-all-streams", "a batch signed by a session key", "Basic", made())
    valid("batch-one-stream", "the delegation names the stream", "Basic", made(delegate([STREAM])))
    valid("batch-last-of-128", "the stream is the last of 128", "Limit", made(delegate(streams[:127] + [STREAM])))
    refused("other-stream", "the delegation names another stream", "Forgery", made(delegate([streams[0]])), bad)
    refused("other-wallet", "signed by another wallet than the origin", "Forgery", made(delegate(wallet=OTHER)), bad)
    refused("session-signs-for-itself", "the session key signed its own delegation", "Forgery", made(delegate(wallet=SESSION)), bad)
    refused("other-session", "the batch is signed by another key than the one named", "Forgery", made(secret=OTHER), "INVALID_SIGNATURE")
    refused("wallet-itself", "the batch is signed by the wallet, as type 2", "Forgery", made(secret=WALLET), "INVALID_SIGNATURE")
    refused("other-chain", "signed in the domain of chain 1", "TypedData", made(delegate(chain=1)), bad)
    refused("other-registry", "signed in the domain of another registry", "TypedData", made(delegate(registry=bytes(20))), bad)
    refused("no-domain", "the struct hash alone", "TypedData", made(forged(bare)), bad)
    refused("personal-sign", "personal_sign over the digest", "TypedData", made(forged(ref.personal_digest(ref.delegation_digest(CHAIN, REGISTRY, key, [], 1_800_000_000)))), bad)
    packed = ref.keccak256(
        b"\x19\x01" + ref.domain_separator(CHAIN, REGISTRY)
        + ref.keccak256(
            ref.keccak256(b"Delegation(address sessionKey,address[] streams,uint64 expiry)")
            + ref.word(key) + ref.keccak256(STREAM) + ref.word(1_800_000_000)
        )
    )
    refused("packed-streams", "addresses of the list not padded to words", "TypedData", made(ref.delegation(key, [STREAM], 1_800_000_000, ref.sign(WALLET, packed))), bad)
    refused("expiry-changed", "another expiry than the one signed", "Forgery", made(ref.delegation(key, [], 1_800_000_001, delegate()[-65:])), bad)
    refused("stream-added", "a stream more than was signed", "Forgery", made(ref.delegation(key, [STREAM], 1_800_000_000, delegate([])[-65:])), bad)
    refused("missing", "no delegation", "Form", made(b""), bad)
    refused("short", "the last byte is missing", "Form", made(delegate()[:-1]), bad)
    refused("long", "a byte more", "Form", made(delegate() + b"\x00"), bad)
    refused("count-lies", "counts a stream that is not there", "Form", made(delegate()[:29] + b"\x01" + delegate()[30:]), bad)
    refused("high-s", "the wallet's signature with high s", "Form", made(delegate()[:-65] + high_s(delegate()[-65:])), bad)
    refused("129-streams", "one stream too many, rightly signed", "PastLimit", made(delegate(streams[:128] + [STREAM])), bad)
    refused("as-type-1", "signed by the session key, sent as type 1", "Forgery", made(b"", signatureType=1), "INVALID_SIGNATURE")
    return c


# --- event_proof.json -------------------------------------------------------------------------------------------------


def event_proof():
    c = Cases(
        "event_proof",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "Path": note("AUTH_BYPASS", "Path, place or leaf do not lead to the signed root.", "An event that nobody made is proven."),
            "SecondPreimage": note("MISSING_STEP", "An inner node shown as a leaf.", "An event that nobody made is proven."),
            "Signature": note("AUTH_BYPASS", "The header does not hold.", "An event that nobody signed is proven."),
            "Form": note("MALLEABILITY", "The leaf is not what its own length says.", "One event has two forms."),
        },
    )

    def given(made, index, **changes):
        hashes = [ref.leaf_hash(ref.leaf(e)) for e in made.events]
        value = {
            "network": network_json(),
            "header": hex_(made.header),
            "signature": hex_(made.signature),
            "delegation": hex_(made.delegation),
            "index": index,
            "leaf": hex_(ref.leaf(made.events[index])) if index < len(made.events) else "",
            "path": [hex_(h) for h in ref.merkle_path(hashes, index)] if index < len(made.events) else [],
        }
        return value | changes

    def refused(name, comment, flags, code, value, phase="verify"):
        c.refused(name, comment, flags, value, phase, code)

    events = [event(T0 + i, f"event {i}", 3) for i in range(6)]
    made = Made(events)
    for i in range(6):
        c.valid(f"place-{i}", f"event {i} of 6", "Basic", given(made, i), {})
    c.valid("alone", "a batch of one has an empty path", "Limit", given(Made(events[:1]), 0), {})
    c.valid("delegated", "signature type 2", "Basic", given(Made(events, SESSION, delegation=delegate(), signatureType=2), 2), {})
    mismatch = "MERKLE_ROOT_MISMATCH"
    good = given(made, 4)
    other = ref.leaf(event(T0 + 4, "event X", 3))
    refused("other-leaf", "another content", "Path", mismatch, good | {"leaf": hex_(other)})
    refused("other-time", "another timestamp", "Path", mismatch, good | {"leaf": hex_(ref.leaf(event(T0 + 5, "event 4", 3)))})
    refused("other-place", "another place", "Path", mismatch, good | {"index": 5})
    refused("place-past-count", "a place that the batch does not have", "Path", mismatch, good | {"index": 6})
    refused("place-past-depth", "a place that has the same low bits", "Path", mismatch, good | {"index": 12})
    refused("path-short", "the uppermost sibling is missing", "Path", mismatch, good | {"path": good["path"][:-1]})
    refused("path-long", "a sibling too many", "Path", mismatch, good | {"path": good["path"] + ["00" * 32]})
    refused("path-order", "siblings from the root down", "Path", mismatch, good | {"path": good["path"][::-1]})
    refused("path-bit", "one bit of a sibling", "Path", mismatch, good | {"path": ["%064x" % (int(good["path"][0], 16) ^ 1)] + good["path"][1:]})
    lone = Made([event(T0, "a")])
    hashes = [ref.leaf_hash(ref.leaf(e)) for e in events]
    node = b"\x01" + hashes[4] + hashes[5]
    shaped = event(int.from_bytes(node[:8], "big", signed=True), node[16:])
    refused("node-as-leaf", "the bytes of an inner node, as far as a leaf can have them", "SecondPreimage", mismatch, good | {"leaf": hex_(ref.leaf(shaped)), "path": good["path"][1:]})
    refused("root-of-other", "the header of another batch", "Path", mismatch, good | {"header": hex_(lone.header), "signature": hex_(lone.signature)})
    refused("other-key", "signed by another key", "Signature", "INVALID_SIGNATURE", given(Made(events, OTHER), 4))
    refused("high-s", "the signature with high s", "Signature", "INVALID_SIGNATURE", good | {"signature": hex_(high_s(made.signature))})
    refused("other-chain", "signed for another chain", "Signature", "WRONG_NETWORK", given(Made(events, chain=1), 4))
    refused("type-16", "a plugin's signature type", "Signature", "UNKNOWN_SIGNATURE_TYPE", given(Made(events, signatureType=16), 4))
    refused("time-outside", "the signed range does not hold the event's time", "Signature", "INVALID_TIMESTAMP", given(Made(events, timestampMax=T0 + 3), 4))
    refused("header-count", "a header that does not decode", "Form", "INVALID_EVENT_COUNT", good | {"header": hex_(made.header[:120] + b"\x00\x00" + made.header[122:])}, "decode")
    leaf = ref.leaf(events[4])
    refused("leaf-15", "a leaf of 15 bytes", "Form", "MALFORMED_BATCH", good | {"leaf": hex_(leaf[:15])}, "decode")
    refused("leaf-empty", "no leaf", "Form", "MALFORMED_BATCH", good | {"leaf": ""}, "decode")
    refused("leaf-short", "a byte less than the length says", "Form", "MALFORMED_BATCH", good | {"leaf": hex_(leaf[:-1])}, "decode")
    refused("leaf-long", "a byte more than the length says", "Form", "MALFORMED_BATCH", good | {"leaf": hex_(leaf + b"\x00")}, "decode")
    return c


# --- series_chain.json ------------------------------------------------------------------------------------------------


def series_chain():
    c = Cases(
        "series_chain",
        {
            "Basic": BASIC,
            "Gap": note("MISSING_STEP", "Batches before this one are missing.", "Events are lost and nobody sees it."),
            "Fork": note("MISSING_STEP", "The number fits, the previous batch is another.", "Two histories pass for one."),
            "Past": note("MISSING_STEP", "The place is taken.", "A publisher rewrites what it said."),
            "Time": note("MISSING_STEP", "The time of a series does not go back.", "History by time is not the order of the series."),
        },
    )

    def chain(*steps):
        """Headers of (sequence, previous, count, time)."""
        out = []
        for sequence, previous, count, time in steps:
            previous = out[previous] if isinstance(previous, int) else previous
            previous = ref.sha256(previous) if previous else NO_ID
            out.append(ref.header(base_header(sequence=sequence, previous=previous, count=count, timestampMin=time, timestampMax=time, merkleRoot=ref.be(len(out), 32))))
        return out

    def valid(name, comment, flags, headers, verdict="next"):
        last = headers[-1]
        sequence = int.from_bytes(last[112:120], "big") + int.from_bytes(last[120:122], "big")
        output = {"verdict": verdict, "next": str(sequence), "last": hex_(ref.sha256(last))}
        c.valid(name, comment, flags, {"headers": [hex_(h) for h in headers]}, output)

    def refused(name, comment, flags, headers, code, verdict):
        c.refused(name, comment, flags, {"headers": [hex_(h) for h in headers]}, "order", code, verdict=verdict)

    one = chain((0, None, 3, T0))
    two = chain((0, None, 3, T0), (3, 0, 2, T0 + 1))
    three = chain((0, None, 3, T0), (3, 0, 2, T0 + 1), (5, 1, 1, T0 + 1))
    valid("first", "a series begins at 0", "Basic", one)
    valid("second", "the second goes on from the first", "Basic", two)
    valid("third", "at the same time as the second", "Basic Time", three)
    valid("duplicate", "the last batch once more", "Past", two + [two[1]], "duplicate")
    valid("duplicate-first", "the first batch once more", "Past", two + [two[0]], "duplicate")
    refused("begins-at-5", "a series that does not begin at 0", "Gap", chain((5, b"x", 1, T0)), "SERIES_GAP", "gap")
    refused("gap", "the second batch is missing", "Gap", [three[0], three[2]], "SERIES_GAP", "gap")
    refused("gap-of-one", "the number is one too high", "Gap", chain((0, None, 3, T0), (4, 0, 2, T0)), "SERIES_GAP", "gap")
    refused("far-ahead", "near the end of 64 bits", "Gap", chain((0, None, 3, T0), (2**64 - 2, 0, 1, T0)), "SERIES_GAP", "gap")
    refused("fork", "goes on from a batch that was never the last", "Fork", chain((0, None, 3, T0), (3, b"x", 2, T0)), "SERIES_GAP", "fork")
    refused("skips-back", "goes on from the last but one", "Fork", chain((0, None, 3, T0), (3, 0, 2, T0), (5, 0, 1, T0)), "SERIES_GAP", "fork")
    refused("second-first", "another first batch", "Past", chain((0, None, 3, T0), (0, None, 3, T0)), "EQUIVOCATION", "past")
    refused("second-second", "another second batch", "Past", chain((0, None, 3, T0), (3, 0, 2, T0), (3, 0, 2, T0)), "EQUIVOCATION", "past")
    refused("shorter-second", "another second batch, with fewer events", "Past", chain((0, None, 3, T0), (3, 0, 2, T0), (3, 0, 1, T0)), "EQUIVOCATION", "past")
    refused("backdated", "a millisecond before the last batch", "Time", chain((0, None, 3, T0), (3, 0, 2, T0 - 1)), "INVALID_TIMESTAMP", "backdated")
    return c


# --- equivocation.json ------------------------------------------------------------------------------------------------


def equivocation():
    c = Cases(
        "equivocation",
        {
            "Basic": BASIC,
            "NoConflict": note("MISSING_STEP", "Two batches that an honest publisher can have signed.", "An honest publisher is frozen out."),
            "Forgery": note("AUTH_BYPASS", "One of the two was not signed by the origin.", "Anybody can freeze anybody's series."),
        },
    )

    def given(a, b):
        return {"network": network_json(), "first": hex_(a.wire()), "second": hex_(b.wire())}

    one, two, three = [event(T0, "1")], [event(T0, "2")], [event(T0, "3"), event(T0, "4"), event(T0, "5")]
    a, b = Made(one), Made(two)
    long, late = Made(three), Made(two, sequence=2, previous=a.id)
    valid = lambda name, comment, x, y: c.valid(name, comment, "Basic", given(x, y), {})
    refused = lambda name, comment, flags, x, y, code: c.refused(name, comment, flags, given(x, y), "verify", code)
    valid("first", "two first batches", a, b)
    valid("first-turned", "the same, the other way round", b, a)
    valid("overlap", "events 0 to 2 and event 2", long, late)
    valid("overlap-turned", "event 2 and events 0 to 2", late, long)
    valid("other-signature-type", "once by the wallet, once by a session key", a, Made(one, SESSION, delegation=delegate(), signatureType=2))
    bad = "MALFORMED_BATCH"
    refused("same", "one batch twice", "NoConflict", a, a, bad)
    again = Made(one, signed=ref.sign(WALLET, a.digest, skip=1))
    refused("same-events", "signed again with another nonce: another signature, the same batch", "NoConflict", a, again, bad)
    refused("in-order", "a batch and its successor", "NoConflict", a, Made(two, sequence=1, previous=a.id), bad)
    refused("after-overlap", "events 0 to 2 and event 3", "NoConflict", long, Made(two, sequence=3, previous=a.id), bad)
    refused("other-series", "of two series", "NoConflict", a, Made(two, series=5), bad)
    refused("other-partition", "of two partitions", "NoConflict", a, Made(two, partition=8), bad)
    refused("other-stream", "of two streams", "NoConflict", a, Made(two, stream=bytes(20)), bad)
    refused("other-origin", "of two origins", "NoConflict", a, Made(two, OTHER, origin=ref.address(OTHER)), bad)
    refused("forged-second", "the second is signed by another key", "Forgery", a, Made(two, OTHER), "INVALID_SIGNATURE")
    refused("forged-first", "the first is signed by another key", "Forgery", Made(one, OTHER), b, "INVALID_SIGNATURE")
    refused("other-network", "both are of another network", "Forgery", Made(one, chain=1), Made(two, chain=1), "WRONG_NETWORK")
    return c


# --- partition_of_key.json --------------------------------------------------------------------------------------------


def partition_of_key():
    c = Cases(
        "partition_of_key",
        {
            "Basic": BASIC,
            "Sign": note("WRONG_PRIMITIVE", "The number from the digest or key is negative.", "Publishers and readers look in different partitions."),
            "Unicode": note("WRONG_PRIMITIVE", "Text is hashed as UTF-8.", "Publishers and readers look in different partitions."),
            "Limit": LIMIT,
        },
    )
    texts = [("device-1", "Basic"), ("device-2", "Basic"), ("", "Limit"), ("a", "Basic"), ("Zürich", "Unicode"), ("東京", "Unicode"), ("\U0001f600", "Unicode"), ("1", "Basic"), ("x" * 200, "Limit")]
    for n, (text, flag) in enumerate(texts):
        negative = hashlib.md5(text.encode()).digest()[3] >= 128
        for partitions in (1, 2, 3, 10, 99, 100):
            c.valid(f"text-{n}-of-{partitions}", "a text key" + (" whose digest is negative" if negative else ""), flag + (" Sign" if negative else ""), {"text": text, "partitions": partitions}, {"partition": ref.partition_of_text(text, partitions)})
    for number, flag in [(0, "Limit"), (1, "Basic"), (-1, "Sign"), (-7, "Sign"), (12345, "Basic"), (2**63 - 1, "Limit"), (-(2**63), "Limit Sign")]:
        for partitions in (1, 2, 7, 100):
            c.valid(f"number-{number}-of-{partitions}", "a number key", flag, {"number": str(number), "partitions": partitions}, {"partition": ref.partition_of_number(number, partitions)})
    return c


# --- challenge.json ---------------------------------------------------------------------------------------------------


def challenge():
    c = Cases(
        "challenge",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "PastLimit": PAST_LIMIT,
            "Relay": note("AUTH_BYPASS", "Signed for another node, name or connection.", "Who lures a user to its own node signs in elsewhere in the user's name."),
            "Forgery": note("AUTH_BYPASS", "Not the signature of the address.", "Anybody signs in as anybody."),
            "Form": note("MALLEABILITY", "Another form of a good signature.", "Implementations disagree."),
        },
    )
    base = {"node": ref.address(OTHER), "audience": "https://broker.example", "nonce": bytes(range(16))}

    def given(signature, now=T0, issued=T0, who=WALLET, **changes):
        shown = base | changes
        return {
            "node": "0x" + shown["node"].hex(), "audience": shown["audience"], "nonce": hex_(shown["nonce"]),
            "issuedAt": str(issued), "address": "0x" + ref.address(who).hex(), "signature": hex_(signature), "now": str(now),
        }

    def text(issued=T0, **changes):
        shown = base | changes
        return ref.challenge_text(shown["node"], shown["audience"], shown["nonce"], issued)

    def signed(issued=T0, secret=WALLET, **changes):
        return ref.sign(secret, ref.personal_digest(text(issued, **changes).encode()))

    def valid(name, comment, flags, value, issued=T0, **changes):
        shown = text(issued, **changes)
        c.valid(name, comment, flags, value, {"text": shown, "digest": hex_(ref.personal_digest(shown.encode()))})

    def refused(name, comment, flags, value):
        c.refused(name, comment, flags, value, "verify", "INVALID_SIGN_IN")

    good, span = signed(), 5 * 60_000
    valid("good", "as it should be", "Basic", given(good))
    valid("quic", "the audience of a native client", "Basic", given(signed(audience="quic"), audience="quic"), audience="quic")
    valid("oldest", "5 minutes old", "Limit", given(good, T0 + span))
    valid("newest", "5 minutes ahead", "Limit", given(good, T0 - span))
    valid("before-1970", "a negative time", "Limit", given(signed(-5), 0, -5), -5)
    refused("too-old", "5 minutes and a millisecond old", "PastLimit", given(good, T0 + span + 1))
    refused("too-new", "5 minutes and a millisecond ahead", "PastLimit", given(good, T0 - span - 1))
    least = -(2**63)
    refused("overflow", "times whose difference overflows 64 bits", "PastLimit", given(signed(least), 2**63 - 1, least))
    refused("other-issued", "another time than the one signed", "Relay", given(good, T0, T0 + 1))
    refused("other-node", "signed for another node", "Relay", given(signed(node=bytes(20))))
    refused("other-audience", "signed for another name", "Relay", given(signed(audience="https://evil.example")))
    refused("audience-slash", "a slash more", "Relay", given(signed(audience="https://broker.example/")))
    refused("other-nonce", "signed on another connection", "Relay", given(signed(nonce=bytes(16))))
    refused("other-key", "signed by another key", "Forgery", given(signed(secret=OTHER)))
    refused("other-address", "a good signature, shown as another's", "Forgery", given(good, who=OTHER))
    refused("not-personal", "the text's Keccak without EIP-191", "Forgery", given(ref.sign(WALLET, ref.keccak256(text().encode()))))
    refused("checksummed-node", "the node's address in mixed case", "Form", given(ref.sign(WALLET, ref.personal_digest(text().replace("0x" + base["node"].hex(), ref.checksummed(base["node"])).encode()))))
    refused("newline", "a line end behind the text", "Form", given(ref.sign(WALLET, ref.personal_digest(text().encode() + b"\n"))))
    refused("high-s", "the twin with high s", "Form", given(high_s(good)))
    refused("v-0-1", "v counted from 0", "Form", given(good[:64] + bytes([good[64] - 27])))
    refused("empty", "no signature", "Form", given(b""))
    return c


# --- malformed.json ---------------------------------------------------------------------------------------------------


def malformed():
    c = Cases(
        "malformed",
        {
            "Framing": note("MISSING_STEP", "Not one Cap'n Proto message of one segment.", "Crashes, or bytes that nobody signed travel along."),
            "Pointer": note("MEMORY", "A pointer that leads where it should not.", "Reads out of bounds, endless loops, amplification."),
            "OneEncoding": note("MALLEABILITY", "A valid Cap'n Proto message that says the same in other bytes.", "One batch has many forms; stores and caches disagree."),
            "Count": note("MISSING_STEP", "The list of events is not what the header counts.", "Events without a signature travel along."),
            "Bound": PAST_LIMIT,
            "Header": note("MISSING_STEP", "The header inside does not decode.", "See header.json."),
        },
    )
    _, refused_wire = wired(c)
    made = Made(THREE)
    good = made.wire()

    def refused(name, comment, flags, wire, code="MALFORMED_BATCH"):
        assert wire != good, name
        refused_wire(name, comment, flags, wire, code, "decode")

    def segment(**changes):
        values = {"header_bytes": made.header, "signature": made.signature, "delegation_bytes": b"", "events": THREE}
        return ref.batch_segment(*(values | changes).values())

    def edited(edit, **changes):
        s = segment(**changes)
        edit(s)
        return s.message()

    def set_word(at, value):
        def edit(s):
            s.words[at] = value if isinstance(value, bytes) else value.to_bytes(8, "little")

        return edit

    def number(s, at):
        return int.from_bytes(s.words[at], "little")

    # Words: 0 root, 1-4 the batch's pointers, 5-30 header, 31-39 signature, 40 tag, 41-49 three events, then contents.
    tag = 40
    assert segment().words[tag][0] == len(THREE) << 2
    refused("empty", "no bytes", "Framing", b"")
    refused("one-byte", "one byte", "Framing", b"\x00")
    refused("no-segment", "the table alone", "Framing", good[:8])
    refused("short", "the last word is missing", "Framing", good[:-8])
    refused("short-byte", "the last byte is missing", "Framing", good[:-1])
    refused("byte-more", "a byte behind the message", "Framing", good + b"\x00")
    refused("word-more", "a word behind the message", "Framing", good + bytes(8))
    refused("twice", "the message twice", "Framing", good + good)
    refused("segments-2", "a second, empty segment", "Framing", (1).to_bytes(4, "little") + good[4:8] + bytes(8) + good[8:])
    refused("segments-513", "more segments than a reader takes", "Framing", (512).to_bytes(4, "little") + bytes(4 * 515))
    refused("segments-ones", "2^32 segments", "Framing", b"\xff" * 4 + good[4:])
    refused("words-ones", "a segment of 2^32 - 1 words", "Framing", bytes(4) + b"\xff" * 4 + good[8:])
    refused("words-more", "a segment of one word more than there is", "Framing", good[:4] + (len(good) // 8).to_bytes(4, "little") + good[8:])
    refused("words-less", "a segment of one word less than there is", "Framing", good[:4] + (len(good) // 8 - 2).to_bytes(4, "little") + good[8:])
    refused("packed", "in Cap'n Proto's packed form", "Framing", bytes([0x10, good[4], 0x50]) + good[8:])
    refused("text", "JSON", "Framing", b'{"header":"00"}')
    refused("root-null", "no root", "Pointer", edited(set_word(0, 0)))
    refused("root-list", "the root is a list", "Pointer", edited(set_word(0, 1)))
    refused("root-far", "the root is in another segment", "Pointer", edited(set_word(0, 2 | 1 << 32)))
    refused("root-far-self", "a far pointer to itself", "Pointer", edited(set_word(0, 2)))
    refused("root-capability", "the root is a capability", "Pointer", edited(set_word(0, 3)))
    refused("root-itself", "the root points at itself", "Pointer", edited(set_word(0, 0xFFFFFFFC | 4 << 48)))
    refused("root-behind", "the root points behind the segment", "Pointer", edited(set_word(0, 0x7FFFFFFC | 4 << 48)))
    refused("header-null", "no header", "Header", edited(set_word(1, 0)))
    refused("header-struct", "the header is a struct", "Pointer", edited(lambda s: s.struct_pointer(1, 5, 1, 0)))
    refused("header-before", "the header begins before the segment", "Pointer", edited(lambda s: s.list_pointer(1, -5, 2, 203)))
    refused("header-behind", "the header ends behind the segment", "Pointer", edited(lambda s: s.list_pointer(1, len(s.words) - 1, 2, 203)))
    refused("header-bits", "the header is a list of bits", "Pointer", edited(lambda s: s.list_pointer(1, 5, 1, 203)))
    refused("header-words", "the header is a list of words", "Pointer", edited(lambda s: s.list_pointer(1, 5, 5, 25)))
    refused("header-202", "a header of 202 bytes", "Header", ref.wire(made.header[:-1], made.signature, b"", THREE))
    refused("header-204", "a header of 204 bytes", "Header", ref.wire(made.header + b"\x00", made.signature, b"", THREE))
    refused("header-huge", "a header of 2^29 - 1 bytes", "Pointer", edited(lambda s: s.list_pointer(1, 5, 2, 2**29 - 1)))
    swapped = ref.header(made.fields | {"partition": 100})
    refused("header-partition", "partition 100", "Header", ref.wire(swapped, made.signature, b"", THREE), "INVALID_PARTITION")
    swapped = ref.header(made.fields | {"timestampMax": T0 + 60_001})
    refused("header-span", "60,001 ms", "Header", ref.wire(swapped, made.signature, b"", THREE), "INVALID_TIMESTAMP")
    swapped = ref.header(made.fields | {"count": 1025})
    refused("header-count", "1025 events", "Header", ref.wire(swapped, made.signature, b"", THREE), "INVALID_EVENT_COUNT")
    refused("events-null", "no list of events", "Count", edited(set_word(4, 0)))
    refused("events-less", "an event less than counted", "Count", ref.wire(made.header, made.signature, b"", THREE[:2]))
    refused("events-more", "an event more than counted", "Count", ref.wire(made.header, made.signature, b"", THREE + THREE[:1]))
    refused("events-none", "an empty list", "Count", ref.wire(made.header, made.signature, b"", []))
    refused("tag-more", "the tag counts an event more than the list has room for", "Count", edited(set_word(tag, 4 << 2 | (2 | 1 << 16) << 32)))
    refused("tag-2-29", "the tag counts 2^29 - 1 events", "Pointer", edited(set_word(tag, (2**29 - 1) << 2 | (2 | 1 << 16) << 32)))
    refused("tag-no-size", "2^29 - 1 events of no size: amplification", "Pointer", edited(set_word(tag, (2**29 - 1) << 2)))
    refused("list-2-29", "the list claims 2^29 - 1 words", "Pointer", edited(lambda s: s.list_pointer(4, tag, 7, 2**29 - 1)))
    refused("list-of-bytes", "the events are bytes", "Pointer", edited(lambda s: s.list_pointer(4, tag, 2, 3)))
    refused("list-of-nothing", "2^29 - 1 events of the void type: amplification", "Pointer", edited(lambda s: s.list_pointer(4, tag, 0, 2**29 - 1)))
    refused("list-of-pointers", "the events are pointers", "Pointer", edited(lambda s: s.list_pointer(4, tag, 6, 3)))
    refused("tag-list", "the tag is a list pointer", "Pointer", edited(lambda s: set_word(tag, number(s, tag) | 1)(s)))
    refused("content-far", "a content in another segment", "Pointer", edited(set_word(43, 2 | 7 << 32)))
    refused("content-behind", "a content behind the segment", "Pointer", edited(lambda s: s.list_pointer(43, len(s.words), 2, 1)))
    refused("content-huge", "a content of 2^29 - 1 bytes", "Pointer", edited(lambda s: s.list_pointer(43, 50, 2, 2**29 - 1)))
    refused("content-list", "a content that is a list of structs", "Pointer", edited(lambda s: s.list_pointer(43, 50, 7, 1)))
    refused("content-shared", "two events point at one content", "OneEncoding", edited(lambda s: s.list_pointer(46, 50, 2, 10)))
    refused("content-overlap", "a content that lies over the header", "OneEncoding", edited(lambda s: s.list_pointer(43, 5, 2, 10)))
    refused("content-null", "an empty content as a null pointer", "OneEncoding", edited(set_word(43, 0), events=[event(T0, b""), *THREE[1:]]))
    refused("delegation-null", "an empty delegation as a null pointer", "OneEncoding", edited(set_word(3, 0)))
    refused("delegation-elsewhere", "an empty delegation that points elsewhere", "OneEncoding", edited(lambda s: s.list_pointer(3, 5, 2, 0)))
    refused("padding-header", "a bit behind the header's 203 bytes", "OneEncoding", edited(lambda s: set_word(30, number(s, 30) | 1 << 63)(s)))
    refused("padding-signature", "a bit behind the signature's 65 bytes", "OneEncoding", edited(lambda s: set_word(39, number(s, 39) | 1 << 8)(s)))
    refused("padding-event", "a bit in an event's unused bytes", "OneEncoding", edited(lambda s: set_word(42, number(s, 42) | 1 << 32)(s)))
    refused("padding-content", "a bit behind a content", "OneEncoding", edited(lambda s: set_word(51, number(s, 51) | 1 << 63)(s)))
    refused("unused-word", "a word that nothing points at", "OneEncoding", edited(lambda s: s.reserve(1)))

    def reordered():
        s = ref.Segment()
        s.reserve(5)
        s.struct_pointer(0, 1, 0, 4)
        s.data(2, made.signature)
        s.data(1, made.header)
        s.data(3, b"")
        rest = segment()
        at = s.reserve(10)
        s.list_pointer(4, at, 7, 9)
        s.words[at : at + 10] = rest.words[tag : tag + 10]
        for i, e in enumerate(THREE):
            s.data(at + 3 + 3 * i, e["content"])
        return s.message()

    assert len(reordered()) == len(good)
    refused("order", "the signature before the header", "OneEncoding", reordered())

    def wider():
        s = ref.Segment()
        s.reserve(6)
        s.struct_pointer(0, 1, 0, 5)
        s.data(1, made.header)
        s.data(2, made.signature)
        s.data(3, b"")
        at = s.reserve(10)
        s.list_pointer(4, at, 7, 9)
        s.words[at : at + 10] = segment().words[tag : tag + 10]
        for i, e in enumerate(THREE):
            s.data(at + 3 + 3 * i, e["content"])
        return s.message()

    refused("wider-struct", "a fifth pointer, as of a later schema", "OneEncoding", wider())
    refused("signature-16k", "a signature of 16,385 bytes", "Bound", ref.wire(made.header, bytes(16_385), b"", THREE))
    refused("delegation-4k", "a delegation of 4,097 bytes", "Bound", ref.wire(made.header, made.signature, bytes(4_097), THREE))
    return c


FILES = {
    "network_id": network_id,
    "header": header,
    "merkle": merkle,
    "signature": signature,
    "batch_id": batch_id,
    "batch_verify": batch_verify,
    "delegation": delegation,
    "event_proof": event_proof,
    "series_chain": series_chain,
    "equivocation": equivocation,
    "partition_of_key": partition_of_key,
    "challenge": challenge,
    "malformed": malformed,
}
