/** Everything the program reads that somebody else may have written, one target each. */

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError, MachineError, ScenarioError } from "../../src/base/errors.ts";
import { readExamples } from "../../src/data/records.ts";
import { emptyFile } from "../../src/folder/line-file.ts";
import { openRunFolder, type RunFolder, readRecord } from "../../src/folder/run-folder.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../src/folder/saved-state.ts";
import { parseHuggingFaceConfig } from "../../src/model/formats/hf-config.ts";
import { Federation } from "../../src/run/federation.ts";
import { type Prepared, prepare } from "../../src/run/prepare.ts";
import { restore } from "../../src/run/restore.ts";
import { Envelope, open, seal, stamped } from "../../src/runtime/messages/envelope.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { configure } from "../../src/scenario/configure.ts";
import { scenarioFromJson, scenarioToJson } from "../../src/scenario/define.ts";
import { availabilityFrom, devicesFrom } from "../../src/scenario/recorded.ts";
import type { FuzzTarget } from "./fuzz.ts";
import { folderTargets } from "./fuzz-folders.ts";
import { smallConfig } from "./model-folder.ts";
import { provenance } from "./provenance.ts";
import { timingOnly, training } from "./scenarios.ts";
import { stormy } from "./weather.ts";

const inputs = [InputError];
const mistakes = [InputError, ScenarioError];
const text = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const json = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
};

export interface FuzzTargets {
  readonly targets: readonly FuzzTarget[];
  close(): void;
}

export async function fuzzTargets(): Promise<FuzzTargets> {
  const folder = mkdtempSync(join(tmpdir(), "flame-fuzz-"));
  const federation = await midway();
  const run = runIn(folder);
  const file = (name: string, read: (path: string) => unknown) => (bytes: Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    read(path);
    return true;
  };
  const targets: FuzzTarget[] = [
    {
      name: "checkpoint",
      form: "bytes",
      seeds: [federation.checkpoint],
      allowed: inputs,
      accepts: (bytes) => decodeCheckpoint(Buffer.from(bytes), "fuzz.ckpt").round >= 0,
    },
    {
      name: "checkpoint with a right digest",
      form: "bytes",
      seeds: [federation.payload],
      allowed: inputs,
      accepts: (bytes) => decodeCheckpoint(withDigest(federation.checkpoint, bytes), "fuzz.ckpt").round >= 0,
    },
    {
      name: "restored checkpoint",
      form: "bytes",
      seeds: [federation.payload],
      allowed: [InputError, MachineError],
      accepts: (bytes) => {
        restore(federation.anew(), decodeCheckpoint(withDigest(federation.checkpoint, bytes), "fuzz.ckpt"));
        return true;
      },
    },
    {
      name: "envelope",
      form: "bytes",
      seeds: federation.envelopes,
      allowed: inputs,
      accepts: (bytes) => open(bytes).sequence >= 0,
    },
    {
      name: "envelope with a right checksum",
      form: "bytes",
      seeds: federation.envelopes.map((letter) => letter.subarray(0, letter.length - 4)),
      allowed: inputs,
      accepts: (body) => open(stamped(body)).sequence >= 0,
    },
    {
      name: "scenario.json",
      form: "json",
      seeds: [stormy(1), stormy(2), training("embedded")].map((scenario) => text(scenarioToJson(scenario))),
      allowed: mistakes,
      accepts: (bytes) => {
        const value = json(bytes);
        return value !== undefined && scenarioFromJson(value).kind === "scenario";
      },
    },
    {
      name: "run.json",
      form: "json",
      seeds: [
        text({ made: provenance, merge: null, state: "running", continuedDespite: [], startedIn: "/", reproduce: "x" }),
      ],
      allowed: inputs,
      accepts: (bytes) => {
        writeFileSync(run.record, bytes);
        return readRecord(run) !== null;
      },
    },
    {
      name: "device trace, CSV",
      form: "text",
      seeds: [text("tokensPerSecond,downlink,uplink\n100,2e6,1e5\n900,1e6,5e4\n")],
      allowed: inputs,
      accepts: file("devices.csv", (path) => devicesFrom(path)),
    },
    {
      name: "device trace, JSON",
      form: "json",
      seeds: [
        text([{ tokensPerSecond: 100, uplink: 1e5 }, { tokensPerSecond: 900 }]),
        text({ "17": { computation: 50, communication: 8_000 } }),
      ],
      allowed: inputs,
      accepts: file("devices.json", (path) => devicesFrom(path, { tokensPerSample: 128 })),
    },
    {
      name: "availability trace, CSV",
      form: "text",
      seeds: [text("device,start,end\n1,0,500\n1,900,1000\n2,100,300\n"), text('"device";"start";"end"\n"a";0;5\n')],
      allowed: inputs,
      accepts: file("windows.csv", (path) => availabilityFrom(path)),
    },
    {
      name: "availability trace, JSON",
      form: "json",
      seeds: [
        text({ period: 1_000, devices: [[[0, 500]], [[100, 300]]] }),
        text({ "17": { active: [0, 700], inactive: [300], finish_time: 1_000 } }),
      ],
      allowed: inputs,
      accepts: file("windows.json", (path) => availabilityFrom(path)),
    },
    {
      name: "instructions, Parquet",
      form: "bytes",
      seeds: ["alpaca-checked", "alpaca-zstd", "alpaca-gzip", "alpaca-v2", "messages"].map((name) =>
        readFileSync(new URL(`../golden/data/parquet/${name}.parquet`, import.meta.url)),
      ),
      allowed: inputs,
      async accepts(bytes) {
        const path = join(folder, "data.parquet");
        writeFileSync(path, bytes);
        for await (const { response } of readExamples(path)) if (response === "") return false;
        return true;
      },
    },
    {
      name: "calibration",
      form: "json",
      seeds: [
        text({
          machine: "one",
          budgets: [
            { budget: 1, tokensPerSecond: 900 },
            { budget: 4, tokensPerSecond: 300 },
          ],
        }),
      ],
      allowed: mistakes,
      accepts: file("calibration.json", (path) => configure(timingOnly(), { calibration: path })),
    },
    {
      name: "model configuration",
      form: "json",
      seeds: [text(smallConfig)],
      allowed: inputs,
      accepts: (bytes) => {
        const value = json(bytes);
        return value !== undefined && parseHuggingFaceConfig(value, "config.json") !== null;
      },
    },
  ];
  targets.push(...(await folderTargets(folder)));
  return { targets, close: () => rmSync(folder, { recursive: true, force: true }) };
}

