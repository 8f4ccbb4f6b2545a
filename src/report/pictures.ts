/** Pictures as HTML: each in a PNG of its own within the page, pixels as squares. */
import { crc32, deflateSync } from "node:zlib";
import type { Picture, PictureSheet } from "../tasks/pictures.ts";
import { escapeHtml, type Section } from "./page.ts";

export function pictureSections(sheets: readonly PictureSheet[]): Section[] {
  return sheets
    .filter(({ strips }) => strips.length > 0)
    .map(({ title, caption, strips }) => ({
      title,
      lead: caption,
      html: `<ul class="pictures">${strips.map(strip).join("")}</ul>`,
    }));
}

function strip({ caption, pictures }: PictureSheet["strips"][number]): string {
  return `<li>${pictures.map((picture) => image(picture, caption)).join("")}<span>${escapeHtml(caption)}</span></li>`;
}

/** Small pictures stand as large as they must to be seen, by whole multiples. */
function image(picture: Picture, caption: string): string {
  const times = Math.max(1, Math.floor(72 / Math.max(picture.height, picture.width)));
  const [width, height] = [picture.width * times, picture.height * times];
  const source = `data:image/png;base64,${Buffer.from(png(picture)).toString("base64")}`;
  return `<img src="${source}" width="${width}" height="${height}" alt="${escapeHtml(caption)}">`;
}

/**
 * Portable Network Graphics, second edition (ISO/IEC 15948:2003): eight bits a sample, no filter, stored and not compressed, so
 * that every version of zlib writes the same bytes.
 *
 * @internal
 */
export function png({ height, width, channels, pixels }: Picture): Uint8Array {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8);
  const samples = Buffer.from(pixels, "base64");
  const row = width * channels;
  const rows = Array.from({ length: height }, (_, y) =>
    Buffer.concat([Buffer.of(0), samples.subarray(y * row, (y + 1) * row)]),
  );
  const data = deflateSync(Buffer.concat(rows), { level: 0 });
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}
