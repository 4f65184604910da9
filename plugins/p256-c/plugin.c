/*
 * A signature type in C, by plugin-api/ABI.md alone: ECDSA on P-256 with SHA-256 over the batch id.
 *
 * The origin is SHA-256 of the public key (SEC1, uncompressed, 65 bytes), as the key itself is too long for one; the signature
 * is the key and then r, s: 129 bytes. Hashing and arithmetic are the node's; here messages are read and written.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("mainstem"), import_name("host_call")))
uint64_t host_call(const uint8_t *request, uint32_t len);

enum { KEY_BYTES = 65, RS_BYTES = 64, SIGNATURE_BYTES = KEY_BYTES + RS_BYTES, HASH_BYTES = 32 };
/* Host requests to check signatures take no more at once, those to hash do. */
enum { GROUP_MAX = 1024 };
/* Items of a request: more than any node sends, and few enough for a reply. */
enum { ITEMS_MAX = 65536 };

/* Numbers of schema/plugin.capnp. */
enum { REQUEST_VERIFY = 1 };
enum { REPLY_FAILED = 0, REPLY_VERDICTS = 2 };
enum { HOST_SHA256 = 0, HOST_CHECK = 2 };
enum { HOST_FAILED = 0, HOST_DIGESTS = 2, HOST_CHECKS = 3 };
enum { VALID = 0, INVALID = 1, MALFORMED_SIGNATURE = 2 };
enum { UNSUPPORTED = 0, MALFORMED = 1, LIMIT = 5, INTERNAL = 6 };
enum { SCHEME_P256_SHA256 = 1 };

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

EXPORT("mainstem_alloc") uint8_t *mainstem_alloc(uint32_t len) {
    uint32_t class = class_of(len);
    if (class == CLASSES) return NULL;
    Block *block = free_blocks[class];
    if (block) {
        free_blocks[class] = block->next;
        return (uint8_t *)block;
    }
    if (heap_end == 0) heap_end = ((uintptr_t)&__heap_base + 15) & ~(uint64_t)15;
    uint64_t begin = heap_end, end = begin + (1u << class);
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (end > have) {
        uint64_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (__builtin_wasm_memory_grow(0, (size_t)pages) == (size_t)-1) return NULL;
    }
    heap_end = end;
    return (uint8_t *)(uintptr_t)begin;
}

EXPORT("mainstem_free") void mainstem_free(uint8_t *ptr, uint32_t len) {
    uint32_t class = class_of(len);
    if (!ptr || class == CLASSES) return;
    Block *block = (Block *)ptr;
    block->next = free_blocks[class];
    free_blocks[class] = block;
}

/* ------------------------------------------------ reading: every place is checked against the message's length */

typedef struct {
    const uint8_t *bytes;
    uint32_t words;
} Message;

/* Begin of the values, count of their words; begin and count of the pointers. All in words of the message. */
typedef struct {
    uint32_t data, data_words, pointers, pointer_count;
} Struct;

typedef struct {
    const uint8_t *bytes;
    uint32_t len;
} Bytes;

/* A list of structs: the first, the words of each, and how many. */
typedef struct {
    Struct first;
    uint32_t step, count;
} Structs;

