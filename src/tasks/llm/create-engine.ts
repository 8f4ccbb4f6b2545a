/** The language model's engine on whichever executor is asked for. */
import { chooseEngine, createExecutor } from "../../engine/create.ts";
import { alone, type MergeLimit } from "../../engine/merge-limit.ts";
import type { EngineName } from "../../engine/names.ts";
import type { AdapterShape, LoraConfig } from "../../model/adapter.ts";
import type { BaseWeights } from "../../model/base-weights.ts";
import { ProgramEngine } from "./program-engine.ts";

export interface EngineOptions {
  readonly baseWeights: BaseWeights;
  readonly lora: LoraConfig;
  /** What trains besides the experts' factors. */
  readonly shape?: AdapterShape;
  readonly engine?: EngineName;
  /** Intra-op threads; one per worker is fastest. */
  readonly threads?: number;
  /** Called after every step of training and every batch of an evaluation. */
  readonly onStep?: () => void;
  /** How many clients of one shape share a call; one by one unless given. */
  readonly merge?: MergeLimit;
}

export async function createEngine({
  baseWeights,
  lora,
  shape,
  engine = "auto",
  threads = 1,
  merge = alone,
  onStep = () => {},
}: EngineOptions): Promise<ProgramEngine> {
  const chosen = engine === "auto" ? chooseEngine(engine, threads).engine : engine;
  return new ProgramEngine(await createExecutor(chosen, threads), baseWeights, lora, { shape, merge, onStep });
}
