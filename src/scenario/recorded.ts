/**
 * Recorded devices and recorded availability, from files, for `trace` and `availability` of a scenario:
 *
 *   { name: "phone", …, speed: { type: "trace" }, link: { type: "trace" }, trace: devicesFrom("phones.csv") }
 *   availability: [availabilityFrom("charging.json")]
 *
 * Devices are a CSV file with the columns tokensPerSecond, downlink, uplink (bytes per second), or a JSON list of such
 * records. Availability is a CSV file with the columns device (any name), start, end; or JSON, of ours
 * `{ period, devices: [[[start, end], …], …] }` in milliseconds, or of FedScale's
 * `{ id: { active: […], inactive: […], finish_time } }` in seconds, where a device is on from active[i] to inactive[i].
 */
import { extname } from "node:path";
import { parse } from "csv-parse/sync";
import { InputError, messageOf } from "../base/errors.ts";
import { readJson } from "../base/json.ts";
import { show } from "../base/problem.ts";
import { readInput } from "../base/text.ts";
import type { Millis } from "../base/units.ts";
import type { TraceSpec } from "../sim/availability/availability-windows.ts";
import type { DeviceRecord, DeviceTrace } from "../sim/fleet/fleet-spec.ts";

const columns = ["tokensPerSecond", "downlink", "uplink"] as const;

/** @throws InputError that names the file and the line */
export function devicesFrom(path: string, assignment: DeviceTrace["assignment"] = "cycle"): DeviceTrace {
  const rows = isJson(path) ? listIn(path) : table(path, ["tokensPerSecond"], columns).map(({ numbers }) => numbers);
  const records = rows.map((row, at): DeviceRecord => {
    const record: { -readonly [Key in keyof DeviceRecord]: number } = {};
    for (const name of columns) {
      const value = (row as Readonly<Record<string, unknown>> | null)?.[name];
      if (value === undefined) continue;
      if (typeof value !== "number" || !(value > 0 && value < Infinity)) {
        throw new InputError(`${path} record ${at + 1}: ${name} is ${show(value)}, expected a positive number`);
      }
      record[name] = value;
    }
    return record;
  });
  if (records.length === 0) throw new InputError(`${path} has no records, expected at least one device`);
  return { records, assignment };
}

interface AvailabilityFileOptions {
  /** When the records begin again, in milliseconds; the end of the last window unless given or in the file. */
  readonly period?: Millis;
  readonly assignment?: TraceSpec["assignment"];
}

/** @throws InputError that names the file; windows that make no sense are mistakes of the scenario they come into */
export function availabilityFrom(path: string, options: AvailabilityFileOptions = {}): TraceSpec {
  const { devices, period } = isJson(path) ? windowsInJson(path) : windowsInTable(path);
  const last = devices.flat().reduce((latest, [, end]) => Math.max(latest, end), 0);
  return {
    type: "trace",
    period: (options.period ?? period ?? last) as Millis,
    devices,
    assignment: options.assignment ?? "cycle",
  };
}

interface Windows {
  readonly devices: [start: number, end: number][][];
  readonly period: number | null;
}

function windowsInTable(path: string): Windows {
  const columns = ["device", "start", "end"];
  const byDevice = new Map<string, [number, number][]>();
  for (const { name, numbers } of table(path, columns, columns, "device")) {
    const { start, end } = numbers;
    const own = byDevice.get(name);
    if (own === undefined) byDevice.set(name, [[start!, end!]]);
    else own.push([start!, end!]);
  }
  // A log has its lines in the order in which windows ended, or in none.
  return { devices: [...byDevice.values()].map((own) => own.sort(([a], [b]) => a - b)), period: null };
}

function windowsInJson(path: string): Windows {
  const value = readJson(path);
  const wrong = (what: string) => new InputError(`${path}: ${what}`);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong("expected an object with period and devices, or FedScale's records by device");
  }
  if ("devices" in value) {
    const { devices, period } = value as { readonly devices: unknown; readonly period?: unknown };
    if (!Array.isArray(devices) || !devices.every(isWindowList)) throw wrong("devices: expected lists of [start, end]");
    if (period !== undefined && typeof period !== "number") throw wrong("period: expected milliseconds");
    return { devices, period: period ?? null };
  }
  let period = 0;
  const devices = Object.entries(value).map(([id, record]) => {
    const { active, inactive, finish_time: finish } = (record ?? {}) as Readonly<Record<string, unknown>>;
    if (!isNumbers(active) || !isNumbers(inactive) || typeof finish !== "number") {
      throw wrong(`device ${id}: expected active, inactive and finish_time, in seconds`);
    }
    period = Math.max(period, 1_000 * finish);
    // A device that is on when the record ends has no last `inactive`.
    return active.map((on, i): [number, number] => [1_000 * on, 1_000 * (inactive[i] ?? finish)]);
  });
  return { devices, period };
}

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === "number");
const isWindowList = (value: unknown): boolean =>
  Array.isArray(value) && value.every((window) => isNumbers(window) && window.length === 2);

const isJson = (path: string): boolean => extname(path) === ".json";

function listIn(path: string): readonly unknown[] {
  const value = readJson(path);
  if (!Array.isArray(value)) throw new InputError(`${path}: expected a list of devices`);
  return value;
}

interface TableRow {
  /** What stands in the column of names; empty for a table without one. */
  readonly name: string;
  readonly numbers: Readonly<Record<string, number>>;
}

/** A comma-separated table with a line of names above it: numbers, and names in one column. */
function table(path: string, needed: readonly string[], known: readonly string[], names = ""): TableRow[] {
  const [head, ...rows] = rowsIn(path);
  const columns = head?.cells ?? [];
  const wrong = (line: number, what: string) => new InputError(`${path} line ${line}: ${what}`);
  for (const name of needed) {
    if (!columns.includes(name)) throw wrong(1, `expected a column ${name}, got ${show(columns.join(", "))}`);
  }
  const twice = columns.find((name, at) => columns.indexOf(name) !== at);
  if (twice !== undefined) throw wrong(1, `there are two columns ${show(twice)}, expected different names`);
  return rows.map(({ line, cells }) => {
    if (cells.length !== columns.length) throw wrong(line, `has ${cells.length} cells, expected ${columns.length}`);
    const numbers: Record<string, number> = {};
    for (const [at, name] of columns.entries()) {
      const cell = cells[at]!;
      if (cell === "" && needed.includes(name)) throw wrong(line, `${name} is missing`);
      if (cell === "" || name === names || !known.includes(name)) continue;
      numbers[name] = Number(cell);
      if (!Number.isFinite(numbers[name])) throw wrong(line, `${name} is ${show(cell)}, expected a number`);
    }
    return { name: cells[columns.indexOf(names)] ?? "", numbers };
  });
}

function rowsIn(path: string): { readonly line: number; readonly cells: readonly string[] }[] {
  const rows: { line: number; cells: string[] }[] = [];
  const text = readInput(path);
  try {
    parse(text, {
      bom: true,
      trim: true,
      skip_empty_lines: true,
      relax_column_count: true,
      on_record(cells: string[], { lines: line }) {
        rows.push({ line, cells });
        return null;
      },
    });
  } catch (cause) {
    throw new InputError(`${path} is no table: ${messageOf(cause)}`, { cause });
  }
  return rows;
}
