import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { pictureSections, png } from "../../../src/report/pictures.ts";
import { writeReport } from "../../../src/report/report.ts";
import { pictureOf, picturesSchema } from "../../../src/tasks/pictures.ts";
import { fakeRunFolder } from "../../support/report-run-folder.ts";

test("a picture becomes a PNG that says its size and holds its pixels, row by row", () => {
  const bytes = Buffer.from(png(pictureOf([0, 0.5, 1, 2, -1, 1 / 3], { height: 2, width: 1, channels: 3 })));
  assert.equal(bytes.subarray(1, 4).toString(), "PNG");
  const head = bytes.indexOf("IHDR");
  assert.deepEqual([...bytes.subarray(head + 4, head + 14)], [0, 0, 0, 1, 0, 0, 0, 2, 8, 2]);
  const data = bytes.indexOf("IDAT");
  const length = bytes.readUInt32BE(data - 4);
  // No filter before each row; values are rounded to even and cut off at black and white.
  assert.deepEqual([...inflateSync(bytes.subarray(data + 4, data + 4 + length))], [0, 0, 128, 255, 0, 255, 0, 85]);
});

test("captions are text, and a sheet without pictures is none", () => {
  const picture = pictureOf([0], { height: 1, width: 1, channels: 1 });
  const sheet = { title: "Mistaken", caption: "…", strips: [{ caption: "<3 for 8>", pictures: [picture, picture] }] };
  const [section] = pictureSections([sheet, { ...sheet, strips: [] }]);
  assert.equal(section!.title, "Mistaken");
  assert.match(section!.html!, /alt="&#60;3 for 8&#62;"/);
  assert.equal(section!.html!.match(/<img src="data:image\/png;base64,iVBOR/g)!.length, 2);
  assert.equal(pictureSections([{ ...sheet, strips: [] }]).length, 0);
});

test("a picture whose bytes are not its size is refused", () => {
  const whole = { height: 1, width: 2, channels: 1 as const, pixels: Buffer.of(1, 2).toString("base64") };
  const sheet = (picture: unknown) => [{ title: "", caption: "", strips: [{ caption: "", pictures: [picture] }] }];
  assert.ok(picturesSchema.safeParse(sheet(whole)).success);
  assert.ok(!picturesSchema.safeParse(sheet({ ...whole, width: 3 })).success);
  assert.ok(!picturesSchema.safeParse(sheet({ ...whole, channels: 2 })).success);
});

test("the report of a run that left pictures shows them, and one that left others than these is refused", (context) => {
  const folder = fakeRunFolder({ rounds: 2 });
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const picture = pictureOf([0, 1], { height: 1, width: 2, channels: 1 });
  const sheet = { title: "Mistaken digits", caption: "Two.", strips: [{ caption: "8 for 3", pictures: [picture] }] };
  writeFileSync(join(folder, "pictures.json"), JSON.stringify([sheet]));
  assert.match(readFileSync(writeReport(folder), "utf8"), /<h2>Mistaken digits<\/h2>[\s\S]*<img src="data:image\/png/);
  writeFileSync(join(folder, "pictures.json"), JSON.stringify([{ ...sheet, strips: 3 }]));
  assert.throws(() => writeReport(folder), { message: /pictures\.json: \[0\]\.strips is 3, expected an array/ });
});
