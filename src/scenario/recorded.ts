/**
 * Recorded devices and recorded availability, from files, for `trace` and `availability` of a scenario:
 *
 *   { name: "phone", …, speed: { type: "trace" }, link: { type: "trace" }, trace: devicesFrom("phones.csv") }
 *   availability: [availabilityFrom("charging.json")]
 *
 * Devices are a CSV file with the columns tokensPerSecond, downlink, uplink (bytes per second), a JSON list of such
 * records, or FedScale's capacities `{ id: { computation, communication } }`. Availability is a CSV file with the columns
 * device (any name), start, end; or JSON, of ours `{ period, devices: [[[start, end], …], …] }` in milliseconds, or of
 * FedScale's `{ id: { active: […], inactive: […], finish_time } }` in seconds, where a device is on from active[i] to
 * inactive[i], and again with a period of its own, finish_time.
 *
 * https://github.com/SymbioticLab/FedScale, fedscale/cloud/internal/client_metadata.py.
 */
import { extname } from "node:path";
import { InputError } from "../base/errors.ts";
import { readJson } from "../base/json.ts";
import { show, throwMistakes } from "../base/problem.ts";
import type { Millis } from "../base/units.ts";
import { type TraceSpec, wrongWindows } from "../sim/availability/availability-windows.ts";
import type { DeviceRecord, DeviceTrace } from "../sim/fleet/fleet-spec.ts";
import { readTable } from "./table.ts";

const columns = ["tokensPerSecond", "downlink", "uplink"] as const;

export interface DevicesFileOptions {
  readonly assignment?: DeviceTrace["assignment"];
  /** FedScale's capacities are for samples of a size of their own: the tokens that take as long as one of them. */
  readonly tokensPerSample?: number;
}

/** @throws InputError that names the file and the line */
export function devicesFrom(
  path: string,
  { assignment = "cycle", tokensPerSample }: DevicesFileOptions = {},
): DeviceTrace {
  const rows = isJson(path) ? devicesInJson(path, tokensPerSample) : devicesInTable(path);
  const problems: string[] = [];
  const records = rows.map(([where, row]): DeviceRecord => {
    const record: { -readonly [Key in keyof DeviceRecord]: number } = {};
    for (const name of columns) {
      const value = row[name];
      if (value === undefined) continue;
      if (typeof value === "number" && value > 0 && value < Infinity) record[name] = value;
      else problems.push(`${where}: ${name} is ${show(value)}, expected a positive number`);
    }
    return record;
  });
  throwMistakes(path, problems);
  if (records.length === 0) throw new InputError(`${path} has no records, expected at least one device`);
  return { records, assignment };
}

type Row = readonly [where: string, fields: Readonly<Record<string, unknown>>];

const devicesInTable = (path: string): Row[] =>
  readTable(path, { needed: ["tokensPerSecond"], numbers: columns }).map(({ line, numbers }) => [
    `line ${line}`,
    numbers,
  ]);

function devicesInJson(path: string, tokensPerSample: number | undefined): Row[] {
  const value = readJson(path);
  if (Array.isArray(value)) {
    return value.map((row: unknown, at) => {
      if (isObject(row)) return [`record ${at + 1}`, row];
      throw new InputError(`${path} record ${at + 1} is ${show(row)}, expected a device`);
    });
  }
  if (!isObject(value)) throw new InputError(`${path}: expected a list of devices, or FedScale's capacities by device`);
  return Object.entries(value).map(([id, capacity]) => [
    `device ${show(id)}`,
    capacityOf(capacity, `${path}: device ${show(id)}`, tokensPerSample),
  ]);
}

/**
 * A sample takes `computation` milliseconds to predict and three times as long to train on; a link carries `communication`
 * kilobits a second, one way after the other.
 */
function capacityOf(capacity: unknown, where: string, tokensPerSample: number | undefined): Row[1] {
  const { computation, communication } = isObject(capacity) ? capacity : {};
  if (!isPositive(computation) || !isPositive(communication)) {
    const got = `computation ${show(computation)} and communication ${show(communication)}`;
    throw new InputError(`${where} has ${got}, expected milliseconds per sample and kilobits per second`);
  }
  if (!isPositive(tokensPerSample)) {
    throw new InputError(
      `${where} says how long a sample takes: expected devicesFrom(path, { tokensPerSample }) with the tokens of one, ` +
        `got ${show(tokensPerSample)}`,
    );
  }
  const link = communication * 125;
  return { tokensPerSecond: (1_000 * tokensPerSample) / (3 * computation), downlink: link, uplink: link };
}

export interface AvailabilityFileOptions {
  /** When the records begin again, in milliseconds; the end of the last window unless given or in the file. */
  readonly period?: Millis;
  readonly assignment?: TraceSpec["assignment"];
  /** The time in the file, in milliseconds, at which the simulation begins: a log has Unix time. */
  readonly origin?: number;
}

