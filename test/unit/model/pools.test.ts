import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { besideLayout } from "../../../src/model/beside.ts";
import { exportPools, importPools } from "../../../src/model/formats/adapters/pools.ts";
import { SafetensorsFile } from "../../../src/model/formats/safetensors.ts";
import { folderOfFile } from "../../support/folders.ts";
import { smallModel } from "../../support/small-model.ts";

const folder = folderOfFile();
const layout = besideLayout(smallModel, { experts: 3, width: 2 });
const draws = new Rng(1).at("pools").at(0);
const options = { baseModelName: "base", rescaler: [1, 1] };
const parameters = Float32Array.from({ length: layout.size }, () => draws.normal());

test("small experts are written as linear layers, and read back bit for bit", () => {
  const to = join(folder, "whole");
  exportPools(to, layout, parameters, options);
  const read = importPools(to, smallModel);
  assert.deepEqual(read.parameters, parameters);
  assert.deepEqual(read.layout.beside, { experts: 3, width: 2 });

  const file = SafetensorsFile.open(join(to, "pools_model.safetensors"));
  const { width, layers } = smallModel;
  assert.equal(file.tensors.size, layers * (3 * 4 + 1));
  const down = new Float32Array(2 * width);
  file.readFloats("layers.1.pool.experts.2.down.weight", down);
  file.close();
  // V_m [width, hidden] stands there, and its transpose in the vector.
  const { start } = layout.range("down", 3 + 2);
  for (let row = 0; row < width; row++) {
    for (let unit = 0; unit < 2; unit++) assert.equal(down[row * 2 + unit], parameters[start + unit * width + row]);
  }
});

test("a folder for another model, with a number missing or not finite, is refused with what is wrong", () => {
  const to = join(folder, "wrong");
  exportPools(to, layout, parameters, options);
  assert.throws(() => importPools(to, { ...smallModel, layers: 3 }), {
    name: InputError.name,
    message: /pools_config\.json is for 2 layers of width 8, but the model has 3/,
  });
  const config = join(to, "pools_config.json");
  const text = readFileSync(config, "utf8");
  writeFileSync(config, text.replace('"experts": 3', '"experts": 4'));
  assert.throws(() => importPools(to, smallModel), /experts\.3\.up\.weight is missing, expected shape \[2, 8\]/);
  writeFileSync(config, text);
  const { start } = layout.range("downBias", 1);
  exportPools(to, layout, parameters.with(start + 5, Number.NaN), options);
  assert.throws(() => importPools(to, smallModel), /experts\.1\.down\.bias has NaN at \[5\], expected finite numbers/);
});
