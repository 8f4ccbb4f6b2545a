/** The names a user asks for engines by. Apart from the engines, so that a scenario's types do not reach into them. */
export const engineNames = ["auto", "onnx", "onnx-webgpu", "onnx-cuda", "tensorflow", "wasm", "cpu"] as const;
export type EngineName = (typeof engineNames)[number];
/** An engine that is one. */
export type ChosenEngine = Exclude<EngineName, "auto">;

export const isEngineName = (name: string): name is EngineName => (engineNames as readonly string[]).includes(name);
