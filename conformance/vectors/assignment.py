"""Which brokers carry a shard, written a second time: the model, its cases, and answers to questions from outside.

Made from the formula as contracts/src/Assignment.sol and ARCHITECTURE.md describe it, not from either program.

    python3 assignment.py         reads one input of assignment.json a line, writes one expected output a line
"""

import json
import random
import sys

import reference as ref
from cases import BASIC, LIMIT, Cases, note

# --- the model --------------------------------------------------------------------------------------------------------


def shard_of(stream: bytes, partition: int, shards: int) -> int:
    return int.from_bytes(ref.keccak256(stream + partition.to_bytes(2, "big")), "big") % shards


def drawn_at(epoch: int, shard: int, rotation: int, active_from: int) -> int:
    """The epoch whose seed counts: the latest in which the shard rotated, or the broker's first if that is later."""
    rotated = epoch
    while rotated > 0 and (rotated + shard) % rotation != 0:
        rotated -= 1
    return max(rotated, active_from)


def score(seed: bytes, shard: int, broker: bytes, weight: int) -> int:
    h = ref.keccak256(seed + shard.to_bytes(4, "big") + broker)
    return (2**248 if h[0] <= weight else 0) + int.from_bytes(h[1:], "big")


def assigned(given) -> list:
    epoch, shard, seeds = given["epoch"], given["shard"], {s["epoch"]: bytes.fromhex(s["seed"]) for s in given["seeds"]}
    ranking = []
    for b in given["brokers"]:
        if b["activeFrom"] <= epoch < b["leaveAt"]:
            seed = seeds[drawn_at(epoch, shard, given["rotationEpochs"], b["activeFrom"])]
            address = bytes.fromhex(b["broker"][2:])
            ranking.append((-score(seed, shard, address, b["weight"]), address))
    return [{"broker": "0x" + a.hex(), "score": f"{-s:064x}"} for s, a in sorted(ranking)[: given["replicas"]]]


def grown(shards: int, active: int, replicas: int, slots: int) -> int:
    """One epoch's growth: at most a doubling."""
    return shards * 2 if shards * replicas < active * slots and shards < 2**31 else shards


def claim_digest(chain_id: int, coordinator: bytes, epoch: int, shard: int, seed: bytes) -> bytes:
    """EIP-712."""
    message = ref.keccak256(
        ref.keccak256(b"AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)")
        + epoch.to_bytes(32, "big")
        + shard.to_bytes(32, "big")
        + seed.ljust(32, b"\0")
    )
    return ref.keccak256(b"\x19\x01" + ref.domain_separator(chain_id, coordinator) + message)


def answer(given) -> dict:
    """The output for any input of the vector file."""
    if "stream" in given:
        return {"shard": shard_of(bytes.fromhex(given["stream"]), given["partition"], given["shards"])}
    if "brokers" in given:
        return {"assigned": assigned(given)}
    if "active" in given:
        return {"shards": grown(given["shards"], given["active"], given["replicas"], given["slotsPerBroker"])}
    coordinator, seed = bytes.fromhex(given["coordinator"][2:]), bytes.fromhex(given["seed"])
    return {"digest": claim_digest(int(given["chainId"]), coordinator, given["epoch"], given["shard"], seed).hex()}


# --- the cases --------------------------------------------------------------------------------------------------------

NEVER = 2**32 - 1


def bytes_of(rng, count: int) -> bytes:
    return rng.randbytes(count)


def broker(rng, weight=255, active_from=2, leave_at=NEVER, address=None):
    address = address or bytes_of(rng, 20)
    return {"broker": "0x" + address.hex(), "weight": weight, "activeFrom": active_from, "leaveAt": leave_at}


def seeds(rng, last: int):
    return [{"epoch": e, "seed": bytes_of(rng, 16).hex()} for e in range(last + 1)]


def question(rng, brokers, epoch=9, shard=3, replicas=3, rotation=8):
    given = {"epoch": epoch, "shard": shard, "replicas": replicas, "rotationEpochs": rotation}
    return given | {"seeds": seeds(rng, epoch), "brokers": brokers}


