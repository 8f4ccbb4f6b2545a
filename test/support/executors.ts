/** The executors present on this machine, for suites that run on each of them. */

import { EagerExecutor } from "../../src/tensor/executors/eager.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";

export interface PresentExecutor {
  readonly name: string;
  create(): Promise<Executor>;
}

export const executors: readonly PresentExecutor[] = [
  { name: "ONNX Runtime on the CPU", create: async () => new OnnxExecutor() },
  {
    name: "TensorFlow.js, eager on the CPU",
    async create() {
      const tf = await import("@tensorflow/tfjs-core");
      await import("@tensorflow/tfjs-backend-cpu");
      await tf.setBackend("cpu");
      return new EagerExecutor(tf);
    },
  },
];
