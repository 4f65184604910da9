@0xe3b7a95c20d4f816;
# What a node and a plugin say to each other. The prose to it, with limits and worked bytes, is plugin-api/ABI.md.
#
# Every message is one segment without a segment table: its first word is the root pointer. A call that a plugin does not know
# (`Request.which` is new to it) is answered with `failed` and `unsupported`; so a call or a field that is added never breaks a
# plugin that was built before.

# ------------------------------------------------ what a plugin is

struct Manifest {
  # In the custom section `mainstem.manifest` of the module.
  name @0 :Text;                        # 1..64 of a-z 0-9 and -, beginning with a letter.
  version @1 :Text;                     # Semantic version.
  description @2 :Text;                 # One sentence, up to 200 bytes.
  abi @3 :Version;                      # What it was built against.
  abiMinorLeast @4 :UInt16;             # The least minor version that it works with.
  claim :union {
    signature @5 :SignatureClaim;
    operators @6 :List(OperatorClaim);  # 1..64.
  }
  capabilities @7 :List(Capability);    # What it asks for; it has what the node's operator grants.
  limits @8 :Limits;                    # What it wants; the node's own limits are above these.
}

struct Version {
  major @0 :UInt16;
  minor @1 :UInt16;
}

struct SignatureClaim {
  signatureType @0 :UInt8;              # 16 and up.
  originTypes @1 :Data;                 # Of each origin type that it speaks for one byte, 1..16 of them.
  signs @2 :Bool;                       # It answers `sign`.
}

struct OperatorClaim {
  name @0 :Text;                        # As a plugin's name.
  description @1 :Text;
  inputs @2 :List(Port);                # 1..16.
  outputs @3 :List(Port);               # 0..16.
  parameters @4 :List(Parameter);       # 0..64.
}

struct Port {
  name @0 :Text;
  columns @1 :List(ColumnClaim);        # Empty: it takes or gives whole events.
}

struct ColumnClaim {
  name @0 :Text;
  type @1 :ColumnType;
}

enum ColumnType {
  int64 @0;
  float64 @1;
  text @2;
  data @3;
}

struct Parameter {
  name @0 :Text;
  description @1 :Text;
  type @2 :ColumnType;
  default @3 :Text;                     # Empty: it must be given.
}

enum Capability {
  crypto @0;                            # Hashes and signature checks by the node. Granted unless it is taken away.
  clock @1;                             # What time it is.
  random @2;                            # Random bytes.
  log @3;                               # Lines in the node's log.
}

struct Limits {
  # 0: the node's default.
  memoryBytes @0 :UInt64;
  fuel @1 :UInt64;                      # For one call.
  deadlineMs @2 :UInt32;                # For one call.
}

# ------------------------------------------------ the node calls

struct Request {
  union {
    start @0 :Start;                    # The first call of an instance that is an operator; others get none.
    verify @1 :List(Signed);            # Signature.
    sign @2 :SignRequest;               # Signature, in a client.
    onBatch @3 :PortBatch;              # Operator.
    onWatermark @4 :Int64;              # Operator: no event before this comes any more, ms since 1970.
    snapshot @5 :Void;                  # Operator: its state, as bytes.
    restore @6 :Data;                   # Operator, after `start`: a state of its own.
    origin @7 :Data;                    # Signature, in a client: whose this private key is.
  }
}

struct Reply {
  union {
    failed @0 :Failure;
    done @1 :Void;                      # To `start` and `restore`.
    verdicts @2 :List(Verdict);         # To `verify`: as many as items, in their order.
    signatures @3 :List(Data);          # To `sign`: as many as items, in their order.
    emitted @4 :List(PortBatch);        # To `onBatch` and `onWatermark`.
    state @5 :Data;                     # To `snapshot`.
    origin @6 :Origin;                  # To `origin`.
  }
}

struct Failure {
  code @0 :FailureCode;
  message @1 :Text;                     # A sentence for people; the first 1024 bytes are kept.
}

enum FailureCode {
  unsupported @0;                       # This call, or what it asks for, is not known here.
  malformed @1;                         # The message is not one of this ABI.
  invalid @2;                           # What is asked for makes no sense: a parameter, a state.
  denied @3;                            # The capability is not granted.
  unavailable @4;                       # It may work later.
  limit @5;                             # It is over a limit.
  internal @6;                          # The plugin's, or the node's, own fault.
}

