/** Hostile inputs by the thousand: valid ones that were cut, bent and stuffed, each told by its number. */
import assert from "node:assert/strict";
import { type Draws, Rng } from "../../src/base/random.ts";

export interface FuzzTarget {
  readonly name: string;
  /** An input that is as it should be. */
  readonly seeds: readonly Uint8Array[];
  /** True when the input was accepted; throws nothing but the errors a user may see. */
  readonly accepts: (input: Uint8Array) => boolean | Promise<boolean>;
  readonly allowed: readonly (new (...args: never[]) => Error)[];
  /** What the text of seeds is, for changes that keep it well-formed. */
  readonly form: "json" | "text" | "bytes";
  /** Takes so long that tests are content with a quarter of the cases. */
  readonly isSlow?: boolean;
}

export interface FuzzReport {
  readonly accepted: number;
  readonly refused: number;
}

/** Longer than this for one input is a way to keep a program busy. Of the processor's time: the machine may be busy, too. */
const patienceMs = 2_000;

/** @throws AssertionError naming the case for anything but an accepted input or an allowed error */
export async function fuzz(target: FuzzTarget, from: number, until: number, seed = 1): Promise<FuzzReport> {
  let accepted = 0;
  let refused = 0;
  for (let number = from; number < until; number++) {
    const input = hostile(target, number, seed);
    const begun = process.cpuUsage();
    try {
      const verdict = target.accepts(input);
      // Most are synchronous, and waiting for nothing is half of the time.
      if (typeof verdict === "boolean" ? verdict : await verdict) accepted++;
      else refused++;
    } catch (error) {
      const isAllowed = target.allowed.some((kind) => error instanceof kind);
      if (!isAllowed) assert.fail(`${nameOf(target, number, seed)} threw ${(error as Error).stack?.slice(0, 1_500)}`);
      const { message } = error as Error;
      assert.ok(message.length < 20_000, `${nameOf(target, number, seed)}: a message of ${message.length} characters`);
      refused++;
    }
    const { user, system } = process.cpuUsage(begun);
    const took = (user + system) / 1_000;
    assert.ok(took < patienceMs, `${nameOf(target, number, seed)} took ${took.toFixed(0)} ms`);
    if (Object.keys(Object.prototype).length > 0 || "polluted" in {}) {
      assert.fail(`${nameOf(target, number, seed)} polluted Object.prototype`);
    }
  }
  return { accepted, refused };
}

const nameOf = ({ name }: FuzzTarget, number: number, seed: number): string =>
  `${name} case ${number} (npm run fuzz -- --target ${JSON.stringify(name)} --from ${number} --cases 1 --seed ${seed})`;

/** The input of a case: a function of target, number and seed. */
export function hostile({ name, seeds, form }: FuzzTarget, number: number, seed: number): Uint8Array {
  const draws = new Rng(seed).at(`fuzz ${name}`).at(number);
  const original = seeds[draws.below(seeds.length)]!;
  // Some are untouched: what is valid has to stay accepted.
  if (draws.bernoulli(0.02)) return original;
  if (draws.bernoulli(0.01)) return nested(draws);
  if (form === "json" && draws.bernoulli(0.6)) return bentJson(original, draws);
  let bytes = Buffer.from(original);
  for (let times = 1 + draws.below(4); times > 0; times--) bytes = bent(bytes, form, draws);
  return bytes;
}

function nested(draws: Draws): Uint8Array {
  const depth = [100, 10_000, 200_000][draws.below(3)]!;
  const [open, close] = (
    [
      ["[", "]"],
      ['{"a":', "}"],
      ['{"__proto__":', "}"],
    ] as const
  )[draws.below(3)]!;
  return Buffer.from(`${open.repeat(depth)}1${draws.bernoulli(0.7) ? close.repeat(depth) : ""}`);
}

