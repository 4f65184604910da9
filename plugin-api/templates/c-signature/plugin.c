/*
 * A signature type in C, without any library: signature type {{type}}. What begins here checks Ed25519 over the batch id, by the
 * public key that is the origin.
 *
 * The first part is yours: what the node checks of an item, and which verdict that makes. The rest is plumbing, by
 * plugin-api/ABI.md: it reads requests, asks the node and writes replies, and needs no change.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *bytes;
    uint32_t len;
} Bytes;

/* One signature, and what it is over. */
typedef struct {
    Bytes header;        /* what is signed */
    Bytes batch_id;      /* SHA-256 of the header, 32 bytes */
    uint8_t origin_type; /* one that plugin.toml claims */
    Bytes origin;        /* who is said to have signed, 1 to 32 bytes */
    int64_t timestamp;   /* of the batch, ms since 1970: what is in force for a time is judged by it */
    Bytes signature;
} Item;

/* What the node checks: whether `signature` is the one of `key` over `message`. */
typedef struct {
    Bytes key, message, signature;
} Check;

/* In the order of schema/plugin.capnp, which says what key, message and signature are in each scheme. */
enum { ECDSA_SECP256K1, ECDSA_P256_SHA256, ECDSA_P256_SHA256_DER, ED25519, RSA_PKCS1_SHA256, RSA_PSS_SHA256, ETHEREUM_ADDRESS };
typedef enum { VALID, INVALID, MALFORMED_SIGNATURE, EXPIRED, UNTRUSTED, UNAVAILABLE } Verdict;

/* ------------------------------------------------ what is yours */

enum { SCHEME = ED25519, KEY_BYTES = 32, SIGNATURE_BYTES = 64 };

/*
 * VALID: the node is to check `check`, and the item is valid if that holds and invalid if not. Any other verdict stands without
 * a check. A verdict depends on the item alone.
 */
static Verdict judge(const Item *item, Check *check) {
    if (item->signature.len != SIGNATURE_BYTES) return MALFORMED_SIGNATURE;
    if (item->origin.len != KEY_BYTES) return INVALID;
    *check = (Check){.key = item->origin, .message = item->batch_id, .signature = item->signature};
    return VALID;
}

/* ------------------------------------------------ plumbing: the ABI's numbers */

#define EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("mainstem"), import_name("host_call")))
uint64_t host_call(const void *request, uint32_t len);

enum { BATCH_ID_BYTES = 32 };
/* Items of a request: more than any node sends, and few enough for a reply. */
enum { ITEMS_MAX = 65536 };
/* The node checks no more at once. */
enum { GROUP_MAX = 1024 };

/* Numbers of schema/plugin.capnp, and sizes of a list's elements. */
enum { REQUEST_VERIFY = 1 };
enum { REPLY_FAILED = 0, REPLY_VERDICTS = 2 };
enum { HOST_CHECK = 2 };
enum { HOST_FAILED = 0, HOST_CHECKS = 3 };
enum { UNSUPPORTED = 0, MALFORMED = 1, LIMIT = 5, INTERNAL = 6 };
enum { BITS = 1, BYTES = 2, VERDICTS = 3, STRUCTS = 7 };

/* ------------------------------------------------ memory: blocks of powers of two, a free list for each */

enum { LEAST_CLASS = 4, CLASSES = 31, PAGE_BYTES = 65536 };

typedef struct Block {
    struct Block *next;
} Block;

extern uint8_t __heap_base;
static Block *free_blocks[CLASSES];
static uint64_t heap_end;

/* CLASSES if there is none for so many bytes. */
static uint32_t class_of(uint32_t len) {
    uint32_t class = LEAST_CLASS;
    while (class < CLASSES && (1u << class) < len) class++;
    return class;
}

EXPORT("mainstem_alloc") void *mainstem_alloc(uint32_t len) {
    uint32_t class = class_of(len);
    if (class == CLASSES) return NULL;
    Block *block = free_blocks[class];
    if (block) {
        free_blocks[class] = block->next;
        return block;
    }
    if (heap_end == 0) heap_end = ((uintptr_t)&__heap_base + 15) & ~(uint64_t)15;
    uint64_t begin = heap_end, end = begin + (1u << class);
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (end > have) {
        uint64_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (__builtin_wasm_memory_grow(0, (size_t)pages) == (size_t)-1) return NULL;
    }
    heap_end = end;
    return (void *)(uintptr_t)begin;
}