static uint64_t load(const uint8_t *at, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint64_t word(Message in, uint32_t at) { return load(in.bytes + 8 * (size_t)at, 8); }

/* Where the pointer at word `at` shows to, if `words` words lie there. */
static bool target(Message in, uint32_t at, uint64_t words, uint32_t *begin) {
    int64_t offset = (int32_t)(uint32_t)word(in, at) >> 2;
    int64_t first = (int64_t)at + 1 + offset;
    if (first < 0 || words > in.words || first > (int64_t)(in.words - words)) return false;
    *begin = (uint32_t)first;
    return true;
}

/* A null pointer is a struct of nothing, whose fields have their defaults. */
static bool read_struct(Message in, uint32_t at, Struct *out) {
    uint64_t pointer = word(in, at);
    *out = (Struct){0, 0, 0, 0};
    if (pointer == 0) return true;
    if ((pointer & 3) != 0) return false;
    out->data_words = (uint16_t)(pointer >> 32);
    out->pointer_count = (uint16_t)(pointer >> 48);
    if (!target(in, at, (uint64_t)out->data_words + out->pointer_count, &out->data)) return false;
    out->pointers = out->data + out->data_words;
    return true;
}

/* A value of 2 bytes; 0 where the struct is older than the field. */
static uint32_t read_u16(Message in, Struct of, uint32_t byte) {
    if (byte + 2 > of.data_words * 8) return 0;
    return (uint32_t)load(in.bytes + 8 * (size_t)of.data + byte, 2);
}

/* The place of pointer `index`; false if it is null or the struct is older than it. */
static bool has_pointer(Message in, Struct of, uint32_t index, uint32_t *at) {
    if (index >= of.pointer_count) return false;
    *at = of.pointers + index;
    return word(in, *at) != 0;
}

/* A list whose elements have `bits` bits: 8 for data, 1 for truth values. `count` is of elements. */
static bool read_list(Message in, Struct of, uint32_t index, uint32_t size, uint32_t bits, Bytes *out, uint32_t *count) {
    uint32_t at, begin;
    *out = (Bytes){in.bytes, 0};
    *count = 0;
    if (!has_pointer(in, of, index, &at)) return true;
    uint64_t pointer = word(in, at);
    if ((pointer & 3) != 1 || ((pointer >> 32) & 7) != size) return false;
    *count = (uint32_t)(pointer >> 35);
    uint64_t words = ((uint64_t)*count * bits + 63) / 64;
    if (!target(in, at, words, &begin)) return false;
    out->bytes = in.bytes + 8 * (size_t)begin;
    out->len = (uint32_t)(((uint64_t)*count * bits + 7) / 8);
    return true;
}

static bool read_bytes(Message in, Struct of, uint32_t index, Bytes *out) {
    uint32_t count;
    return read_list(in, of, index, 2, 8, out, &count);
}

static bool read_structs(Message in, Struct of, uint32_t index, Structs *out) {
    uint32_t at, begin;
    *out = (Structs){{0, 0, 0, 0}, 0, 0};
    if (!has_pointer(in, of, index, &at)) return true;
    uint64_t pointer = word(in, at);
    if ((pointer & 3) != 1 || ((pointer >> 32) & 7) != 7) return false;
    uint32_t words = (uint32_t)(pointer >> 35);
    /* Before the elements stands a word that says how many there are and what each has. */
    if (!target(in, at, (uint64_t)words + 1, &begin)) return false;
    uint64_t tag = word(in, begin);
    if ((tag & 3) != 0) return false;
    out->count = (uint32_t)tag >> 2;
    out->first.data = begin + 1;
    out->first.data_words = (uint16_t)(tag >> 32);
    out->first.pointer_count = (uint16_t)(tag >> 48);
    out->first.pointers = out->first.data + out->first.data_words;
    out->step = out->first.data_words + out->first.pointer_count;
    return (uint64_t)out->count * out->step <= words;
}

static Struct element(Structs of, uint32_t index) {
    Struct found = of.first;
    found.data += index * of.step;
    found.pointers += index * of.step;
    return found;
}

/* ------------------------------------------------ writing: a block that is long enough, filled from its begin */

typedef struct {
    uint8_t *bytes;
    uint32_t words, used;
} Writer;

static void store(Writer *to, uint32_t at, uint64_t value) {
    for (uint32_t i = 0; i < 8; i++) to->bytes[8 * (size_t)at + i] = (uint8_t)(value >> (8 * i));
}

/* Takes the next words, all 0. What is taken is what `writer` was asked for. */
static uint32_t take(Writer *to, uint32_t words) {
    uint32_t at = to->used;
    if (words > to->words - at) __builtin_trap();
    for (uint32_t i = 0; i < words; i++) store(to, at + i, 0);
    to->used += words;
    return at;
}

static bool writer(Writer *to, uint32_t words) {
    *to = (Writer){mainstem_alloc(words * 8), words, 0};
    return to->bytes != NULL;
}

static void point_to_struct(Writer *to, uint32_t at, uint32_t target, uint32_t data_words, uint32_t pointers) {
    store(to, at, (uint64_t)(target - at - 1) << 2 | (uint64_t)data_words << 32 | (uint64_t)pointers << 48);
}

static void point_to_list(Writer *to, uint32_t at, uint32_t target, uint32_t size, uint32_t count) {
    store(to, at, (uint64_t)(target - at - 1) << 2 | 1 | (uint64_t)size << 32 | (uint64_t)count << 35);
}

static void write_bytes(Writer *to, uint32_t at, const uint8_t *bytes, uint32_t len) {
    uint32_t begin = take(to, (len + 7) / 8);
    for (uint32_t i = 0; i < len; i++) to->bytes[8 * (size_t)begin + i] = bytes[i];
    point_to_list(to, at, begin, 2, len);
}

/* The root: one word of values whose first two bytes are the union's tag, and one pointer, whose place is returned. */
static uint32_t write_root(Writer *to, uint32_t tag) {
    uint32_t root = take(to, 1), data = take(to, 1), pointer = take(to, 1);
    point_to_struct(to, root, data, 1, 1);
    store(to, data, tag);
    return pointer;
}

/* ------------------------------------------------ replies: kept until the next call */

static Writer reply;

static uint64_t finish(void) {
    return (uint64_t)(uintptr_t)reply.bytes << 32 | (uint64_t)reply.used * 8;
}

static uint64_t fail(uint32_t code, const char *sentence) {
    uint32_t len = 0;
    while (sentence[len]) len++;
    if (!writer(&reply, 8 + len / 8)) __builtin_trap();
    uint32_t pointer = write_root(&reply, REPLY_FAILED);
    uint32_t data = take(&reply, 1), text = take(&reply, 1);
    point_to_struct(&reply, pointer, data, 1, 1);
    store(&reply, data, code);
    /* A text ends with a 0 that counts. */
    write_bytes(&reply, text, (const uint8_t *)sentence, len + 1);
    return finish();
}

/* ------------------------------------------------ the node's hashes and checks */

typedef struct {
    Bytes batch_id, origin, signature;
    uint32_t index;
} Item;

static Item items[GROUP_MAX];

/* Calls the node. 0, or the code of what went wrong plus 1. */
static uint32_t ask(Writer *request, uint32_t expected, Message *in, Struct *root) {
    uint64_t place = host_call(request->bytes, request->used * 8);
    mainstem_free(request->bytes, request->words * 8);
    *in = (Message){(const uint8_t *)(uintptr_t)(place >> 32), (uint32_t)place / 8};
    if (in->words == 0 || !read_struct(*in, 0, root)) return INTERNAL + 1;
    uint32_t tag = read_u16(*in, *root, 0);
    if (tag == HOST_FAILED) {
        Struct failure = {0, 0, 0, 0};
        uint32_t at;
        if (has_pointer(*in, *root, 0, &at) && !read_struct(*in, at, &failure)) return INTERNAL + 1;
        return read_u16(*in, failure, 0) + 1;
    }
    return tag == expected ? 0 : INTERNAL + 1;
}

/* Leaves in `items` those whose key is the one that the origin stands for. */
static uint32_t keep_own_keys(uint32_t *count) {
    Writer request;
    Message in;
    Struct root;
    Bytes digests;
    if (!writer(&request, 3 + *count * (1 + (KEY_BYTES + 7) / 8))) return LIMIT + 1;
    uint32_t pointer = write_root(&request, HOST_SHA256), list = take(&request, *count);
    point_to_list(&request, pointer, list, 6, *count);
    for (uint32_t i = 0; i < *count; i++) write_bytes(&request, list + i, items[i].signature.bytes, KEY_BYTES);
    uint32_t fault = ask(&request, HOST_DIGESTS, &in, &root);
    if (fault) return fault;
    if (!read_bytes(in, root, 0, &digests) || digests.len != *count * HASH_BYTES) return INTERNAL + 1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *count; i++) {
        bool same = true;
        for (uint32_t byte = 0; byte < HASH_BYTES; byte++)
            same &= digests.bytes[i * HASH_BYTES + byte] == items[i].origin.bytes[byte];
        if (same) items[kept++] = items[i];
    }
    *count = kept;
    return 0;
}

