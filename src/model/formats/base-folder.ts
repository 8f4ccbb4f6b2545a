/**
 * A model folder that needs no conversion, since it holds base weights in a form of their own:
 *
 *   weights.bin                     the executor layout
 *   weights.json                    the form, the size of a block, where each tensor lies, digests
 *   config.json, tokenizer.json, …  those of the model
 *
 * The configuration is written last: until then it is no model.
 */
import { existsSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { Draft, onDisk, removeLeft, syncFolder, writeAtomically } from "../../base/disk.ts";
import { InputError } from "../../base/errors.ts";
import { readJsonAs } from "../../base/json.ts";
import { digestOfFile, largestJson, readBytes, unguessable } from "../../base/open.ts";
import { blockRows, narrowTypes } from "../../tensor/stored/stored.ts";
import { type BaseForm, type BaseWeights, baseForms, baseWeightPlan } from "../base-weights.ts";
import type { ModelConfig } from "../config.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { rememberedDigest } from "./checkpoint-digest.ts";
import type { ConversionOptions } from "./convert-weights.ts";
import { prepareBaseWeights } from "./prepare-weights.ts";
import { tokenizerFiles } from "./write-checkpoint.ts";

const digest = z.string().regex(/^[0-9a-f]{64}$/);

const describedSchema = z.strictObject({
  format: z.literal("flame-sim base weights 1"),
  /** Of what was converted, with the form. */
  digest,
  /** Of `weights.bin`. */
  content: digest,
  form: z.enum(baseForms),
  block: z.int(),
  error: z.number().min(0),
  config: z.unknown(),
  bytes: z.int().min(1),
  tensors: z.record(
    z.string(),
    z.strictObject({
      offset: z.int().min(0),
      shape: z.array(z.int().min(1)),
      type: z.enum(narrowTypes).exactOptional(),
      scales: z.int().min(0).exactOptional(),
    }),
  ),
});

export const isBaseFolder = (folder: string): boolean => existsSync(join(folder, "weights.json"));

/**
 * @param to a folder that is there
 * @throws MachineError if the disk refuses; InputError at a weight that the form cannot hold; nothing is left behind then, nor
 *   after an abort
 */
export async function writeBaseFolder(
  checkpoint: Checkpoint,
  to: string,
  form: BaseForm,
  options: ConversionOptions = {},
): Promise<BaseWeights> {
  const work = new Draft();
  const model = new Draft();
  try {
    onDisk(`cannot write ${to}`, () => removeLeft(to, "", workName));
    const cache = work.add(join(to, `${process.pid}-${unguessable()}.partial`));
    const weights = await prepareBaseWeights(checkpoint, cache, { form, ...options });
    const described = onDisk(`cannot write ${to}`, () =>
      describe(checkpoint, to, weights, (name) => model.add(join(to, name))),
    );
    model.keep();
    return described;
  } finally {
    model.remove();
    work.remove();
  }
}

const workName = /^(\d+)-[\da-f-]{36}\.partial$/;

/** Puts the weights where they belong and says beside them what they are. */
function describe(
  checkpoint: Checkpoint,
  to: string,
  weights: BaseWeights,
  place: (name: string) => string,
): BaseWeights {
  const { digest, form, error, config, bytes, tensors } = weights;
  const described: z.output<typeof describedSchema> = {
    format: "flame-sim base weights 1",
    digest,
    content: digestOfFile(weights.path),
    form,
    block: blockRows,
    error,
    config,
    bytes,
    tensors: Object.fromEntries([...tensors].map(([name, at]) => [name, { ...at, shape: [...at.shape] }])),
  };
  const path = place("weights.bin");
  renameSync(weights.path, path);
  writeAtomically(place("weights.json"), `${JSON.stringify(described)}\n`);
  for (const file of [...tokenizerFiles, "config.json"]) {
    const from = join(checkpoint.folder, file);
    if (existsSync(from)) writeAtomically(place(file), readBytes(from, largestJson));
  }
  syncFolder(to);
  return { ...weights, path };
}

/**
 * @param config of its config.json
 * @param form that is asked for; whatever it holds unless given
 * @param cache where the digests of large files are remembered
 * @throws InputError naming what is damaged, of another model, or of another version of this program
 */
export function openBaseFolder(
  folder: string,
  config: ModelConfig,
  form: BaseForm | undefined,
  cache: string,
): BaseWeights {
  const [path, about] = [join(folder, "weights.bin"), join(folder, "weights.json")];
  const described = readJsonAs(describedSchema, about);
  const refuse = (problem: string): never => {
    throw new InputError(problem);
  };
  const { digest, error, bytes, tensors, block } = described;
  if (block !== blockRows) refuse(`${about}: blocks of ${block} rows, expected ${blockRows}; quantise the model again`);
  if (form !== undefined && form !== described.form) {
    refuse(
      `${folder} holds weights in ${described.form}, but base is ${form}; leave base out, or quantise the model again`,
    );
  }
  if (JSON.stringify(described.config) !== JSON.stringify(config)) {
    refuse(`${about} is of another model than ${join(folder, "config.json")}`);
  }
  const plan = baseWeightPlan(config, described.form, (name) =>
    tensors[name]?.type === "float16" ? "float16" : "bfloat16",
  );
  if (plan.bytes !== bytes || JSON.stringify(Object.fromEntries(plan.tensors)) !== JSON.stringify(tensors)) {
    refuse(`${about}: tensors do not lie where this version has them; quantise the model again`);
  }
  const found = onDisk(`cannot read ${path}`, () => statSync(path).size);
  if (found !== bytes) refuse(`${path} has ${found} bytes, expected ${bytes}; damaged?`);
  const content = rememberedDigest({ files: [path], bytes }, cache, () => digestOfFile(path));
  if (content !== described.content) refuse(`${path} is not what weights.json says, expected ${described.content}`);
  return { path, digest, form: described.form, error, config, ...plan };
}
