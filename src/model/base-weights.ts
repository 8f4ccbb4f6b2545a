/**
 * The frozen base weights as the executors read them: one little-endian file that every session maps.
 *
 * Every matrix is stored `[in, out]`, so that a linear map is `x · W` without a transpose; q, k and v are one matrix, and
 * so are gate and up. With d = width, heads hd wide, H heads, KV key/value heads, M experts of width f, V tokens:
 *
 *   embed                [V, d]
 *   head                 [d, V]                 a copy of `embed`, transposed, when the embeddings are tied
 *   head.c               [d, V ÷ C]             in its place C panels of its columns, where it is large
 *   norm                 [d]
 *   layers.l.inputNorm   [d]
 *   layers.l.postNorm    [d]
 *   layers.l.qkv         [d, (H + 2·KV)·hd]     columns q | k | v
 *   layers.l.qkvBias     [(H + 2·KV)·hd]        only with `attentionBias`
 *   layers.l.qNorm       [H·hd]                 [hd] where `qkNorm` is head by head, absent where there is none
 *   layers.l.kNorm       [KV·hd]                the same
 *   layers.l.o           [H·hd, d]
 *   layers.l.oBias       [d]                    only with `attentionBias` on all four
 *   layers.l.router      [d, M]
 *   layers.l.gateUp      [M, d, 2·f]            columns gate | up
 *   layers.l.down        [M, f, d]
 *   layers.l.sharedGateUp  [d, 2·s]             a shared expert of width s beside the others: columns gate | up
 *   layers.l.sharedDown    [s, d]
 *   layers.l.sharedGate    [d, 1]
 *
 * In the place of the last six, a dense layer has an MLP of width m:
 *
 *   layers.l.mlpGateUp   [d, 2·m]               columns gate | up
 *   layers.l.mlpDown     [m, d]
 *
 * Stored as float32, or narrower; then everything is widened where it is used, one matrix at a time:
 *
 *   f32    all of it
 *   half   matrices in 16 bits: those of the checkpoint where it has 16, else float16; vectors and routers stay float32
 *   int8   the same, and the matrices of attention and experts in blocks of 8 bits, 8.5 with their scales
 *   int4   the same in 4 bits, 4.5 with their scales
 */
import { invariant } from "../base/errors.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { bytesOf, isQuantised, type NarrowType, type StoredTensor, scalesShape } from "../tensor/stored/stored.ts";
import { headWidthOf, type ModelConfig } from "./config.ts";

export const baseForms = ["f32", "half", "int8", "int4"] as const;
export type BaseForm = (typeof baseForms)[number];

/** A converted model on disk. It names bytes; whoever computes maps or reads them. */
export interface BaseWeights {
  /** The file of its tensors. */
  readonly path: string;
  /** SHA-256 over the configuration, every source tensor and the form, in hexadecimal. */
  readonly digest: string;
  readonly form: BaseForm;
  /** Root mean square of what narrowing changed, as a share of what it changed; 0 where it was exact. */
  readonly error: number;
  readonly config: ModelConfig;
  /** In file order, which is the order of {@link baseWeightShapes}. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Length of the file. */
  readonly bytes: number;
}

/** Base weights that can be read piece by piece, wherever they lie. */
export interface WeightSource {
  readonly config: ModelConfig;
  /** Fills `target` with elements `first … first + target.length − 1` of a tensor of the executor layout, row-major. */
  read(name: string, target: Float32Array, first?: number): void;
}

/** One page, so that a tensor can be mapped on its own. */
const tensorAlignment = 4096;

/** Columns of q and of k (or v): heads · hd and keyValueHeads · hd. */
export function attentionWidths(config: ModelConfig): { query: number; keyValue: number } {
  const headWidth = headWidthOf(config);
  return { query: config.heads * headWidth, keyValue: config.keyValueHeads * headWidth };
}

/** Numbers in the norms on q and k; 0 without. */
export function qkNormWidths(config: ModelConfig): { query: number; keyValue: number } {
  const { qkNorm } = config;
  if (qkNorm === undefined) return attentionWidths(config);
  const each = qkNorm === "heads" ? headWidthOf(config) : 0;
  return { query: each, keyValue: each };
}

/** Bytes that a panel of the head has in float32 at most. */
const panelBytes = 64 * 2 ** 20;

