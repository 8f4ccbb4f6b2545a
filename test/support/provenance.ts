import type { Provenance } from "../../src/folder/provenance.ts";

/** Of a run that trained on a file of its user's; every part that is known has another value. */
export const provenance: Provenance = {
  program: "1.0.0",
  code: "123",
  scenario: "abc",
  source: null,
  traces: null,
  data: "a1a1",
  tokenizer: "b2b2",
  template: "c3c3",
  model: "def",
  engine: "onnx",
  merge: "1 client a call",
  machine: "x64, one kind",
};