/* Sets the verdict of those in `items` whose signature holds. */
static uint32_t check(uint32_t count, uint8_t *verdicts) {
    Writer request;
    Message in;
    Struct root;
    Bytes bits;
    uint32_t checked;
    uint32_t each = 3 + (KEY_BYTES + 7) / 8 + HASH_BYTES / 8 + RS_BYTES / 8;
    if (!writer(&request, 6 + count * each)) return LIMIT + 1;
    uint32_t pointer = write_root(&request, HOST_CHECK);
    uint32_t scheme = take(&request, 1), list = take(&request, 1), tag = take(&request, 1);
    point_to_struct(&request, pointer, scheme, 1, 1);
    store(&request, scheme, SCHEME_P256_SHA256);
    point_to_list(&request, list, tag, 7, count * 3);
    store(&request, tag, (uint64_t)count << 2 | (uint64_t)3 << 48);
    uint32_t fields = take(&request, count * 3);
    for (uint32_t i = 0; i < count; i++, fields += 3) {
        write_bytes(&request, fields, items[i].signature.bytes, KEY_BYTES);
        write_bytes(&request, fields + 1, items[i].batch_id.bytes, HASH_BYTES);
        write_bytes(&request, fields + 2, items[i].signature.bytes + KEY_BYTES, RS_BYTES);
    }
    uint32_t fault = ask(&request, HOST_CHECKS, &in, &root);
    if (fault) return fault;
    if (!read_list(in, root, 0, 1, 1, &bits, &checked) || checked != count) return INTERNAL + 1;
    for (uint32_t i = 0; i < count; i++)
        if (bits.bytes[i / 8] >> (i % 8) & 1) verdicts[2 * (size_t)items[i].index] = VALID;
    return 0;
}

