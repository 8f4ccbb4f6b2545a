/** Faults that the swarm has to find, each planted in a copy of the program: `npm run mutants`. */
import type { Kind } from "./generate.ts";

export type Mutant = readonly [name: string, kind: Kind, file: string, text: string, fault: string];

export const mutants: readonly Mutant[] = [
  ["a file is renamed before its bytes are durable", "disk", "src/base/disk.ts", "      fsyncSync(file!);", ""],
  ["no fsync after a rename", "disk", "src/base/disk.ts", "      syncFolder(dirname(path));\n", ""],
  ["no fsync after a new folder", "disk", "src/base/disk.ts", "  syncFolder(dirname(path));\n}", "}"],
  [
    "a short write is a whole one",
    "disk",
    "src/base/disk.ts",
    "for (let done = 0; done < bytes.length; ) {\n    const most",
    "for (let done = 0; done === 0; ) {\n    const most",
  ],
  [
    "a file is copied to its place",
    "disk",
    "src/base/disk.ts",
    "      renameSync(temporary, path);\n",
    `const place = openSync(path, "w");
     writeFully(place, readBytes(temporary));
     fsyncSync(place);
     closeSync(place);
     rmSync(temporary);\n`,
  ],
  ["logs are not durable at a checkpoint", "disk", "src/folder/line-file.ts", "fsyncSync(this.#file)", "undefined"],
  [
    "a log goes on at its end, and not where the checkpoint was",
    "disk",
    "src/folder/line-file.ts",
    "() => ftruncateSync(this.#file, bytes)",
    "() => void (this.#offset = fstatSync(this.#file).size)",
  ],
  ["a damaged log goes unnoticed", "disk", "src/folder/run-files.ts", "if (flaw !== null) return flaw;", ""],
  [
    "a damaged checkpoint goes unnoticed",
    "disk",
    "src/folder/saved-state.ts",
    "if (!digest.equals(",
    "if (digest.length === 0 && !digest.equals(",
  ],
  [
    "the lock is written in one call",
    "disk",
    "src/folder/lock.ts",
    "      writeFully(file, Buffer.from(JSON.stringify(owner)));\n      linkSync",
    "      writeSync(file, JSON.stringify(owner));\n      linkSync",
  ],
  [
    "a run says that it has finished before it has a result",
    "disk",
    "src/run/run.ts",
    "    const result = resultOf(",
    "    record(state);\n    const result = resultOf(",
  ],
  [
    "a checkpoint forgets what time it is",
    "timing",
    "src/sim/kernel/kernel.ts",
    "now: this.#now,",
    "now: 0 as Millis,",
  ],
  [
    "of two events at a time the later comes first",
    "timing",
    "src/sim/kernel/event-queue.ts",
    "sequences[parent]! < sequence)) break;",
    "sequences[parent]! > sequence)) break;",
  ],
  [
    "time goes back",
    "timing",
    "src/sim/kernel/kernel.ts",
    "this.#now = time;\n",
    "this.#now = Math.max(0, time - 1) as Millis;\n",
  ],
  [
    "messages overtake each other",
    "timing",
    "src/runtime/entry.ts",
    "!transit.hasArrived || isHeldBack(device, transit)",
    "!transit.hasArrived",
  ],
  [
    "what a message holds is not let go",
    "toy",
    "src/runtime/router.ts",
    "for (const content of envelope.refs) this.#references.release(content);",
    "",
  ],
  [
    "a straggler that has reported stays busy",
    "timing",
    "src/run/federation.ts",
    'if (stage === "upload" || condition === "corrupted") this.#roster',
    'if (condition === "corrupted") this.#roster',
  ],
  [
    "a deadline closes no round",
    "timing",
    "src/fl/policies/synchronous.ts",
    "onTimer: (view) => [close(view.accepted)],",
    "onTimer: () => [],",
  ],
  [
    "a state loses what it learned when it is put away",
    "timing",
    "src/runtime/registry.ts",
    "entry.state = isPutAway ? decode(encode(state)) : state;",
    "if (!isPutAway) entry.state = state;",
  ],
  [
    "a checkpoint takes each content for held once",
    "toy",
    "src/runtime/messages/blobs.ts",
    "return { digest, holders, content: bytes };",
    "return { digest, holders: 1, content: bytes };",
  ],
  [
    "a resumed trace repeats a chunk",
    "timing",
    "src/sim/kernel/trace.ts",
    "this.#written = this.#chain.pending.length;",
    "this.#written = 0;",
  ],
  ["a draw depends on all draws before", "timing", "src/base/random.ts", "  #block = 0;", "  #block = ++drawn;"],
];
