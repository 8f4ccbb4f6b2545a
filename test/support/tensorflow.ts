/**
 * TensorFlow, where its addon loads: as an installed package, or from the folder that `build-tfjs-node.sh` filled.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadTensorflow } from "../../src/tensor/executors/tensorflow-addon.ts";
import { needs } from "./needs.ts";

const built = join(import.meta.dirname, "../../.cache/tfjs-node");
if (existsSync(built)) process.env.FLAME_TFJS_NODE ??= built;

/** False, or why tests of the TensorFlow executor are skipped. */
export const tensorflowAbsent: string | false = absence();

function absence(): string | false {
  try {
    loadTensorflow();
    return false;
  } catch {
    return needs.tensorflow;
  }
}
