/** The reference checkpoint in the other forms and on the other executors; at every budget in the form of training. */
import { narrowFolder } from "../support/golden.ts";
import { goldenTests, isQuick } from "../support/golden-tests.ts";

goldenTests((golden) => !isQuick(golden) && (golden.form === "factored" || golden.k === 1 || golden.k === 8));

// TensorFlow maps float32 alone; eager arithmetic widens narrow forms in one place, of which blocks of 4 bits ask the most.
goldenTests(({ name, form }) => form === "factored" && name.startsWith("TensorFlow.js"), {
  what: "a small OLMoE in int4",
  folder: narrowFolder,
  base: "int4",
  budgets: [3],
});
