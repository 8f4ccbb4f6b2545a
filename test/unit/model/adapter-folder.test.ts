import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { readAdapterFolder } from "../../../src/model/formats/adapters/adapter-folder.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { smallModel } from "../../support/small-model.ts";

test("what another task left is no adapter, and its file is named", (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, "tabular_model.safetensors"), "");
  assert.throws(
    () => readAdapterFolder(folder, smallModel),
    (error: Error) =>
      error instanceof InputError &&
      error.message.includes("holds tabular_model.safetensors and no adapter_config.json"),
  );
});
