// An operator in AssemblyScript, by plugin-api/ABI.md alone: multiplies a column of numbers by a factor. What it does is in `onBatch`; `start`
// reads its parameter. It keeps no state and calls nothing of the node's.

import {
  SIZE_BYTES,
  SIZE_NUMBERS,
  Struct,
  begin,
  broken,
  count,
  element,
  elements,
  listAt,
  pointerOf,
  structAt,
  structsAt,
  textAt,
  u16At,
} from "./reader";
import { NAME } from "./name";
import { emitNothing, emitNumbers, fail, giveState, place, succeed } from "./reply";

// Numbers of schema/plugin.capnp.
const START: u32 = 0;
const ON_BATCH: u32 = 3;
const ON_WATERMARK: u32 = 4;
const SNAPSHOT: u32 = 5;
const RESTORE: u32 = 6;
const COLUMNS: u32 = 0;
const FLOAT64: u32 = 1;
const UNSUPPORTED: u32 = 0;
const MALFORMED: u32 = 1;
const INVALID: u32 = 2;

let started = false;
let factor: f64 = 1;

export function mainstem_abi(): u32 {
  return 1 << 16;
}

export function mainstem_alloc(len: u32): usize {
  // Blocks of the runtime begin at multiples of 16.
  return heap.alloc(len);
}

export function mainstem_free(ptr: usize, len: u32): void {
  heap.free(ptr);
}

export function mainstem_call(ptr: usize, len: u32): u64 {
  answer(ptr, len);
  return place();
}

function answer(ptr: usize, len: u32): void {
  if (!begin(ptr, len)) return fail(MALFORMED, "a message has 8 bytes or a multiple of them");
  const root = structAt(0);
  const tag = u16At(root, 0);
  const content = pointerOf(root, 0);
  if (broken()) return fail(MALFORMED, "the root of the message is no struct within it");
  if (tag == START) return start(structAt(content));
  if (tag > RESTORE || tag < ON_BATCH) return fail(UNSUPPORTED, "this plugin is an operator and does not know this call");
  if (!started) return fail(INVALID, "this instance is not started; `start` comes first");
  if (tag == ON_BATCH) return onBatch(structAt(content));
  if (tag == ON_WATERMARK) return emitNothing();
  if (tag == SNAPSHOT) return giveState();
  restore(content);
}

function start(fields: Struct): void {
  if (started) return fail(INVALID, "this instance was started before; start a new one");
  const name = textAt(pointerOf(fields, 0));
  const parameters = structsAt(pointerOf(fields, 1));
  let text = "";
  for (let i: u32 = 0; i < count(parameters); i++) {
    const parameter = element(parameters, i);
    if (textAt(pointerOf(parameter, 0)) == "factor") text = textAt(pointerOf(parameter, 1));
  }
  if (broken()) return fail(MALFORMED, "the operator's name or its parameters do not lie within the message");
  if (name != NAME) return fail(INVALID, "this plugin has no operator of that name; its manifest says which it has");
  const value = isNumber(text) ? parseFloat(text) : NaN;
  if (!isFinite(value)) return fail(INVALID, "the parameter factor must be a number, such as 0.5");
  factor = value;
  started = true;
  succeed();
}

/** Whether a text has the letters of a number alone: `parseFloat` stops at the first that is none. */
function isNumber(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (!((c >= "0" && c <= "9") || c == "." || c == "-" || c == "+" || c == "e" || c == "E")) return false;
  }
  return text.length > 0;
}

function onBatch(fields: Struct): void {
  const times = listAt(pointerOf(fields, 0), SIZE_NUMBERS);
  const rows = count(times);
  if (broken()) return fail(MALFORMED, "the timestamps do not lie within the message");
  if (u16At(fields, 2) != COLUMNS) return fail(INVALID, "the rows are whole events; send the column of the manifest");
  const columns = structsAt(pointerOf(fields, 1));
  if (broken()) return fail(MALFORMED, "the columns do not lie within the message");
  if (count(columns) == 0) return fail(INVALID, "the rows have no column; send that of the manifest");
  const column = element(columns, 0);
  if (u16At(column, 0) != FLOAT64) return fail(INVALID, "column 0 is not float64; send that of the manifest");
  const values = listAt(pointerOf(column, 0), SIZE_NUMBERS);
  if (broken() || count(values) != rows) return fail(MALFORMED, "column 0 does not have one value for each row");
  if (rows == 0) return emitNothing();
  const out = emitNumbers(rows, elements(times));
  for (let i: u32 = 0; i < rows; i++) {
    store<f64>(out + 8 * i, load<f64>(elements(values) + 8 * i) * factor);
  }
}

function restore(at: u32): void {
  const state = listAt(at, SIZE_BYTES);
  if (broken()) return fail(MALFORMED, "the state is no list of bytes within the message");
  if (count(state) != 0) return fail(INVALID, "this operator keeps no state; give back what `snapshot` gave");
  succeed();
}