function bent(bytes: Buffer, form: FuzzTarget["form"], draws: Draws): Buffer<ArrayBuffer> {
  const at = draws.below(bytes.length + 1);
  const length = draws.below(Math.min(64, bytes.length - at) + 1);
  const rest = bytes.subarray(at + length);
  switch (draws.below(6)) {
    case 0: {
      const flipped = Buffer.from(bytes);
      if (flipped.length > 0) flipped[draws.below(flipped.length)]! ^= 1 << draws.below(8);
      return flipped;
    }
    case 1:
      return Buffer.from(bytes.subarray(0, at));
    case 2:
      return Buffer.concat([bytes.subarray(0, at), rest]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at, at + length), rest]);
    case 4:
      return Buffer.concat([
        bytes.subarray(0, at),
        form === "bytes" ? pick(draws, tokens) : Buffer.from(pick(draws, words)),
        rest,
      ]);
    default: {
      const noise = Buffer.from(Array.from({ length: 1 + draws.below(8) }, () => draws.below(256)));
      return Buffer.concat([bytes.subarray(0, at), noise, rest]);
    }
  }
}

const pick = <Value>(draws: Draws, values: readonly Value[]): Value => values[draws.below(values.length)]!;

const words = [
  '"__proto__":{"polluted":1},',
  '"constructor":{"prototype":{"polluted":1}},',
  "1e999",
  "-1",
  "null",
  "NaN",
  "9007199254740993",
  '"',
  "\\u0000",
  "\ud800",
  "../../../../etc/passwd",
  ",,,,",
  "[[[[",
  "}}}}",
  "\n\n",
  "\r",
  ";",
  "=cmd()",
];
/** Lengths of msgpack that promise more than there is, and its extensions. */
const tokens = [
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xdf, 0xff, 0xff, 0xff, 0xff],
  [0xc6, 0xff, 0xff, 0xff, 0xff],
  [0xdb, 0x7f, 0xff, 0xff, 0xff],
  [0xc9, 0x00, 0x00, 0x00, 0x10, 0x74],
  [0xd4, 0x72, 0x40],
  [0xc7, 0x05, 0x78, 0x01],
  [0xa9, 0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f],
  [0x81, 0xa9, 0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f, 0x80],
  new Array<number>(200).fill(0x91),
].map((bytes) => Uint8Array.from(bytes));

const values: readonly unknown[] = [
  null,
  true,
  "",
  "all",
  -1,
  0,
  0.5,
  1e308,
  Number.MAX_SAFE_INTEGER,
  [],
  {},
  [[]],
  "x".repeat(5_000),
  "__proto__",
  "../../../etc/passwd",
  JSON.parse('{"__proto__":{"polluted":true}}') as unknown,
  JSON.parse('{"constructor":{"prototype":{"polluted":true}}}') as unknown,
];

/** The same JSON with a few of its parts put in place of others, left out, or doubled. */
function bentJson(original: Uint8Array, draws: Draws): Uint8Array {
  const root = JSON.parse(Buffer.from(original).toString()) as unknown;
  for (let times = 1 + draws.below(4); times > 0; times--) {
    let holder: unknown = { root };
    let key: string | number = "root";
    for (let depth = draws.below(8); depth > 0; depth--) {
      const inner: unknown = (holder as Record<string | number, unknown>)[key];
      if (typeof inner !== "object" || inner === null || Object.keys(inner).length === 0) break;
      holder = inner;
      key = pick(draws, Object.keys(inner));
    }
    const parts = holder as Record<string | number, unknown>;
    if (parts.root === root) continue;
    switch (draws.below(4)) {
      case 0:
        if (Array.isArray(parts)) parts.splice(Number(key), 1);
        else delete parts[key];
        break;
      case 1:
        if (Array.isArray(parts)) break;
        Object.defineProperty(parts, pick(draws, ["__proto__", "constructor", "x", String(key)]), {
          value: structuredClone(pick(draws, values)),
          enumerable: true,
          configurable: true,
          writable: true,
        });
        break;
      case 2:
        parts[key] = [parts[key], structuredClone(parts[key])];
        break;
      default:
        parts[key] = structuredClone(pick(draws, values));
    }
  }
  return Buffer.from(JSON.stringify(root));
}
