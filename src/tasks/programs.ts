/** A task's programs, encoded once for everything they depend on. */
import type { ProgramSource } from "../engine/engine.ts";
import { encodeProgram } from "../tensor/codec.ts";
import type { Program } from "../tensor/graph/ir.ts";
import { fittingStep } from "./client-memory.ts";
import { inOrder, type Steps } from "./steps.ts";
import type { BatchShape, Task, Variant } from "./task.ts";
import { evaluationProgram, probeProgram, type StepOptions } from "./training-step.ts";

export class TaskPrograms {
  readonly task: Task;
  readonly #memory: number;
  readonly #encoded = new Map<string, ProgramSource>();

  /** @param memory bytes that a step may take before it computes layers again */
  constructor(task: Task, memory = Number.POSITIVE_INFINITY) {
    this.task = task;
    this.#memory = memory;
  }

  /** @param kind names the method's pieces: the same name, the same `steps` */
  step(variant: Variant, shape: BatchShape, options: StepOptions, kind = "", steps: Steps = {}): ProgramSource {
    return this.#of(
      ["step", kind, variant, shape, options],
      () => fittingStep(this.task, variant, shape, options, this.#memory, steps).program,
    );
  }

  probes(
    variant: Variant,
    shape: BatchShape,
    kind: string,
    when: "before" | "after" | "validate",
    steps: Steps,
    scoped = false,
  ): ProgramSource[] {
    return inOrder(steps[when]).map((probe, at) =>
      this.#of([when, at, kind, variant, shape, scoped], () =>
        probeProgram(this.task, variant, shape, steps, probe, scoped),
      ),
    );
  }

  evaluation(variant: Variant, shape: Omit<BatchShape, "clients">, withLogits = false): ProgramSource {
    return this.#of(["evaluation", variant, shape, withLogits], () =>
      evaluationProgram(this.task, variant, shape, withLogits),
    );
  }

  #of(parts: readonly unknown[], build: () => Program): ProgramSource {
    const key = JSON.stringify(parts);
    let source = this.#encoded.get(key);
    if (source === undefined) {
      const { digest, text } = encodeProgram(build());
      source = { digest, text: () => text };
      this.#encoded.set(key, source);
    }
    return source;
  }
}
