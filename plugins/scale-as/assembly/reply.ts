// Writes a reply into one block of memory, which is kept until the next reply.

const TAG_FAILED: u32 = 0;
const TAG_DONE: u32 = 1;
const TAG_EMITTED: u32 = 4;
const TAG_STATE: u32 = 5;
const SIZE_BYTES: u32 = 2;
const SIZE_NUMBERS: u32 = 5;
const SIZE_STRUCTS: u32 = 7;
const FLOAT64: u32 = 1;

let block: usize = 0;
let room: u32 = 0;
let used: u32 = 0;

/** Where the reply lies: its address times 2^32, and its bytes. */
export function place(): u64 {
  return (<u64>block << 32) | (<u64>used * 8);
}

/** The reply `failed`. */
export function fail(code: u32, sentence: string): void {
  const bytes = <u32>String.UTF8.byteLength(sentence, true);
  const pointer = root(TAG_FAILED, 2 + (bytes + 7) / 8);
  const failure = take(2);
  pointToStruct(pointer, failure, 1, 1);
  store<u64>(address(failure), code);
  const text = take((bytes + 7) / 8);
  String.UTF8.encodeUnsafe(changetype<usize>(sentence), sentence.length, address(text), true);
  pointToList(failure + 1, text, SIZE_BYTES, bytes);
}

/** The reply `done`. */
export function succeed(): void {
  root(TAG_DONE, 0);
}

/** The reply `state`, of an operator that keeps none. */
export function giveState(): void {
  root(TAG_STATE, 0);
}

/** The reply `emitted` without any rows. */
export function emitNothing(): void {
  root(TAG_EMITTED, 0);
}

/**
 * The reply `emitted` with `rows` rows for output 0, in one column of numbers. The timestamps are copied; the values are for the
 * caller to write where the returned address says.
 */
export function emitNumbers(rows: u32, timestamps: usize): usize {
  const pointer = root(TAG_EMITTED, 4 + rows + 3 + rows);
  const batch = structs(pointer, 1, 2);
  const times = take(rows);
  memory.copy(address(times), timestamps, 8 * <usize>rows);
  pointToList(batch + 1, times, SIZE_NUMBERS, rows);
  const column = structs(batch + 2, 1, 1);
  store<u64>(address(column), FLOAT64);
  const values = take(rows);
  pointToList(column + 1, values, SIZE_NUMBERS, rows);
  return address(values);
}

/** Begins a reply that takes `more` words beside its root, and gives the word of its one pointer. */
function root(tag: u32, more: u32): u32 {
  const words: u32 = more + 3;
  if (words > room) {
    if (block != 0) heap.free(block);
    block = heap.alloc(8 * <usize>words);
    room = words;
  }
  used = 0;
  const first = take(3);
  pointToStruct(first, first + 1, 1, 1);
  store<u64>(address(first + 1), tag);
  return first + 2;
}

/** A list of one struct behind the pointer at word `at`; gives the struct's first word. */
function structs(at: u32, values: u32, pointers: u32): u32 {
  const tag = take(1 + values + pointers);
  pointToList(at, tag, SIZE_STRUCTS, values + pointers);
  store<u64>(address(tag), (1 << 2) | (<u64>values << 32) | (<u64>pointers << 48));
  return tag + 1;
}

/** The next words, all 0. */
function take(words: u32): u32 {
  const first = used;
  used += words;
  memory.fill(address(first), 0, 8 * <usize>words);
  return first;
}

function address(word: u32): usize {
  return block + 8 * <usize>word;
}

function pointToStruct(at: u32, target: u32, values: u32, pointers: u32): void {
  store<u64>(address(at), (<u64>(target - at - 1) << 2) | (<u64>values << 32) | (<u64>pointers << 48));
}

function pointToList(at: u32, target: u32, size: u32, count: u32): void {
  store<u64>(address(at), (<u64>(target - at - 1) << 2) | 1 | (<u64>size << 32) | (<u64>count << 35));
}