function runIn(parent: string): RunFolder {
  const path = join(parent, "run");
  mkdirSync(path);
  writeFileSync(join(path, "scenario.json"), "{}");
  return openRunFolder(path);
}

/** A federation in the middle of its run, as bytes. */
async function midway() {
  const scenario = stormy(2);
  const prepared: Prepared = await prepare(scenario, { embedded: "" });
  const anew = () =>
    new Federation({
      scenario,
      prepared,
      pool: new InlinePool({}),
      events: null,
      reproduce: "",
      onParticipation: () => {},
      onRow: () => {},
      onRoundClosed: () => {},
    });
  const federation = anew();
  federation.begin();
  await federation.advance(() => federation.kernel.processed >= 40);
  const parts = federation.snapshot();
  const checkpoint = encodeCheckpoint({
    made: provenance,
    round: 1,
    events: 40,
    files: { metrics: emptyFile, events: emptyFile, participations: emptyFile },
    parts,
  });
  const { inFlight, entries } = parts.system;
  const envelopes = [
    ...inFlight.map(({ envelope }) => envelope),
    ...entries.flatMap(({ mailbox, current }) => [...mailbox, ...(current === null ? [] : [current.envelope])]),
  ];
  const message = { type: "train", values: Float32Array.of(1, 2), nested: { list: [1, "two", null, -0] } };
  const own = new Envelope({ kind: "server", id: 0 }, { kind: "client", id: 3 }, 7, 12 as never, "download", message);
  return { checkpoint, payload: checkpoint.subarray(44), parts, anew, envelopes: [...envelopes, seal(own)] };
}

function withDigest(checkpoint: Uint8Array, payload: Uint8Array): Buffer {
  const digest = createHash("sha256").update(payload).digest();
  return Buffer.concat([checkpoint.subarray(0, 12), digest, payload]);
}