def make() -> Cases:
    c = Cases(
        "assignment",
        {
            "Basic": BASIC,
            "Limit": LIMIT,
            "Split": note("WRONG_PRIMITIVE", "The number of shards doubles.", "Histories move that should stay."),
            "Thin": note("EDGE_CASE", "No more brokers than replicas.", "Shards with too few brokers, or none."),
            "Weight": note("MISSING_STEP", "Brokers with less than full weight.", "Small brokers get a full load."),
            "Absent": note("MISSING_STEP", "Brokers that are not active yet, or not any more.", "Data goes to who is gone."),
            "Rotation": note("WRONG_PRIMITIVE", "Which epoch's seed counts for a shard.", "Brokers disagree about owners."),
            "Newcomer": note(
                "AUTH_BYPASS",
                "A broker younger than its shard's seed counts by the seed of its own first epoch.",
                "Whoever makes addresses until one fits gets the shard it wants.",
            ),
            "Growth": note("EDGE_CASE", "Shards against brokers.", "Some brokers get nothing to do, or contracts and nodes differ."),
            "Claim": note("WRONG_PRIMITIVE", "The digest that a claim is signed by.", "True claims are refused, false ones cannot be proven."),
        },
    )
    rng = random.Random("assignment")

    def ask(name, comment, flags, given):
        c.valid(name, comment, flags, given, answer(given))

    for i in range(6):
        given = {"stream": bytes_of(rng, 20).hex(), "partition": rng.randrange(100), "shards": 8 << i}
        ask(f"shard-{i}", "a partition's shard", "Basic", given)
    for partition in (0, 99):
        for shards in (1, 2, 2**31):
            given = {"stream": "5a" * 20, "partition": partition, "shards": shards}
            ask(f"shard-{partition}-of-{shards}", "the first and last partition", "Limit", given)
    stream = bytes_of(rng, 20).hex()
    for i in range(6):
        ask(f"split-{i}", "one partition while shards double", "Split", {"stream": stream, "partition": 7, "shards": 8 << i})

    for i in range(6):
        ask(f"assigned-{i}", "twelve equal brokers", "Basic", question(rng, [broker(rng) for _ in range(12)], shard=i))
    ask("none", "no broker at all", "Thin", question(rng, []))
    ask("one", "one broker carries everything", "Thin", question(rng, [broker(rng)]))
    ask("two-of-three", "two brokers, three replicas", "Thin", question(rng, [broker(rng) for _ in range(2)]))
    ask("exactly-k", "three brokers, three replicas", "Thin", question(rng, [broker(rng) for _ in range(3)]))
    light = [broker(rng, weight=32) for _ in range(4)]
    ask("all-light", "hardly any is eligible; as many are assigned", "Thin Weight", question(rng, light))
    for i in range(4):
        many = [broker(rng, weight=rng.choice([32, 64, 127, 200, 255])) for _ in range(12)]
        ask(f"weights-{i}", "weights of all kinds", "Weight", question(rng, many, shard=i, replicas=4))
    for weight in (32, 254, 255):
        # Found by trial: an address whose hash has exactly this top byte, and one whose hash has the next.
        given = question(rng, [broker(rng) for _ in range(4)])
        drawn = {s["epoch"]: bytes.fromhex(s["seed"]) for s in given["seeds"]}[drawn_at(9, 3, 8, 2)]
        for top in (weight, weight + 1)[: 1 if weight == 255 else 2]:
            at = next(a for a in iter(lambda: bytes_of(rng, 20), None)
                      if ref.keccak256(drawn + (3).to_bytes(4, "big") + a)[0] == top)
            given["brokers"].append(broker(rng, weight=weight, address=at))
        ask(f"threshold-{weight}", "a top byte equal to the weight is eligible, the next is not", "Weight Limit",
            given | {"replicas": 6})
    late = [broker(rng, active_from=a) for a in (2, 9, 10, 11)] + [broker(rng, leave_at=a) for a in (8, 9, 10, 11)]
    ask("coming-and-going", "active from 9, not from 10; left at 10, not at 9", "Absent Limit", question(rng, late, replicas=8))
    gone = [broker(rng, active_from=9, leave_at=8), broker(rng, active_from=8, leave_at=8)]
    ask("cancelled", "who left before it began was never active", "Absent", question(rng, gone))
    for epoch in range(10, 19):
        given = question(random.Random(f"rotation {epoch // 100}"), [], epoch=18)
        given = given | {"epoch": epoch, "brokers": [broker(random.Random(i)) for i in range(9)], "shard": 5, "replicas": 2}
        ask(f"rotation-{epoch}", "one shard, epoch by epoch: its seed changes at 11 only", "Rotation", given)
    for rotation in (1, 2, 1024):
        given = question(rng, [broker(rng) for _ in range(6)], epoch=6, shard=1023, rotation=rotation)
        ask(f"every-{rotation}", "a seed each epoch; every second; not in this network's life yet", "Rotation Limit", given)
    last = NEVER - 1
    given = question(rng, [broker(rng) for _ in range(6)], shard=NEVER)
    given |= {"epoch": last, "seeds": [{"epoch": e, "seed": bytes_of(rng, 16).hex()} for e in range(last - 7, last + 1)]}
    ask("the-last-epoch", "the sum of epoch and shard is more than 32 bits", "Rotation Limit", given)
    for i in range(4):
        young = [broker(rng, active_from=rng.randrange(2, 10)) for _ in range(12)]
        ask(f"newcomers-{i}", "one shard, seeds of several epochs", "Newcomer", question(rng, young, shard=i, replicas=5))
    for i in range(8):
        some = [broker(rng, rng.randrange(32, 256), rng.randrange(2, 24), rng.choice([NEVER, rng.randrange(3, 24)]))
                for _ in range(rng.randrange(1, 16))]
        given = question(rng, some, epoch=20, shard=rng.randrange(64), replicas=rng.randrange(1, 8), rotation=1 << rng.randrange(5))
        ask(f"mixed-{i}", "everything at once", "Basic Weight Absent Rotation Newcomer", given)

    for shards, active, replicas, slots in (
        (8, 0, 3, 8), (8, 3, 3, 8), (8, 4, 3, 8), (16, 7, 3, 8), (32, 12, 3, 8), (8, 10, 10, 8), (8, 11, 10, 8),
        (8, 1000, 3, 8), (2**30, 2**24 - 1, 1, 64), (2**31, 2**24 - 1, 1, 64), (1, 1, 1, 1), (1, 2, 1, 1), (512, 64, 1, 8),
    ):
        given = {"shards": shards, "active": active, "replicas": replicas, "slotsPerBroker": slots}
        flags = "Growth Limit" if shards >= 2**30 or shards * replicas == active * slots else "Growth"
        ask(f"grown-{shards}-{active}-{replicas}-{slots}", "shards of the next epoch", flags, given)

    for name, epoch, shard in (("claim", 9, 3), ("claim-zero", 0, 0), ("claim-greatest", NEVER, NEVER)):
        given = {"chainId": "31337", "coordinator": "0x" + bytes_of(rng, 20).hex(), "epoch": epoch, "shard": shard}
        flags = "Claim" if name == "claim" else "Claim Limit"
        ask(name, "what a broker signs", flags, given | {"seed": bytes_of(rng, 16).hex()})
    return c


FILES = {"assignment": make}

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
