/** The executors present on this machine, for suites that run on each of them. */

import { EagerExecutor } from "../../src/tensor/executors/eager.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { TensorflowExecutor } from "../../src/tensor/executors/tensorflow.ts";
import { tensorflowAbsent } from "./tensorflow.ts";

export interface PresentExecutor {
  readonly name: string;
  create(): Promise<Executor>;
}

export const executors: readonly PresentExecutor[] = [
  // The first to load: its package makes itself the backend of TensorFlow.js.
  ...(tensorflowAbsent ? [] : [{ name: "TensorFlow", create: async () => new TensorflowExecutor() }]),
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
