/**
 * Finished cells of studies, a line each. A line is written in one call and made durable before the next cell
 * is begun, so a study that is killed loses the cells under way and nothing else; a line it was cut off in is dropped.
 */
import { appendFileSync, closeSync, existsSync, fsyncSync, ftruncateSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk } from "../base/disk.ts";
import { parseAs } from "../base/json.ts";
import { largestBuffer, openToAppend, readBytes } from "../base/open.ts";
import { acquireLock, type Lock } from "../folder/lock.ts";

export const lockIn = (path: string): string => join(path, "lock");

export class CellFolder<Cell> {
  readonly path: string;
  readonly #lock: Lock;
  readonly #file: number;
  readonly #cells: Map<string, Cell>;

  /**
   * @param schema of a cell: whoever wrote the file need not have been this program
   * @throws InputError when a line in the middle is damaged; MachineError when another process writes here
   */
  constructor(path: string, schema: z.ZodType<Cell>) {
    this.path = path;
    onDisk(`cannot write to output folder ${path}`, () => makeFolder(path));
    this.#lock = acquireLock(lockIn(path));
    const name = join(path, "cells.jsonl");
    try {
      const { cells, whole } = existsSync(name) ? readRows(name, schema) : { cells: new Map(), whole: 0 };
      this.#cells = cells;
      this.#file = onDisk(`cannot write ${name}`, () => openToAppend(name));
      onDisk(`cannot write ${name}`, () => ftruncateSync(this.#file, whole));
    } catch (error) {
      this.#lock.release();
      throw error;
    }
  }

  get(key: string): Cell | undefined {
    return this.#cells.get(key);
  }

  add(key: string, cell: Cell): void {
    this.#cells.set(key, cell);
    onDisk(`cannot write ${join(this.path, "cells.jsonl")}`, () => {
      appendFileSync(this.#file, `${JSON.stringify({ key, cell })}\n`);
      fsyncSync(this.#file);
    });
  }

  close(): void {
    closeSync(this.#file);
    this.#lock.release();
  }
}

/** The cells in a file, and how many bytes its whole lines have. */
function readRows<Cell>(name: string, schema: z.ZodType<Cell>): { cells: Map<string, Cell>; whole: number } {
  const row = z.object({ key: z.string(), cell: schema });
  const bytes = onDisk(`cannot read ${name}`, () => readBytes(name, largestBuffer, "refused"));
  const whole = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, whole).toString().split("\n").slice(0, -1);
  const rows = lines.map((line, at) => parseAs(row, line, `${name} line ${at + 1}`));
  return { cells: new Map(rows.map(({ key, cell }) => [key, cell])), whole };
}

/** The cells of a folder that somebody may be writing to. @throws InputError for a damaged line */
export function readCells<Cell>(path: string, schema: z.ZodType<Cell>): ReadonlyMap<string, Cell> {
  const name = join(path, "cells.jsonl");
  return existsSync(name) ? readRows(name, schema).cells : new Map();
}