/** @throws InputError that names the file, the line, if it has lines, and the device */
export function availabilityFrom(path: string, options: AvailabilityFileOptions = {}): TraceSpec {
  const { origin = 0, assignment = "cycle" } = options;
  const all = isJson(path) ? windowsInJson(path) : windowsInTable(path);
  const ends = all.flatMap(({ windows }) => windows.map(({ end }) => end - origin));
  const last = ends.reduce((latest, end) => Math.max(latest, end), 0);
  const recorded = all.map((device) => ({
    ...device,
    windows: device.windows
      // A window that ends where it begins has no time in it.
      .filter(({ start, end }) => start !== end)
      .map(({ start, end, ...rest }) => ({ start: start - origin, end: end - origin, ...rest }))
      // A log has its lines in the order in which windows ended, or in none.
      .sort((a, b) => a.start - b.start),
  }));
  const starts = recorded.map(({ windows }) => windows[0]?.start ?? Infinity);
  refuseUnixTime(
    path,
    starts.reduce((least, start) => Math.min(least, start), Infinity),
  );
  const periods = recorded.map(({ period }) => options.period ?? period ?? (last as Millis));
  const problems = recorded.flatMap(({ name, windows }, device) => {
    const plain = windows.map(({ start, end }): [number, number] => [start, end]);
    return Array.from(wrongWindows(plain, periods[device]!), ([at, expected]) => {
      const { where } = windows[at]!;
      return `${where}device ${show(name)} has the window ${plain[at]!.join(" to ")}, expected ${expected}`;
    });
  });
  throwMistakes(path, problems);
  const [first = last as Millis] = periods;
  return {
    type: "trace",
    period: periods.every((period) => period === first) ? first : periods,
    devices: recorded.map(({ windows }) => windows.map(({ start, end }): [number, number] => [start, end])),
    assignment,
  };
}

/** Simulations begin at 0: whoever is first there eleven days later, or after the year 2001, has not been converted. */
function refuseUnixTime(path: string, earliest: number): void {
  if (earliest < 1e9 || earliest === Infinity) return;
  const unit = earliest < 1e11 ? 1_000 : 1;
  const date = new Date(unit * earliest);
  const asDate = Number.isNaN(date.getTime()) ? "" : `, in Unix time ${date.toISOString()}`;
  const remedy = unit === 1 ? `, or availabilityFrom(path, { origin: ${earliest} })` : ", got seconds?";
  throw new InputError(
    `${path}: the first window begins at ${earliest}${asDate}; expected milliseconds from the beginning of the ` +
      `simulation${remedy}`,
  );
}

interface Recorded {
  readonly name: string;
  /** Null when the file says nothing of it. */
  readonly period: Millis | null;
  readonly windows: readonly { readonly start: number; readonly end: number; readonly where: string }[];
}

function windowsInTable(path: string): Recorded[] {
  const needed = ["device", "start", "end"];
  const byDevice = new Map<string, Recorded["windows"][number][]>();
  for (const { line, name, numbers } of readTable(path, { needed, numbers: ["start", "end"], names: "device" })) {
    const own = byDevice.get(name) ?? [];
    byDevice.set(name, own);
    own.push({ start: numbers.start!, end: numbers.end!, where: `line ${line}: ` });
  }
  return Array.from(byDevice, ([name, windows]) => ({ name, period: null, windows }));
}

function windowsInJson(path: string): Recorded[] {
  const value = readJson(path);
  const wrong = (what: string) => new InputError(`${path}: ${what}`);
  if (!isObject(value)) throw wrong("expected an object with period and devices, or FedScale's records by device");
  if (!("devices" in value)) return Object.entries(value).map(([id, record]) => fedScaleWindows(id, record, wrong));
  const { devices, period = null, ...others } = value;
  const [other] = Object.keys(others);
  if (other !== undefined) throw wrong(`${show(other)} is not a field that exists here, expected period and devices`);
  if (period !== null && !isPositive(period)) throw wrong(`period is ${show(period)}, expected milliseconds`);
  if (!Array.isArray(devices)) throw wrong("devices: expected lists of [start, end]");
  return devices.map((windows: unknown, device) => {
    if (!Array.isArray(windows) || !windows.every(isWindow)) {
      throw wrong(`devices[${device}] is ${show(windows)}, expected a list of [start, end]`);
    }
    const name = String(device);
    return {
      name,
      period: period as Millis | null,
      windows: windows.map(([start, end]) => ({ start, end, where: "" })),
    };
  });
}

function fedScaleWindows(id: string, record: unknown, wrong: (what: string) => InputError): Recorded {
  const { active, inactive, finish_time: finish } = isObject(record) ? record : {};
  if (!isNumbers(active) || !isNumbers(inactive) || !isPositive(finish)) {
    throw wrong(`device ${show(id)}: expected active, inactive and finish_time, in seconds`);
  }
  // A device that is on when the record ends has no last `inactive`.
  const more = active.length - inactive.length;
  if (more !== 0 && more !== 1) {
    throw wrong(`device ${show(id)} is active ${active.length} times and inactive ${inactive.length} times`);
  }
  const windows = active.map((on, i) => ({
    start: millisOf(on),
    // FedScale looks at the time modulo finish_time, so no window reaches further.
    end: millisOf(Math.min(inactive[i] ?? finish, finish)),
    where: "",
  }));
  return { name: id, period: millisOf(finish), windows };
}

const millisOf = (seconds: number): Millis => Math.round(1_000 * seconds) as Millis;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isPositive = (value: unknown): value is number => typeof value === "number" && value > 0 && value < Infinity;
const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === "number");
const isWindow = (value: unknown): value is [number, number] => isNumbers(value) && value.length === 2;

const isJson = (path: string): boolean => extname(path) === ".json";
