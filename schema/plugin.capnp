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
    encryption @9 :EncryptionClaim;     # Since 1.1.
    storage @10 :StorageClaim;          # Since 1.1.
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

struct EncryptionClaim {
  encryptionType @0 :UInt16;            # 16 and up.
  keyBytes @1 :UInt16;                  # Length of a content key, 16..64.
  wraps @2 :Bool;                       # It answers `wrap` and `unwrap`.
}

struct StorageClaim {
  scheme @0 :Text;                      # As a plugin's name: how the node's configuration names it.
  parameters @1 :List(Parameter);       # 0..64.
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
  blob @4;                              # A folder of files of its own. Since 1.1.
  http @5;                              # Requests to hosts that the node's operator names. Since 1.1.
  chain @6;                             # Reads of contracts at a finalised block. Since 1.1.
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
    start @0 :Start;                    # The first call of an instance that is an operator or a storage; others get none.
    verify @1 :List(Signed);            # Signature.
    sign @2 :SignRequest;               # Signature, in a client.
    onBatch @3 :PortBatch;              # Operator.
    onWatermark @4 :Int64;              # Operator: no event before this comes any more, ms since 1970.
    snapshot @5 :Void;                  # Operator: its state, as bytes.
    restore @6 :Data;                   # Operator, after `start`: a state of its own.
    origin @7 :Data;                    # Signature, in a client: whose this private key is.
    # Since 1.1:
    seal @8 :SealRequest;               # Encryption, in a client.
    open @9 :OpenRequest;               # Encryption, in a client.
    wrap @10 :WrapRequest;              # Encryption, in a client: a content key for recipients.
    unwrap @11 :UnwrapRequest;          # Encryption, in a client: a content key that was wrapped.
    append @12 :List(Record);           # Storage.
    sync @13 :Void;                     # Storage: what was appended must outlive the power.
    query @14 :Query;                   # Storage: records in the order of their places.
    fetch @15 :List(UInt64);            # Storage: the records of these places.
    trim @16 :List(UInt64);             # Storage: the records of these places are not wanted any more.
  }
}