EXPORT("mainstem_free") void mainstem_free(void *ptr, uint32_t len) {
    uint32_t class = class_of(len);
    if (!ptr || class == CLASSES) return;
    Block *block = ptr;
    block->next = free_blocks[class];
    free_blocks[class] = block;
}

/* ------------------------------------------------ reading: every place is checked against the message's length */

/* WebAssembly is little-endian, as messages are, and messages lie at multiples of 8. */
typedef uint64_t __attribute__((may_alias)) Word;

typedef struct {
    const Word *words;
    uint32_t count;
} Message;

/* Where its values begin, how many words of them there are, and how many pointers stand behind them. */
typedef struct {
    uint32_t at, data_words, pointers;
} Struct;

typedef struct {
    Struct first;
    uint32_t count;
} Structs;

/* Where the pointer at word `at` shows to, if `words` words lie there. */
static bool target(Message in, uint32_t at, uint64_t words, uint32_t *begin) {
    int64_t first = (int64_t)at + 1 + ((int32_t)(uint32_t)in.words[at] >> 2);
    if (first < 0 || words > in.count || first > (int64_t)(in.count - words)) return false;
    *begin = (uint32_t)first;
    return true;
}

/* What the pointer at word `at` shows to. A null pointer is a struct of nothing, whose fields have their defaults. */
static bool read_struct(Message in, uint32_t at, Struct *out) {
    uint64_t pointer = in.words[at];
    *out = (Struct){0, (uint16_t)(pointer >> 32), (uint16_t)(pointer >> 48)};
    return pointer == 0 || ((pointer & 3) == 0 && target(in, at, (uint64_t)out->data_words + out->pointers, &out->at));
}

/* A word of its values; 0 where the struct is older than the field. */
static uint64_t value(Message in, Struct of, uint32_t index) { return index < of.data_words ? in.words[of.at + index] : 0; }

/* The place of pointer `index`; false if it is null or the struct is older than it. */
static bool has_pointer(Message in, Struct of, uint32_t index, uint32_t *at) {
    *at = of.at + of.data_words + index;
    return index < of.pointers && in.words[*at] != 0;
}

/* A list of bytes or bits; the length counts those. */
static bool read_list(Message in, Struct of, uint32_t index, uint32_t size, Bytes *out) {
    uint32_t at, begin;
    *out = (Bytes){(const uint8_t *)in.words, 0};
    if (!has_pointer(in, of, index, &at)) return true;
    uint64_t pointer = in.words[at], count = pointer >> 35;
    if ((pointer & 3) != 1 || ((pointer >> 32) & 7) != size) return false;
    if (!target(in, at, (count * (size == BITS ? 1 : 8) + 63) / 64, &begin)) return false;
    *out = (Bytes){(const uint8_t *)(in.words + begin), (uint32_t)count};
    return true;
}

static bool read_structs(Message in, Struct of, uint32_t index, Structs *out) {
    uint32_t at, begin;
    *out = (Structs){.count = 0};
    if (!has_pointer(in, of, index, &at)) return true;
    uint64_t pointer = in.words[at], words = pointer >> 35;
    if ((pointer & 3) != 1 || ((pointer >> 32) & 7) != STRUCTS) return false;
    /* Before the elements stands a word that says how many there are and what each has. */
    if (!target(in, at, words + 1, &begin)) return false;
    uint64_t tag = in.words[begin];
    out->count = (uint32_t)tag >> 2;
    out->first = (Struct){begin + 1, (uint16_t)(tag >> 32), (uint16_t)(tag >> 48)};
    return (tag & 3) == 0 && (uint64_t)out->count * (out->first.data_words + out->first.pointers) <= words;
}

static Struct element(Structs of, uint32_t index) {
    Struct found = of.first;
    found.at += index * (found.data_words + found.pointers);
    return found;
}

/* ------------------------------------------------ writing: a block that is long enough, filled from its begin */

typedef struct {
    Word *words;
    uint32_t count, used;
} Writer;

