/** `flame quantize`: a model folder with the same weights in 16, 8 or 4 bits. */
import { requireSpace } from "../../../base/disk.ts";
import { ScenarioError } from "../../../base/errors.ts";
import { formatBytes } from "../../../base/units.ts";
import { type BaseForm, baseWeightPlan } from "../../../model/base-weights.ts";
import { isBaseFolder, writeBaseFolder } from "../../../model/formats/base-folder.ts";
import { loadCheckpoint } from "../../../model/formats/checkpoint.ts";
import { lossOf } from "../../../tasks/llm/kind.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";
import { requireEmpty } from "./empty-folder.ts";
import { filling } from "./filling.ts";
import { modelFolder } from "./subject.ts";

interface Flags {
  readonly to: string;
  readonly base?: BaseForm;
}

export async function quantizeModel(name: string, { to, base = "int4" }: Flags): Promise<void> {
  const folder = modelFolder(name);
  if (isBaseFolder(folder)) {
    throw new ScenarioError(`${folder} was quantised before; expected the model it was made from`);
  }
  const checkpoint = loadCheckpoint(folder);
  try {
    // What a killed conversion left is removed by the next.
    const requireFree = () => requireEmpty(to, "", (file) => file === "lock" || file.endsWith(".partial"));
    requireFree();
    const { bytes } = baseWeightPlan(checkpoint.config, base);
    await filling(to, bytes, async ({ signal, onWritten }) => {
      // The process that held the lock may have finished.
      requireFree();
      requireSpace(to, bytes, `${name} in ${base}`);
      const onProgress = (done: number, total: number) => onWritten(Math.round((bytes * done) / total));
      const weights = await writeBaseFolder(checkpoint, to, base, { signal, onProgress });
      terminal.out.write(
        `${colors.bold(to)}: ${name} in ${base}, ${formatBytes(weights.bytes)}; ${lossOf(weights.error)}\n`,
      );
    });
  } finally {
    checkpoint.close();
  }
}
