/** The names a user asks for engines by. Apart from the engines, so that a scenario's types do not reach into them. */
import { ScenarioError } from "../base/errors.ts";

export const engineNames = ["auto", "onnx", "onnx-webgpu", "onnx-cuda", "tensorflow", "wasm", "cpu"] as const;
export type EngineName = (typeof engineNames)[number];
/** An engine that is one. */
export type ChosenEngine = Exclude<EngineName, "auto">;

/** @throws ScenarioError when there is no engine of this name */
export function engineNameOf(name: string): EngineName {
  const engine = engineNames.find((known) => known === name);
  if (engine === undefined) throw new ScenarioError(`--engine is ${name}, expected one of ${engineNames.join(", ")}`);
  return engine;
}
