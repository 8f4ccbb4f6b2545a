/**
 * Bytes to text with line numbers. Node's readline has no bound on the length of a line and also breaks lines at
 * U+2028, which JSON allows inside strings; here only line feeds count.
 */
import { InputError } from "../base/errors.ts";
import { otherKind } from "../base/file-kind.ts";

export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** A line, or a piece of one. */
export interface Piece {
  readonly text: string;
  /** The line it lies on; the first is 1. */
  readonly line: number;
}

const LINE_FEED = 10;

/** Whole lines of UTF-8 text, without their line feeds. */
export async function* wholeLines(chunks: Chunks, name: string, mostBytes: number): AsyncGenerator<Piece> {
  let bytes = 0;
  let parts: string[] = [];
  for await (const { text, line, size, ends } of segments(chunks, name)) {
    bytes += size;
    if (bytes > mostBytes) throw new InputError(`${name} line ${line}: expected at most ${mostBytes} bytes, got more`);
    parts.push(text);
    if (!ends) continue;
    yield { text: parts.join(""), line };
    bytes = 0;
    parts = [];
  }
}

/** All text, in pieces as they come; none spans two lines. Line feeds stay in. */
export async function* linePieces(chunks: Chunks, name: string): AsyncGenerator<Piece> {
  for await (const { text, line, ends } of segments(chunks, name)) yield { text: ends ? `${text}\n` : text, line };
}

interface Segment extends Piece {
  readonly size: number;
  /** True at the end of a line, and at the end of the text. */
  readonly ends: boolean;
}

async function* segments(chunks: Chunks, name: string): AsyncGenerator<Segment> {
  // A line feed is never part of a longer character, so bytes are cut into lines before they are decoded.
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let line = 1;
  const decode = (bytes: Uint8Array | undefined, ends: boolean): Segment => {
    try {
      return { text: utf8.decode(bytes, { stream: !ends }), line, size: bytes?.length ?? 0, ends };
    } catch (cause) {
      throw new InputError(`${name} line ${line}: expected UTF-8, got bytes that are not`, { cause });
    }
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
      yield decode(chunk.subarray(from, at), true);
      line++;
      from = at + 1;
    }
    if (from < chunk.length) yield decode(chunk.subarray(from), false);
  }
  yield decode(undefined, true);
}

export interface Opening {
  /** The beginning of the text after white space; null when there is nothing else. */
  readonly text: string | null;
  /** The line it lies on. */
  readonly line: number;
  /** All chunks, without a byte-order mark. */
  readonly chunks: Chunks;
}

const WHITE_SPACE = new Set([9, 10, 13, 32]);

/** Looks at the first bytes that are not white space. */
export async function openText(chunks: Chunks, name: string, mostBytes: number): Promise<Opening> {
  const iterator = Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
  let head = new Uint8Array(0);
  for (;;) {
    const { value, done = false } = await iterator.next();
    if (!done) head = Uint8Array.from(Buffer.concat([head, value]));
    if (!done && head.length < 3) continue;
    const kind = otherKind(head);
    if (kind !== null) throw new InputError(`${name} is ${kind}`);
    const body = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? head.subarray(3) : head;
    const at = body.findIndex((byte) => !WHITE_SPACE.has(byte));
    if (at < 0 && !done) {
      if (body.length > mostBytes) throw new InputError(`${name}: got more than ${mostBytes} bytes of white space`);
      continue;
    }
    const before = body.subarray(0, Math.max(at, 0));
    return {
      text: at < 0 ? null : Buffer.from(body.subarray(at, at + 80)).toString("utf8"),
      line: before.reduce((lines, byte) => lines + (byte === LINE_FEED ? 1 : 0), 1),
      chunks: resumed(body, iterator),
    };
  }
}

async function* resumed(
  head: Uint8Array,
  iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield head;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  } finally {
    await iterator.return?.();
  }
}