struct Start {
  operator @0 :Text;                    # Which of its operators this instance is.
  parameters @1 :List(Value);           # Each that the manifest names, once.
}

struct Value {
  name @0 :Text;
  value @1 :Text;                       # Numbers in decimal; data in lower case hexadecimal digits.
}

# ------------------------------------------------ signature

struct Signed {
  header @0 :Data;                      # The 203 bytes that are signed.
  batchId @1 :Data;                     # Their SHA-256, 32 bytes.
  originType @2 :UInt8;                 # Of the header, one that the manifest claims.
  origin @3 :Data;                      # Of the header, without padding: 1..32 bytes.
  timestamp @4 :Int64;                  # Of the header: the greatest of its events', ms since 1970.
  signature @5 :Data;                   # 0..16384 bytes.
}

enum Verdict {
  valid @0;
  invalid @1;                           # The signature is not the origin's over this header.
  malformed @2;                         # The signature's bytes are no signature of this type.
  expired @3;                           # What it stands on was not, or no longer, in force at `timestamp`.
  untrusted @4;                         # It stands on nothing that is trusted here.
  unavailable @5;                       # It cannot be told now; it may be later.
}

struct Origin {
  type @0 :UInt8;
  value @1 :Data;                       # 1..32 bytes.
}

struct SignRequest {
  key @0 :Data;                         # As the type says.
  batchIds @1 :List(Data);              # 32 bytes each.
}

# ------------------------------------------------ operator

struct PortBatch {
  port @0 :UInt16;                      # Place of the port in the claim's inputs or outputs.
  timestamps @1 :List(Int64);           # Of each row, ms since 1970.
  union {
    columns @2 :List(Column);           # As the port's columns, each with as many values as timestamps.
    events @3 :List(Event);             # As many as timestamps.
  }
}

struct Column {
  union {
    int64 @0 :List(Int64);
    float64 @1 :List(Float64);
    text @2 :List(Text);
    data @3 :List(Data);
  }
}

struct Event {
  contentType @0 :UInt16;
  content @1 :Data;
}

# ------------------------------------------------ the plugin calls

struct HostRequest {
  # One tag for each call, of `crypto` unless it says otherwise.
  union {
    sha256 @0 :List(Data);              # Up to 4096 items.
    keccak256 @1 :List(Data);           # Up to 4096 items.
    check @2 :CheckSignatures;
    now @3 :Void;                       # `clock`.
    random @4 :UInt32;                  # `random`: how many bytes, up to 1024.
    log @5 :LogLine;                    # `log`.
  }
}

struct HostReply {
  union {
    failed @0 :Failure;
    done @1 :Void;                      # To `log`.
    digests @2 :Data;                   # To the hashes: 32 bytes for each item, one behind the other.
    checks @3 :List(Bool);              # To `check`: as many as items, in their order.
    now @4 :Int64;                      # ms since 1970.
    random @5 :Data;
  }
}

struct CheckSignatures {
  scheme @0 :SignatureScheme;
  items @1 :List(CheckSignature);       # Up to 1024.
}

struct CheckSignature {
  key @0 :Data;
  message @1 :Data;
  signature @2 :Data;
}

enum SignatureScheme {
  ecdsaSecp256k1 @0;     # Key: SEC1, 33 or 65 bytes. Message: the 32-byte digest itself. Signature: r, s, 64 bytes, low s only.
  ecdsaP256Sha256 @1;    # Key: SEC1, 65 bytes. Signature: r, s, 64 bytes. The node hashes the message.
  ecdsaP256Sha256Der @2; # The same with a signature in DER.
  ed25519 @3;            # Key 32, signature 64 bytes, RFC 8032.
  rsaPkcs1Sha256 @4;     # Key: DER RSAPublicKey, 2048..8192 bits.
  rsaPssSha256 @5;       # The same.
  ethereumAddress @6;    # Key: 20 bytes. Message: the 32-byte digest itself. Signature: r, s, v, 65 bytes, v 27 or 28, low s only.
}

struct LogLine {
  level @0 :LogLevel;
  text @1 :Text;                        # The first 1024 bytes are kept.
}

enum LogLevel {
  error @0;
  warn @1;
  info @2;
  debug @3;
}