struct Reply {
  union {
    failed @0 :Failure;
    done @1 :Void;                      # To `start`, `restore`, `append`, `sync` and `trim`.
    verdicts @2 :List(Verdict);         # To `verify`: as many as items, in their order.
    signatures @3 :List(Data);          # To `sign`: as many as items, in their order.
    emitted @4 :List(PortBatch);        # To `onBatch` and `onWatermark`.
    state @5 :Data;                     # To `snapshot`.
    origin @6 :Origin;                  # To `origin`.
    # Since 1.1:
    sealed @7 :List(Data);              # To `seal`: as many as items, in their order.
    opened @8 :List(Opened);            # To `open`: as many as items, in their order.
    wrapped @9 :List(Data);             # To `wrap`: as many as recipients, in their order.
    unwrapped @10 :Data;                # To `unwrap`: the content key.
    records @11 :Records;               # To `query` and `fetch`.
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

# ------------------------------------------------ encryption

struct SealRequest {
  key @0 :Data;                         # The content key, as long as the claim says.
  items @1 :List(Plain);
}

struct Plain {
  nonce @0 :Data;                       # 32 bytes that the client has drawn at random for this item: the scheme takes as many as it needs.
  associated @1 :Data;                  # Bound to the content, and not sealed.
  content @2 :Data;
}

struct OpenRequest {
  key @0 :Data;
  items @1 :List(Sealed);
}

struct Sealed {
  associated @0 :Data;
  sealed @1 :Data;                      # What `seal` gave, nonce included.
}

struct Opened {
  union {
    fault @0 :OpenFault;
    content @1 :Data;
  }
}

enum OpenFault {
  forged @0;                            # It was not sealed with this key and these associated bytes, or was changed.
  malformed @1;                         # Its bytes are nothing that this scheme seals.
}

struct WrapRequest {
  key @0 :Data;                         # The content key.
  recipients @1 :List(Data);            # Public keys, as the scheme says.
  random @2 :Data;                      # 32 bytes for each recipient, one behind the other, drawn by the client.
}

struct UnwrapRequest {
  privateKey @0 :Data;                  # As the scheme says.
  wrapped @1 :Data;
}

# ------------------------------------------------ storage

struct Record {
  place @0 :UInt64;                     # Of the whole store; each append has greater ones than those before it.
  timestamp @1 :Int64;                  # The greatest of its events', ms since 1970; for whoever wants to lay files out by time.
  value @2 :Data;                       # The node's own bytes.
}

struct Query {
  from @0 :UInt64;                      # The first place that is wanted.
  until @1 :UInt64;                     # Behind the last one.
  recordsMax @2 :UInt32;
  bytesMax @3 :UInt32;                  # Of values; one record may be longer.
  prefixBytes @4 :UInt32;               # So many bytes of each value are wanted; 0: all of it.
}

struct Records {
  records @0 :List(Record);             # In the order of their places, or as `fetch` asked for them; those that there are.
  next @1 :UInt64;                      # Of `query`: where to go on; `until` when there is no more.
  damaged @2 :List(UInt64);             # Places whose record is there and cannot be read. Nothing of them was deleted.
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
    # Since 1.1:
    blob @6 :BlobRequest;               # `blob`.
    http @7 :HttpRequest;               # `http`.
    chain @8 :ChainCall;                # `chain`.
  }
}

struct HostReply {
  union {
    failed @0 :Failure;
    done @1 :Void;                      # To `log`, and to `blob.put`, `sync`, `cut` and `delete`.
    digests @2 :Data;                   # To the hashes: 32 bytes for each item, one behind the other.
    checks @3 :List(Bool);              # To `check`: as many as items, in their order.
    now @4 :Int64;                      # ms since 1970.
    random @5 :Data;
    # Since 1.1:
    bytes @6 :Data;                     # To `blob.read`.
    size @7 :UInt64;                    # To `blob.size` and `blob.append`: bytes of the file then.
    names @8 :List(BlobName);           # To `blob.list`.
    response @9 :HttpResponse;          # To `http`.
    chain @10 :ChainResult;             # To `chain`.
  }
}

struct BlobRequest {
  # Files of the plugin's own folder. A name is 1..128 of a-z 0-9 . - and _, beginning with a letter or digit.
  name @0 :Text;
  union {
    size @1 :Void;                      # 0 of a file that there is not.
    append @2 :Data;                    # The file is made if it is not there.
    read @3 :BlobRange;                 # As much of it as there is.
    put @4 :Data;                       # The whole file, at once or not at all; it outlives the power on return.
    sync @5 :Void;                      # What was appended outlives the power on return.
    cut @6 :UInt64;                     # Shortens the file to so many bytes.
    delete @7 :Void;
    list @8 :UInt32;                    # So many names at most, in order, behind `name` (which may be empty).
  }
}

struct BlobRange {
  offset @0 :UInt64;
  length @1 :UInt32;
}

struct BlobName {
  name @0 :Text;
  size @1 :UInt64;
}

struct HttpRequest {
  method @0 :Text;                      # GET, HEAD, PUT, POST or DELETE.
  url @1 :Text;                         # http or https, of a host and port that was granted.
  headers @2 :List(HttpHeader);
  body @3 :Data;
  bodyBytesMax @4 :UInt32;              # Of the response; a longer one is answered with `limit`.
}

struct HttpHeader {
  name @0 :Text;
  value @1 :Text;
}

struct HttpResponse {
  status @0 :UInt16;
  headers @1 :List(HttpHeader);
  body @2 :Data;
}

struct ChainCall {
  # Calls a contract of the node's chain without changing anything, at the last block before the second of `at`, once that block is
  # final. The same call has the same answer at every node, whenever it is made.
  to @0 :Data;                          # 20 bytes.
  input @1 :Data;                       # Up to 32,768 bytes.
  at @2 :Int64;                         # ms since 1970.
}

struct ChainResult {
  output @0 :Data;
  reverted @1 :Bool;                    # `output` is the reason then.
  blockNumber @2 :UInt64;               # The block that it was read at.
  blockTimestamp @3 :Int64;             # Its time, ms since 1970.
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
