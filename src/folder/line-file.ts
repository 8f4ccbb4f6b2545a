/**
 * Files of lines that grow while a run goes on. A checkpoint records how far each had come and what was in it, so that a
 * resumed run goes on from bytes that are what they were, or from an older checkpoint.
 */

import { createHash, type Hash } from "node:crypto";
import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, writeSync } from "node:fs";
import { buggify } from "../base/buggify.ts";
import { onDisk } from "../base/disk.ts";
import { parseJson } from "../base/json.ts";
import { hashOfStart, openNew, openToChange, openToRead } from "../base/open.ts";
import { linesOf } from "../base/text.ts";

/** How far a file of lines had come, and what was in it: its first `bytes` bytes have this SHA-256, in hexadecimal. */
export interface FileMark {
  readonly bytes: number;
  readonly digest: string;
}

export const emptyFile: FileMark = { bytes: 0, digest: createHash("sha256").digest("hex") };

/** Why a file does not begin as the mark says; null when it does. */
export function flawOfFile(path: string, { bytes, digest }: FileMark): string | null {
  if (bytes === 0) return null;
  if (!existsSync(path)) return `${path} is missing`;
  return onDisk(`cannot read ${path}`, () => {
    const file = openToRead(path, "refused");
    try {
      const { size } = fstatSync(file);
      if (size < bytes) return `${path} has ${size} bytes, expected at least ${bytes}`;
      return hashOfStart(file, bytes).digest("hex") === digest
        ? null
        : `the first ${bytes} bytes of ${path} have changed`;
    } finally {
      closeSync(file);
    }
  });
}

const flushAt = 1 << 16;

/** Appended to in large writes. */
export class LineFile {
  readonly path: string;
  readonly #file: number;
  readonly #hash: Hash;
  #pending: string[] = [];
  #pendingLength = 0;
  #offset: number;
  #isClosed = false;

  /** Continues where the mark is, which {@link flawOfFile} found right; what an interrupted run wrote after it is cut off. */
  constructor(path: string, { bytes }: FileMark = emptyFile) {
    this.path = path;
    this.#file = onDisk(`cannot open ${path}`, () => (bytes === 0 ? openNew(path) : openToChange(path)));
    this.#offset = bytes;
    this.#hash = onDisk(`cannot read ${path}`, () => hashOfStart(this.#file, bytes));
    if (bytes > 0) onDisk(`cannot write ${path}`, () => ftruncateSync(this.#file, bytes));
  }

  /**
   * After `close` nothing is written: by then the file's number may be another file's.
   *
   * @param text whole lines, each with its line feed
   */
  write(text: string): void {
    if (this.#isClosed) return;
    this.#pending.push(text);
    this.#pendingLength += text.length;
    if (this.#pendingLength >= flushAt || buggify("file: a line is written at once")) this.flush();
  }

  /** Hands everything to the operating system. */
  flush(): void {
    if (this.#pendingLength > 0) {
      const bytes = Buffer.from(this.#pending.join(""));
      this.#pending = [];
      this.#pendingLength = 0;
      onDisk(`cannot write ${this.path}`, () => {
        for (let written = 0; written < bytes.length; ) {
          written += writeSync(this.#file, bytes, written, bytes.length - written, this.#offset + written);
        }
      });
      this.#offset += bytes.length;
      this.#hash.update(bytes);
    }
  }

  /** Like `flush`, and the bytes survive a power cut. Returns how far the file has come. */
  sync(): FileMark {
    this.flush();
    onDisk(`cannot write ${this.path}`, () => fsyncSync(this.#file));
    return { bytes: this.#offset, digest: this.#hash.copy().digest("hex") };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.flush();
    } finally {
      closeSync(this.#file);
    }
  }
}

/** @internal The values of a JSONL file, a line each. */
export function readLines<Row>(path: string): Row[] {
  return Array.from(linesOf(path, "refused"))
    .filter((line) => line !== "")
    .map((line, index) => parseJson(line, `${path} line ${index + 1}`) as Row);
}
