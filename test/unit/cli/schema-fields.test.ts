import assert from "node:assert/strict";
import test from "node:test";
import { fieldAt, fieldsOf, type Shape } from "../../../src/cli/screen/schema-fields.ts";

/** Every field below a shape and every form that it may have, with what is said of it. */
function* toldBelow(shape: Shape, path: string): Generator<[path: string, about: string | undefined]> {
  const { anyOf = [], oneOf = [], allOf = [], items, properties = {}, additionalProperties: others } = shape;
  for (const form of [...anyOf, ...oneOf]) {
    const type = form.properties?.type?.const;
    if (type !== undefined) yield [`${path} of type ${type}`, form.description];
  }
  const inner = [...anyOf, ...oneOf, ...allOf, ...(items === undefined ? [] : [items])];
  for (const form of typeof others === "object" ? [...inner, others] : inner) yield* toldBelow(form, path);
  for (const [name, field] of Object.entries(properties)) {
    const at = `${path}.${name}`;
    // Of the type its form says enough.
    if (name !== "type") yield [at, field.description];
    yield* toldBelow(field, at);
  }
}

test("every field of a scenario says what it is for, and where it has several forms, each of them", () => {
  const told = [...toldBelow(fieldAt([]), "scenario")];
  assert.ok(told.length > 2_000, `${told.length}, those of a strategy counted for each`);
  const silent = told.filter(([, about = ""]) => about === "").map(([path]) => path);
  assert.deepEqual([...new Set(silent)], []);
});

test("a field that several forms have is told once", () => {
  const fields = fieldsOf(fieldAt(["data", "partition", "minimum"])).flatMap((form) => form.fields);
  const about = "examples every client must get";
  assert.deepEqual(fields, [{ name: "", values: "whole number ≥ 0", usual: "1", isNeeded: false, about }]);
});
