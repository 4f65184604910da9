@0xb6f1e27c90d4a835;
# Frames between a client and a broker. On QUIC a frame is: length of the rest (u32 LE), length of the head (u32 LE),
# head, body. On WebSocket (binary sub-protocol) the message is: length of the head (u32 LE), head, body.
# The head is one of the structs below; the body is a `Batch` as signed, untouched, or empty.

using import "error.capnp".Error;

struct ClientFrame {
  request @0 :UInt64;  # Chosen by the client, echoed in the answer.
  union {
    signIn @1 :SignIn;
    publish @2 :AckLevel;      # Body: the batch.
    subscribe @3 :Subscribe;
    unsubscribe @4 :UInt32;    # The subscription's number.
    ping @5 :Void;
  }
  copies @6 :UInt8 = 1;
  # Only with publish: at how many of the brokers that are assigned to the partition the level is to hold; 0 counts as 1.
}

struct SignIn {
  address @0 :Data;    # 20 bytes.
  issuedAt @1 :Int64;  # Milliseconds; part of the signed text.
  signature @2 :Data;  # 65 bytes: personal_sign over the challenge text (node/model/src/challenge.rs).
}

enum AckLevel {
  accepted @0;  # Proven and in order; may be lost with the process.
  stored @1;    # In the journal: outlives kill -9 of the process.
  durable @2;   # fsync returned: outlives power loss.
}

struct Subscribe {
  stream @0 :Data;        # 20 bytes.
  partition @1 :UInt16;
  origin @2 :Data;        # 20 bytes: only events of this origin; empty for all.
  live @3 :Bool;          # Go on with live batches after the past ones; else the subscription ends there.
  start :union {
    now @4 :Void;         # Nothing of the past.
    last @5 :UInt64;      # The last n events.
    from @6 :Int64;       # Events of this millisecond timestamp and later.
    range @7 :TimeRange;  # Both ends included; only with live = false.
    cursor @8 :Resume;    # What came after this cursor.
  }
}

struct Resume {
  cursor @0 :Data;  # From a `Deliver`, `CaughtUp` or `Ended`; its last two bytes are ours to set (see `Deliver`).
  to @1 :Int64 = 9223372036854775807;  # End of the range that is resumed, included.
}

struct TimeRange {
  from @0 :Int64;
  to @1 :Int64;
}

struct ServerFrame {
  union {
    hello @0 :Hello;
    signedIn @1 :UInt64;        # Answer to `signIn`: the request.
    ack @2 :Ack;
    subscribed @3 :Subscribed;
    deliver @4 :Deliver;        # Body: the batch.
    caughtUp @5 :CaughtUp;
    ended @6 :Ended;
    refused @7 :Refused;
    unsubscribed @8 :UInt64;    # Answer to `unsubscribe`: the request.
    pong @9 :UInt64;            # Answer to `ping`: the request.
  }
}

struct Hello {
  node @0 :Data;      # The node's 20-byte address.
  nonce @1 :Data;     # 16 random bytes of this connection, part of the challenge text.
  network @2 :Data;   # 32 bytes: the network id.
  audience @3 :Text;  # The name under which the node takes sign-ins here, part of the challenge text.
  now @4 :Int64;      # The broker's clock, milliseconds.
  version @5 :UInt16; # Of this protocol: 1.
}

struct Ack {
  request @0 :UInt64;
  batch @1 :Data;       # 32 bytes: the batch id.
  level @2 :AckLevel;   # What holds now; at least what was asked for.
  duplicate @3 :Bool;   # The broker had this batch before.
  copies @4 :UInt8 = 1; # At how many brokers the level holds; 0 counts as 1.
}

struct Subscribed {
  request @0 :UInt64;
  subscription @1 :UInt32;
}

struct Deliver {
  subscription @0 :UInt32;
  cursor @1 :Data;
  # Resuming with this gives this batch again. Its last two bytes (UInt16, big-endian) count the batch's first events
  # that are not part of the answer; a reader that has taken k events of the batch writes k there and resumes behind them.
  receivedAt @2 :Int64;  # When the broker took the batch in, milliseconds.
}

struct CaughtUp {
  subscription @0 :UInt32;
  cursor @1 :Data;
  events @2 :UInt64;     # How many events of the past were sent since the subscription began.
  damaged @3 :UInt64;
  # So many batches are damaged at the broker and were left out since the last frame of this kind. One that reads on from
  # the past again, having fallen behind, is told so too when it meets damage there, and then this frame comes once more.
  more @4 :Bool;
  # The past is not all told yet: this frame tells only of damage.
}

struct Ended {
  subscription @0 :UInt32;
  cursor @1 :Data;
  complete @2 :Bool;     # All that was asked for was sent.
  error @3 :Error;       # Why it ended, when not complete.
}

struct Refused {
  request @0 :UInt64;    # 0: the connection as a whole.
  error @1 :Error;
}
