@0xd2a8c1f4b7e39051;
# A batch as it travels and as it is stored. What is signed is `header`, a fixed byte layout of its own
# (node/model/src/header.rs); Cap'n Proto only carries it.

struct Batch {
  header @0 :Data;      # 203 bytes: the signed header.
  signature @1 :Data;   # Over the batch id; its form is told by the header's signature type.
  delegation @2 :Data;  # Signature type 2 only: the wallet's delegation to the session key. Else empty.
  events @3 :List(Event);  # As many as the header's count, in series order.
}

struct Event {
  timestamp @0 :Int64;        # Milliseconds since 1970-01-01 UTC.
  contentType @1 :UInt16;     # 1 JSON, 2 binary, 3 UTF-8 text; others are carried and not read.
  encryptionType @2 :UInt16;  # 0 none.
  content @3 :Data;
}