static bool reserve(Writer *to, uint64_t words) {
    *to = (Writer){words < 1 << 28 ? mainstem_alloc((uint32_t)words * 8) : NULL, (uint32_t)words, 0};
    return to->words != NULL;
}

static void drop(Writer *of) {
    mainstem_free(of->words, of->count * 8);
    *of = (Writer){NULL, 0, 0};
}

/* Takes the next words, all 0. What is taken is what `reserve` was asked for. */
static uint32_t take(Writer *to, uint32_t words) {
    uint32_t at = to->used;
    if (words > to->count - at) __builtin_trap();
    while (to->used < at + words) to->words[to->used++] = 0;
    return at;
}

/* A list that the pointer at `at` shows to: takes the next words for it, and returns where they are. */
static uint32_t write_list(Writer *to, uint32_t at, uint32_t size, uint32_t count, uint32_t words) {
    to->words[at] = (uint64_t)(to->used - at - 1) << 2 | 1 | (uint64_t)size << 32 | (uint64_t)count << 35;
    return take(to, words);
}

/* A struct likewise: one word of values, which begins with a number of two bytes, and one pointer, whose place is returned. */
static uint32_t write_struct(Writer *to, uint32_t at, uint32_t number) {
    to->words[at] = (uint64_t)(to->used - at - 1) << 2 | (uint64_t)1 << 32 | (uint64_t)1 << 48;
    to->words[take(to, 1)] = number;
    return take(to, 1);
}

/* The root's number says which member of the union it is. */
static uint32_t write_root(Writer *to, uint32_t tag) { return write_struct(to, take(to, 1), tag); }

static uint32_t words_of(Bytes bytes) { return (bytes.len + 7) / 8; }

static void write_bytes(Writer *to, uint32_t at, Bytes from) {
    uint8_t *bytes = (uint8_t *)(to->words + write_list(to, at, BYTES, from.len, words_of(from)));
    for (uint32_t i = 0; i < from.len; i++) bytes[i] = from.bytes[i];
}

/* ------------------------------------------------ replies: kept until the next call */

static Writer reply;

static uint64_t finish(void) { return (uint64_t)(uintptr_t)reply.words << 32 | (uint64_t)reply.used * 8; }

/* In place of a reply that was begun. */
static uint64_t fail(uint32_t code, const char *sentence) {
    Bytes text = {(const uint8_t *)sentence, 1};
    /* A text ends with a 0 that counts. */
    while (sentence[text.len - 1]) text.len++;
    drop(&reply);
    if (!reserve(&reply, 5 + words_of(text))) __builtin_trap();
    write_bytes(&reply, write_struct(&reply, write_root(&reply, REPLY_FAILED), code), text);
    return finish();
}

/* ------------------------------------------------ asking the node, for many items at once */

typedef struct {
    uint32_t code;
    const char *sentence;
} Failure;

/* What is checked next, and where each verdict goes. */
static struct {
    Check checks[GROUP_MAX];
    uint8_t *verdicts[GROUP_MAX];
    uint32_t count;
} group;

static bool write_group(Writer *to) {
    uint64_t words = 6;
    for (uint32_t i = 0; i < group.count; i++) {
        const Check *check = &group.checks[i];
        words += 3 + words_of(check->key) + words_of(check->message) + words_of(check->signature);
    }
    if (!reserve(to, words)) return false;
    uint32_t list = write_struct(to, write_root(to, HOST_CHECK), SCHEME);
    uint32_t tag = write_list(to, list, STRUCTS, group.count * 3, 1 + group.count * 3);
    to->words[tag] = (uint64_t)group.count << 2 | (uint64_t)3 << 48;
    for (uint32_t i = 0, at = tag + 1; i < group.count; i++, at += 3) {
        write_bytes(to, at, group.checks[i].key);
        write_bytes(to, at + 1, group.checks[i].message);
        write_bytes(to, at + 2, group.checks[i].signature);
    }
    return true;
}