/* ------------------------------------------------ the calls */

static uint64_t verify(Message in, Struct root) {
    Structs signed_items;
    if (!read_structs(in, root, 0, &signed_items)) return fail(MALFORMED, "the list of items is none");
    if (signed_items.count > ITEMS_MAX) return fail(LIMIT, "more than 65536 items; send fewer at once");
    uint32_t total = signed_items.count;
    if (!writer(&reply, 3 + (total + 3) / 4)) return fail(LIMIT, "there is no memory for so many verdicts");
    uint32_t pointer = write_root(&reply, REPLY_VERDICTS), list = take(&reply, (total + 3) / 4);
    point_to_list(&reply, pointer, list, 3, total);
    uint8_t *verdicts = reply.bytes + 8 * (size_t)list;

    uint32_t fault = 0;
    for (uint32_t begin = 0; begin < total && !fault; begin += GROUP_MAX) {
        uint32_t count = 0;
        for (uint32_t index = begin; index < total && index - begin < GROUP_MAX; index++) {
            Struct of = element(signed_items, index);
            Item item = {.index = index};
            bool read = read_bytes(in, of, 1, &item.batch_id) && read_bytes(in, of, 2, &item.origin) &&
                        read_bytes(in, of, 3, &item.signature);
            if (!read || item.batch_id.len != HASH_BYTES) {
                mainstem_free(reply.bytes, reply.words * 8);
                return fail(MALFORMED, "an item is none: its batch id must have 32 bytes");
            }
            bool formed = item.signature.len == SIGNATURE_BYTES && item.signature.bytes[0] == 4;
            verdicts[2 * (size_t)index] = formed ? INVALID : MALFORMED_SIGNATURE;
            if (formed && item.origin.len == HASH_BYTES) items[count++] = item;
        }
        if (count) fault = keep_own_keys(&count);
        if (count && !fault) fault = check(count, verdicts);
    }
    if (fault) {
        mainstem_free(reply.bytes, reply.words * 8);
        return fail(fault - 1, "the node did not hash or check; grant this plugin crypto");
    }
    return finish();
}

EXPORT("mainstem_abi") uint32_t mainstem_abi(void) { return 1 << 16; }

EXPORT("mainstem_call") uint64_t mainstem_call(const uint8_t *request, uint32_t len) {
    if (reply.bytes) mainstem_free(reply.bytes, reply.words * 8);
    reply = (Writer){NULL, 0, 0};
    Message in = {request, len / 8};
    Struct root;
    if (len == 0 || len % 8 != 0) return fail(MALFORMED, "a message has 8 bytes or a multiple of them");
    if (!read_struct(in, 0, &root)) return fail(MALFORMED, "the root of the message is no struct within it");
    if (read_u16(in, root, 0) == REQUEST_VERIFY) return verify(in, root);
    return fail(UNSUPPORTED, "this plugin verifies signatures and knows no other call");
}
