"""The format of Mainstem, written a second time.

Made from the format's description (layout tables and doc comments), not from the Rust code: a small, slow, obvious model
to compare fast implementations with. Python 3.11, standard library only. It is no library for use: nothing here runs in
constant time.
"""

import hashlib
import hmac
import itertools

# --- hashes -----------------------------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


ROTATIONS = [[0, 36, 3, 41, 18], [1, 44, 10, 45, 2], [62, 6, 43, 15, 61], [28, 55, 25, 21, 56], [27, 20, 39, 8, 14]]
MASK = (1 << 64) - 1


def round_constants():
    register, constants = 1, []
    for _ in range(24):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


ROUND_CONSTANTS = round_constants()


def rotate(word, by):
    return ((word << by) | (word >> (64 - by))) & MASK if by else word


def keccak_f(a):
    for constant in ROUND_CONSTANTS:
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[x - 1] ^ rotate(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        b = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                b[y][(2 * x + 3 * y) % 5] = rotate(a[x][y], ROTATIONS[x][y])
        a = [[b[x][y] ^ (~b[(x + 1) % 5][y] & b[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
        a[0][0] ^= constant
    return a


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it: rate 136, padding 0x01."""
    padded = bytearray(data + bytes(136 - len(data) % 136))
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    state = [[0] * 5 for _ in range(5)]
    for at in range(0, len(padded), 136):
        for i in range(17):
            word = int.from_bytes(padded[at + 8 * i : at + 8 * i + 8], "little")
            state[i % 5][i // 5] ^= word
        state = keccak_f(state)
    return b"".join(state[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


# --- secp256k1 (SEC 2), ECDSA (SEC 1) with RFC 6979 and low s (EIP-2) -------------------------------------------------

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return (x, (slope * (a[0] - x) - a[1]) % P)


def multiply(k, point):
    out = None
    while k:
        if k & 1:
            out = add(out, point)
        point = add(point, point)
        k >>= 1
    return out


def public_key(secret: int):
    return multiply(secret, G)


def sec1(point) -> bytes:
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def address(secret: int) -> bytes:
    x, y = public_key(secret)
    return keccak256(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:]


def checksummed(raw: bytes) -> str:
    """EIP-55."""
    digits = raw.hex()
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(nibble, 16) >= 8 else c for c, nibble in zip(digits, nibbles))


def nonces(secret: int, digest: bytes):
    """RFC 6979 section 3.2 with HMAC-SHA-256."""
    seed = secret.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    v, k = b"\x01" * 32, bytes(32)
    for separator in (b"\x00", b"\x01"):
        k = hmac.digest(k, v + separator + seed, "sha256")
        v = hmac.digest(k, v, "sha256")
    while True:
        v = hmac.digest(k, v, "sha256")
        candidate = int.from_bytes(v, "big")
        if 0 < candidate < N:
            yield candidate
        k = hmac.digest(k, v + b"\x00", "sha256")
        v = hmac.digest(k, v, "sha256")


def sign(secret: int, digest: bytes, skip: int = 0) -> bytes:
    """r (32) ‖ s (32, low) ‖ v (27 or 28). `skip` passes over that many nonces, for another signature of the same."""
    z = int.from_bytes(digest, "big")
    for nonce in itertools.islice(nonces(secret, digest), skip, None):
        x, y = multiply(nonce, G)
        r, s = x % N, 0
        if r and x < N:
            s = pow(nonce, -1, N) * (z + r * secret) % N
        if s:
            odd = y & 1
            if s > N // 2:
                s, odd = N - s, odd ^ 1
            return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + odd])
    raise AssertionError("nonces do not end")


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """ecrecover: the address, or None."""
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if len(signature) != 65 or v not in (27, 28) or not 0 < r < N or not 0 < s <= N // 2:
        return None
    square = (r**3 + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    if y & 1 != v - 27:
        y = P - y
    z, inverse = int.from_bytes(digest, "big"), pow(r, -1, N)
    point = add(multiply(s * inverse % N, (r, y)), multiply(-z * inverse % N, G))
    return point and keccak256(point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))[12:]


# --- Merkle tree of RFC 6962 section 2.1, by its recursive definition -------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def merkle_root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return node_hash(merkle_root(hashes[:k]), merkle_root(hashes[k:]))


def merkle_path(hashes: list[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return merkle_path(hashes[:k], index) + [merkle_root(hashes[k:])]
    return merkle_path(hashes[k:], index - k) + [merkle_root(hashes[:k])]


# --- the signed forms -------------------------------------------------------------------------------------------------


def be(value: int, size: int, signed: bool = False) -> bytes:
    return value.to_bytes(size, "big", signed=signed)


def network_id(chain_id: int, registry: bytes) -> bytes:
    return keccak256(be(chain_id, 32) + registry)


def leaf(event: dict) -> bytes:
    """timestamp i64, content type u16, encryption type u16, length of the content u32; then the content."""
    content = event["content"]
    return (
        be(event["timestamp"], 8, True)
        + be(event["contentType"], 2)
        + be(event["encryptionType"], 2)
        + be(len(content), 4)
        + content
    )


# Name, size, kind of every field of the header, in order. 203 bytes.
HEADER = [
    ("domain", 16, "bytes"),
    ("network", 32, "bytes"),
    ("stream", 20, "bytes"),
    ("partition", 2, "unsigned"),
    ("originType", 1, "unsigned"),
    ("originLength", 1, "unsigned"),
    ("origin", 32, "padded"),
    ("series", 8, "unsigned"),
    ("sequence", 8, "unsigned"),
    ("count", 2, "unsigned"),
    ("previous", 32, "bytes"),
    ("merkleRoot", 32, "bytes"),
    ("timestampMin", 8, "signed"),
    ("timestampMax", 8, "signed"),
    ("signatureType", 1, "unsigned"),
]


def header(fields: dict) -> bytes:
    values = {"domain": b"mainstem/batch/1", "originLength": len(fields["origin"])} | fields
    out = b""
    for name, size, kind in HEADER:
        value = values[name]
        if kind == "padded":
            value = value.ljust(size, b"\x00")
        if kind in ("bytes", "padded"):
            assert len(value) == size, name
            out += value
        else:
            out += be(value, size, kind == "signed")
    assert len(out) == 203
    return out


def personal_digest(message: bytes) -> bytes:
    """EIP-191, version E: what personal_sign signs."""
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def word(value) -> bytes:
    return value.rjust(32, b"\x00") if isinstance(value, bytes) else be(value, 32)


def domain_separator(chain_id: int, registry: bytes) -> bytes:
    """EIP-712."""
    return keccak256(
        keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + keccak256(b"Mainstem")
        + keccak256(b"1")
        + word(chain_id)
        + word(registry)
    )


def delegation_hash(session_key: bytes, streams: list[bytes], expiry: int) -> bytes:
    return keccak256(
        keccak256(b"Delegation(address sessionKey,address[] streams,uint64 expiry)")
        + word(session_key)
        + keccak256(b"".join(word(stream) for stream in streams))
        + word(expiry)
    )


def delegation_digest(chain_id: int, registry: bytes, session_key: bytes, streams: list[bytes], expiry: int) -> bytes:
    return keccak256(
        b"\x19\x01" + domain_separator(chain_id, registry) + delegation_hash(session_key, streams, expiry)
    )


def delegation(session_key: bytes, streams: list[bytes], expiry: int, signature: bytes) -> bytes:
    return session_key + be(expiry, 8) + be(len(streams), 2) + b"".join(streams) + signature


def challenge_text(node: bytes, audience: str, nonce: bytes, issued_at: int) -> str:
    return (
        f"Mainstem sign-in\nnode: 0x{node.hex()}\naudience: {audience}\nnonce: {nonce.hex()}\nissued: {issued_at}"
    )


def partition_of_text(key: str, partitions: int) -> int:
    return abs(int.from_bytes(hashlib.md5(key.encode()).digest()[:4], "little", signed=True)) % partitions


def partition_of_number(key: int, partitions: int) -> int:
    return abs(key) % partitions


# --- the batch as it travels: one Cap'n Proto segment, objects in the order of their fields, nothing else --------------


class Segment:
    """Words of one segment. Pointers are given by the word they stand at."""

    def __init__(self):
        self.words = []

    def reserve(self, words: int) -> int:
        self.words += [bytes(8)] * words
        return len(self.words) - words

    def put(self, data: bytes) -> int:
        at = self.reserve((len(data) + 7) // 8)
        for i in range(0, len(data), 8):
            self.words[at + i // 8] = data[i : i + 8].ljust(8, b"\x00")
        return at

    def struct_pointer(self, at: int, target: int, data_words: int, pointers: int):
        self.words[at] = ((target - at - 1) << 2 & 0xFFFFFFFF).to_bytes(4, "little") + (
            data_words | pointers << 16
        ).to_bytes(4, "little")

    def list_pointer(self, at: int, target: int, element_size: int, count: int):
        self.words[at] = ((target - at - 1) << 2 & 0xFFFFFFFF | 1).to_bytes(4, "little") + (
            element_size | count << 3
        ).to_bytes(4, "little")

    def data(self, at: int, data: bytes):
        """Bytes behind the pointer at `at`. Empty data has a pointer too, to where the segment ends so far."""
        self.list_pointer(at, self.put(data), 2, len(data))

    def message(self) -> bytes:
        """Count of segments less one, words of the segment, the segment."""
        return (0).to_bytes(4, "little") + len(self.words).to_bytes(4, "little") + b"".join(self.words)


def batch_segment(header_bytes: bytes, signature: bytes, delegation_bytes: bytes, events: list[dict]) -> Segment:
    """Root pointer at word 0; the batch's four pointers at words 1 to 4; then header, signature, delegation, events,
    contents. An event is two words of data (timestamp; content type, encryption type) and one pointer."""
    segment = Segment()
    root = segment.reserve(1)
    batch = segment.reserve(4)
    segment.struct_pointer(root, batch, 0, 4)
    segment.data(batch, header_bytes)
    segment.data(batch + 1, signature)
    segment.data(batch + 2, delegation_bytes)
    tag = segment.reserve(1)
    segment.list_pointer(batch + 3, tag, 7, 3 * len(events))
    segment.words[tag] = (len(events) << 2).to_bytes(4, "little") + (2 | 1 << 16).to_bytes(4, "little")
    first = segment.reserve(3 * len(events))
    for i, event in enumerate(events):
        at = first + 3 * i
        segment.words[at] = event["timestamp"].to_bytes(8, "little", signed=True)
        kinds = event["contentType"].to_bytes(2, "little") + event["encryptionType"].to_bytes(2, "little")
        segment.words[at + 1] = kinds + bytes(4)
        segment.data(at + 2, event["content"])
    return segment


def wire(header_bytes: bytes, signature: bytes, delegation_bytes: bytes, events: list[dict]) -> bytes:
    return batch_segment(header_bytes, signature, delegation_bytes, events).message()


# --- known answers of others: a wrong model must not make vectors ------------------------------------------------------


def self_test():
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    assert keccak256(bytes(136)).hex() != keccak256(bytes(135)).hex()
    # The first account of the test mnemonic that Hardhat and Anvil use.
    first = 0xAC0974BEC39A17E36BA4A6B4D238FF944BACB478CBED5EFCAE784D7BF4F2FF80
    assert checksummed(address(first)) == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    # RFC 6979 on secp256k1 with SHA-256: the widely used answer for key 1 and "Satoshi Nakamoto".
    assert sign(1, sha256(b"Satoshi Nakamoto"))[:64].hex() == (
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
        "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
    )
    # Roots of the test leaves of Certificate Transparency.
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [leaf_hash(bytes.fromhex(text)) for text in leaves]
    for count, root in {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }.items():
        assert merkle_root(hashes[:count]).hex() == root, count
    for digest in (sha256(b"a"), sha256(b"b")):
        assert recover(digest, sign(first, digest)) == address(first)