/**
 * Names of the matrices that make up the head, from the first token to the last: one, or as few of equal size as keep
 * within 64 MB, so that neither a widened head nor all logits need be in memory at once. A vocabulary that cannot be cut
 * so stays whole.
 */
export function headPanels({ vocabulary, width }: ModelConfig): readonly string[] {
  const least = Math.ceil((4 * vocabulary * width) / panelBytes);
  let count = least;
  while (count > 1 && vocabulary % count !== 0) count = count === 8 * least ? 1 : count + 1;
  return count === 1 ? ["head"] : Array.from({ length: count }, (_, panel) => `head.${panel}`);
}

/** Name and shape of every tensor of the executor layout, in file order. */
export function baseWeightShapes(config: ModelConfig): Map<string, readonly number[]> {
  const { vocabulary, layers, width: d, experts, expertWidth: f, attentionBias, sharedWidth, dense } = config;
  const { query, keyValue } = attentionWidths(config);
  const qkv = query + 2 * keyValue;
  const norms = qkNormWidths(config);
  const shapes = new Map<string, readonly number[]>([["embed", [vocabulary, d]]]);
  const panels = headPanels(config);
  for (const name of panels) shapes.set(name, [d, vocabulary / panels.length]);
  shapes.set("norm", [d]);
  for (let layer = 0; layer < layers; layer++) {
    const set = (name: string, ...shape: number[]) => shapes.set(`layers.${layer}.${name}`, shape);
    set("inputNorm", d);
    set("postNorm", d);
    set("qkv", d, qkv);
    if (attentionBias) set("qkvBias", qkv);
    if (norms.query > 0) {
      set("qNorm", norms.query);
      set("kNorm", norms.keyValue);
    }
    set("o", query, d);
    if (attentionBias === true) set("oBias", d);
    if (dense?.layers.includes(layer)) {
      set("mlpGateUp", d, 2 * dense.width);
      set("mlpDown", dense.width, d);
      continue;
    }
    set("router", d, experts);
    set("gateUp", experts, d, 2 * f);
    set("down", experts, f, d);
    if (sharedWidth === undefined) continue;
    set("sharedGateUp", d, 2 * sharedWidth);
    set("sharedDown", sharedWidth, d);
    set("sharedGate", d, 1);
  }
  return shapes;
}

/** How a tensor is stored in a form; undefined is float32. */
function storedType(
  name: string,
  shape: readonly number[],
  form: BaseForm,
  half: (name: string) => "bfloat16" | "float16",
): NarrowType | undefined {
  if (form === "f32" || shape.length === 1 || /\.(router|sharedGate)$/.test(name)) return undefined;
  const isTable = name === "embed" || name.startsWith("head");
  return form === "half" || isTable ? half(name) : form;
}

/**
 * Where every tensor and its scales lie in the file, and the file's length.
 *
 * @param half what 16 bits are, by tensor
 */
export function baseWeightPlan(
  config: ModelConfig,
  form: BaseForm = "f32",
  half: (name: string) => "bfloat16" | "float16" = () => "bfloat16",
): { tensors: Map<string, StoredTensor>; bytes: number } {
  const tensors = new Map<string, StoredTensor>();
  let end = 0;
  const place = (bytes: number): number => {
    const offset = end;
    end = Math.ceil((offset + bytes) / tensorAlignment) * tensorAlignment;
    return offset;
  };
  for (const [name, shape] of baseWeightShapes(config)) {
    const type = storedType(name, shape, form, half);
    const offset = place(bytesOf(type, sizeOf(shape)));
    const scales = isQuantised(type) ? place(2 * sizeOf(scalesShape(shape))) : undefined;
    tensors.set(name, { offset, shape, ...(type && { type }), ...(scales !== undefined && { scales }) });
  }
  return { tensors, bytes: end };
}

/**
 * Tensors in memory as a {@link WeightSource}, for a model that is being trained or made up.
 *
 * @throws InvariantError if a tensor is missing or has another size than its shape says
 */
export function weightsInMemory(config: ModelConfig, tensors: ReadonlyMap<string, Float32Array>): WeightSource {
  for (const [name, shape] of baseWeightShapes(config)) {
    const got = tensors.get(name)?.length;
    invariant(got === sizeOf(shape), () => `${name} has ${got ?? "no"} elements, expected ${shape.join("×")}`);
  }
  return {
    config,
    read: (name, target, first = 0) => target.set(tensors.get(name)!.subarray(first, first + target.length)),
  };
}
