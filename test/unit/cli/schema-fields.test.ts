import assert from "node:assert/strict";
import test from "node:test";
import { fieldAt, fieldsOf, type Shape } from "../../../src/cli/screen/schema-fields.ts";

/** Every field below a shape, with what is said of it; `type`, of which the form speaks, only where it has no form. */
function* fieldsBelow(shape: Shape, path: string): Generator<[path: string, about: string | undefined]> {
  const { anyOf = [], oneOf = [], allOf = [], items, properties = {}, additionalProperties: others } = shape;
  const inner = [...anyOf, ...oneOf, ...allOf, ...(items === undefined ? [] : [items])];
  for (const form of typeof others === "object" ? [...inner, others] : inner) yield* fieldsBelow(form, path);
  for (const [name, field] of Object.entries(properties)) {
    const at = `${path}.${name}`;
    if (name !== "type") yield [at, field.description];
    yield* fieldsBelow(field, at);
  }
}

test("every field of a scenario says what it is for", () => {
  const fields = [...fieldsBelow(fieldAt([]), "scenario")];
  assert.ok(fields.length > 2_000, `${fields.length} fields, those of a strategy counted for each`);
  const silent = fields.filter(([, about = ""]) => about === "").map(([path]) => path);
  assert.deepEqual([...new Set(silent)], []);
});

test("every strategy, sampler and round policy says what it does", () => {
  for (const path of ["strategy", "rounds.sampler", "rounds.policy"]) {
    for (const { title, about } of fieldsOf(fieldAt(path.split(".")))) assert.notEqual(about, "", `${path} ${title}`);
  }
});

test("a field that several forms have is told once", () => {
  const fields = fieldsOf(fieldAt(["data", "partition", "minimum"])).flatMap((form) => form.fields);
  const about = "examples every client must get";
  assert.deepEqual(fields, [{ name: "", values: "whole number ≥ 0", usual: "1", isNeeded: false, about }]);
});
