// Reads a message in place. Every place is checked against the message's length; what does not fit makes `broken()` true and reads
// as nothing, so that callers ask once, at the end.
//
// Nothing here is an object, as objects would have to be collected: a struct is its first word and the two sizes of its pointer, a list
// its first word and its count, each in one number.

export type Struct = u64;
export type List = u64;

const NONE: u32 = u32.MAX_VALUE;
const KIND_STRUCT: u32 = 0;
const KIND_LIST: u32 = 1;
export const SIZE_BYTES: u32 = 2;
export const SIZE_NUMBERS: u32 = 5;
const SIZE_STRUCTS: u32 = 7;

let base: usize = 0;
let words: u32 = 0;
let bad = false;

/** Looks at a message; false if no message has this length. */
export function begin(ptr: usize, len: u32): bool {
  base = ptr;
  words = len / 8;
  bad = false;
  return len != 0 && len % 8 == 0;
}

/** Whether something read since `begin` was none. */
export function broken(): bool {
  return bad;
}

/** Where a word lies in memory. */
export function address(word: u32): usize {
  return base + 8 * word;
}

/** The struct behind the pointer at word `at`; one of nothing if there is no pointer. */
export function structAt(at: u32): Struct {
  const pointer = pointerAt(at);
  if (pointer == 0) return 0;
  const sizes = pointer >> 32;
  const first = target(at, pointer, KIND_STRUCT, (sizes & 0xffff) + (sizes >> 16));
  return first == NONE ? 0 : (<u64>first << 32) | sizes;
}

/** A value of 2 bytes; 0 where the struct is older than the field. */
export function u16At(fields: Struct, byte: u32): u32 {
  const valueWords = <u32>fields & 0xffff;
  return byte + 2 > 8 * valueWords ? 0 : load<u16>(address(<u32>(fields >> 32)) + byte);
}

/** The word of a struct's pointer `index`; where the struct is older than it, no word of the message. */
export function pointerOf(fields: Struct, index: u32): u32 {
  const valueWords = <u32>fields & 0xffff;
  const pointers = (<u32>fields >> 16) & 0xffff;
  return index < pointers ? <u32>(fields >> 32) + valueWords + index : NONE;
}

/** A list of bytes or of numbers, by the pointer at word `at`. */
export function listAt(at: u32, size: u32): List {
  const pointer = pointerAt(at);
  if (pointer == 0) return 0;
  const count = <u32>(pointer >> 35);
  if ((<u32>(pointer >> 32) & 7) != size) {
    bad = true;
    return 0;
  }
  const long = size == SIZE_BYTES ? (<u64>count + 7) / 8 : <u64>count;
  const first = target(at, pointer, KIND_LIST, long);
  return first == NONE ? 0 : (<u64>first << 32) | count;
}

/** A list of structs, by the pointer at word `at`. Its first word is the one that says what its structs are. */
export function structsAt(at: u32): List {
  const pointer = pointerAt(at);
  if (pointer == 0) return 0;
  const long = pointer >> 35;
  const first = target(at, pointer, KIND_LIST, long + 1);
  if (first == NONE) return 0;
  const tag = load<u64>(address(first));
  const count = <u32>tag >> 2;
  const sizes = tag >> 32;
  if ((<u32>(pointer >> 32) & 7) != SIZE_STRUCTS || (tag & 3) != 0 || <u64>count * ((sizes & 0xffff) + (sizes >> 16)) > long) {
    bad = true;
    return 0;
  }
  return (<u64>first << 32) | count;
}

/** A struct of a list of structs; `index` is less than the list's count. */
export function element(list: List, index: u32): Struct {
  const first = <u32>(list >> 32);
  const sizes = load<u64>(address(first)) >> 32;
  const step = <u32>(sizes & 0xffff) + <u32>(sizes >> 16);
  return (<u64>(first + 1 + index * step) << 32) | sizes;
}

/** How many there are in a list. */
export function count(list: List): u32 {
  return <u32>list;
}

/** Where a list's elements lie in memory. */
export function elements(list: List): usize {
  return address(<u32>(list >> 32));
}

/** The text behind the pointer at word `at`, without the 0 at its end. */
export function textAt(at: u32): string {
  const bytes = listAt(at, SIZE_BYTES);
  return count(bytes) == 0 ? "" : String.UTF8.decodeUnsafe(elements(bytes), count(bytes) - 1);
}

/** The pointer at a word; null if there is no such word. */
function pointerAt(at: u32): u64 {
  return at < words ? load<u64>(address(at)) : 0;
}

/** The first word that a pointer shows to, if `long` words lie there and it is of this kind. */
function target(at: u32, pointer: u64, kind: u32, long: u64): u32 {
  const offset = <i64>(<i32>(<u32>pointer) >> 2);
  const first = <i64>at + 1 + offset;
  if ((<u32>pointer & 3) != kind || first < 0 || first + <i64>long > <i64>words) {
    bad = true;
    return NONE;
  }
  return <u32>first;
}