/* The node's own code and sentence. */
static Failure read_failure(Message in, Struct root) {
    uint32_t at;
    Struct found = {0, 0, 0};
    Bytes text;
    if (has_pointer(in, root, 0, &at) && !read_struct(in, at, &found)) return (Failure){INTERNAL, "the node's failure is none"};
    bool said = read_list(in, found, 0, BYTES, &text) && text.len > 1 && text.bytes[text.len - 1] == 0;
    return (Failure){(uint16_t)value(in, found, 0), said ? (const char *)text.bytes : "the node did not check"};
}

/* Has the group checked, and empties it. False: `failure` says why there are no verdicts. */
static bool check_group(Failure *failure) {
    Writer request;
    Struct root;
    Bytes holds;
    *failure = (Failure){LIMIT, "there is no memory to have so many signatures checked"};
    if (group.count == 0) return true;
    if (!write_group(&request)) return false;
    uint64_t place = host_call(request.words, request.used * 8);
    drop(&request);
    Message in = {(const Word *)(uintptr_t)(place >> 32), (uint32_t)place / 8};
    *failure = (Failure){INTERNAL, "the node's reply is not one result for each check"};
    if (in.count == 0 || !read_struct(in, 0, &root)) return false;
    uint16_t tag = (uint16_t)value(in, root, 0);
    if (tag == HOST_FAILED) *failure = read_failure(in, root);
    if (tag != HOST_CHECKS || !read_list(in, root, 0, BITS, &holds) || holds.len != group.count) return false;
    for (uint32_t i = 0; i < group.count; i++) *group.verdicts[i] = holds.bytes[i / 8] >> (i % 8) & 1 ? VALID : INVALID;
    group.count = 0;
    return true;
}

/* ------------------------------------------------ the calls */

static bool read_item(Message in, Struct of, Item *out) {
    out->origin_type = (uint8_t)value(in, of, 0);
    out->timestamp = (int64_t)value(in, of, 1);
    return read_list(in, of, 0, BYTES, &out->header) && read_list(in, of, 1, BYTES, &out->batch_id) &&
           read_list(in, of, 2, BYTES, &out->origin) && read_list(in, of, 3, BYTES, &out->signature) &&
           out->batch_id.len == BATCH_ID_BYTES;
}

static uint64_t verify(Message in, Struct root) {
    Structs items;
    Item item;
    Failure failure;
    if (!read_structs(in, root, 0, &items)) return fail(MALFORMED, "the list of items is none");
    if (items.count > ITEMS_MAX) return fail(LIMIT, "more than 65536 items; send fewer at once");
    uint32_t words = (items.count + 3) / 4;
    if (!reserve(&reply, 3 + words)) return fail(LIMIT, "there is no memory for so many verdicts");
    uint32_t list = write_list(&reply, write_root(&reply, REPLY_VERDICTS), VERDICTS, items.count, words);
    uint8_t *verdicts = (uint8_t *)(reply.words + list);

    group.count = 0;
    for (uint32_t i = 0; i < items.count; i++) {
        Check check = {.key.len = 0};
        if (!read_item(in, element(items, i), &item)) return fail(MALFORMED, "an item is none: its batch id must have 32 bytes");
        Verdict verdict = judge(&item, &check);
        /* What is still to be checked is no yes yet. */
        verdicts[2 * i] = verdict == VALID ? INVALID : (uint8_t)verdict;
        if (verdict != VALID) continue;
        group.checks[group.count] = check;
        group.verdicts[group.count++] = &verdicts[2 * i];
        if (group.count == GROUP_MAX && !check_group(&failure)) return fail(failure.code, failure.sentence);
    }
    if (!check_group(&failure)) return fail(failure.code, failure.sentence);
    return finish();
}

EXPORT("mainstem_abi") uint32_t mainstem_abi(void) { return 1 << 16; }

EXPORT("mainstem_call") uint64_t mainstem_call(const Word *request, uint32_t len) {
    drop(&reply);
    Message in = {request, len / 8};
    Struct root;
    if (len == 0 || len % 8 != 0) return fail(MALFORMED, "a message has 8 bytes or a multiple of them");
    if (!read_struct(in, 0, &root)) return fail(MALFORMED, "the root of the message is no struct within it");
    if ((uint16_t)value(in, root, 0) == REQUEST_VERIFY) return verify(in, root);
    return fail(UNSUPPORTED, "this plugin verifies signatures and knows no other call");
}
