@0xee1c64b9212c9570;
# Frames between brokers, on the substreams of node/overlay. A frame is: length of the head (u32 LE), head, body.
# The head is a `PeerFrame` in one segment; the body is the batches that it tells of as signed, untouched, one behind the other.
# A kind that a broker does not know it leaves unread, so that kinds can be added; a field is added at the end of its struct.
#
# Where a field is a name, it is the bytes that stand for it in a signed header (node/model/src/header.rs), big-endian:
# a partition is bytes 48 to 70 (stream 20, partition u16), an origin's series bytes 70 to 112 (origin 34, series u64), and a
# series both, bytes 48 to 112.

using import "error.capnp".Error;

struct PeerFrame {
  union {
    hello @0 :Hello;
    store @1 :Store;              # Body: the batch.
    held @2 :Held;
    notHeld @3 :NotHeld;
    follow @4 :Follow;
    followed @5 :Followed;
    notFollowed @6 :NotFollowed;
    unfollow @7 :Data;            # A partition.
    feed @8 :Void;                # Body: the batch.
    fed @9 :Fed;
    heads @10 :List(Head);        # At most 1024.
    pull @11 :Pull;
    pulled @12 :UInt64;           # The pull. Body: the batch.
    pullEnd @13 :PullEnd;
    inventory @14 :Inventory;
    inventoried @15 :Inventoried;
    compare @16 :Compare;
    compared @17 :Compared;
    proof @18 :UInt32;            # Bytes of the first batch. Body: that one and the second.
    resolve @19 :Resolve;
    resolved @20 :Resolved;
    read @21 :Read;
    pageOf @22 :PageOf;           # Body: the page's batches.
  }
}

struct Hello {
  log @0 :UInt64;
  epoch @1 :UInt32;
  ready @2 :Bool;
}

struct Store {
  durable @0 :Bool;
}

struct Held {
  series @0 :Data;
  nextSequence @1 :UInt64;
  last @2 :Data;      # 32 bytes: a batch id.
  durable @3 :Bool;
}

struct NotHeld {
  series @0 :Data;
  batch @1 :Data;     # 32 bytes: a batch id.
  error @2 :Error;
}

struct Follow {
  at @0 :Data;        # A partition.
  full @1 :Bool;
  sinceMs @2 :UInt64;
}

struct Followed {
  at @0 :Data;
  full @1 :Bool;
  path @2 :List(Data);  # At most 16, 20 bytes each: brokers that it comes through, nearest first.
}

struct NotFollowed {
  at @0 :Data;
  error @1 :Error;
  instead @2 :List(Data);  # At most 16, 20 bytes each: addresses of brokers.
}

struct Fed {
  at @0 :Data;
  bytes @1 :UInt64;
}

struct Head {
  series @0 :Data;
  nextSequence @1 :UInt64;
  last @2 :Data;           # 32 bytes: a batch id, zeros before the first.
  timestamp @3 :Int64;
  frozen @4 :Bool;
}

struct Pull {
  pull @0 :UInt64;
  series @1 :Data;
  until @2 :UInt64;
  bytesMax @3 :UInt64;
  from :union {
    sequence @4 :UInt64;
    ageMs @5 :UInt64;
  }
}

struct PullEnd {
  pull @0 :UInt64;
  result :union {
    done @1 :PullDone;
    error @2 :Error;
  }
}

struct PullDone {
  base @0 :UInt64;
  more @1 :Bool;
}

struct Inventory {
  ask @0 :UInt64;
  after @1 :Data;          # A partition; empty to begin.
}

struct Inventoried {
  ask @0 :UInt64;
  partitions @1 :List(PartitionDigest);  # At most 1024.
  more @2 :Bool;
}

struct PartitionDigest {
  at @0 :Data;
  digest @1 :Digest;
}

struct Digest {
  count @0 :UInt64;
  hash @1 :Data;           # 32 bytes, zeros for none.
}

struct Range {
  at @0 :Data;
  first @1 :Data;          # An origin's series.
  last @2 :Data;           # The same; part of the range.
}

struct Compare {
  ask @0 :UInt64;
  range @1 :Range;
}

struct Compared {
  ask @0 :UInt64;
  summary :union {
    heads @1 :List(Head);  # At most 1024.
    parts @2 :List(Part);  # At most 64.
  }
}

struct Part {
  range @0 :Range;
  digest @1 :Digest;
}

struct Filter {
  origin @0 :Data;         # 34 bytes, as in the signed header; empty for all.
  from @1 :Int64;
  to @2 :Int64;
}

struct Resolve {
  read @0 :UInt64;
  at @1 :Data;
  filter @2 :Filter;
  start :union {
    now @3 :Void;
    last @4 :UInt64;
    from @5 :Void;
    cursor @6 :Data;
  }
}

struct Resolved {
  read @0 :UInt64;
  result :union {
    cursor @1 :Data;
    error @2 :Error;
  }
}

struct Read {
  read @0 :UInt64;
  at @1 :Data;
  cursor @2 :Data;
  filter @3 :Filter;
  bytesMax @4 :UInt64;
}

struct PageOf {
  read @0 :UInt64;
  result :union {
    page @1 :Page;
    error @2 :Error;
  }
}

struct Page {
  batches @0 :List(PastBatch);  # At most 1024.
  next @1 :Data;                # A cursor.
  atEnd @2 :Bool;
  damaged @3 :UInt64;
}

struct PastBatch {
  bytes @0 :UInt32;             # How many of the body's, in the order of the list.
  cursor @1 :Data;
  receivedAt @2 :Int64;
}
