/**
 * One archive for a Linux x64 machine without internet, Node or npm: the program, Node, ONNX Runtime for CPU and WebGPU, the
 * embedded model, the tests of the reference checkpoint and the benchmark of devices.
 *
 *   npm run bundle                    runs/flame-sim-<version>-linux-x64.tar.xz
 *   npm run bundle -- --folder <to>   the same as a new folder
 *
 * There:
 *
 *   tar xJf flame-sim-*.tar.xz && cd flame-sim-*
 *   ./flame doctor | reference | bench device | run quickstart
 *
 * The machine brings glibc and libstdc++, which every driver of a GPU needs as well, and for WebGPU `libvulkan.so.1`.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { compile } from "../bin/compiled.mjs";

const root = join(import.meta.dirname, "..");
/** What an archive may weigh: it is carried by hand. */
const mostBytes = 60e6;

const alsoThere = ["bench/main", "bench/device.bench", "test/golden/olmoe-a.test", "test/golden/webgpu.long.test"];

/** `$here` may be a link to it. */
const launcher = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
case "$1" in
  reference) cd "$here" && FLAME_WEBGPU=1 exec ./node --test-reporter=spec --test-name-pattern="ONNX|WebGPU" --test dist/test/golden/*.test.js ;;
  bench) shift; exec "$here/node" "$here/dist/bench/main.js" "$@" ;;
  *) exec "$here/node" "$here/dist/src/cli/main.js" "$@" ;;
esac
`;

const { values } = parseArgs({ options: { folder: { type: "string" } } });
if (process.platform !== "linux" || process.arch !== "x64") {
  throw new Error(
    `the bundle is made of this machine's Node: expected linux x64, got ${process.platform} ${process.arch}`,
  );
}
if (values.folder === undefined) await makeArchive();
else await makeFolder(resolve(values.folder));

async function makeArchive(): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const name = `flame-sim-${version}-linux-x64`;
  const draft = mkdtempSync(join(tmpdir(), "flame-bundle-"));
  try {
    await makeFolder(join(draft, name));
    mkdirSync(join(root, "runs"), { recursive: true });
    const archive = join(root, "runs", `${name}.tar.xz`);
    say("packing");
    execFileSync("tar", ["--sort=name", "--owner=0", "--group=0", "-cJf", archive, "-C", draft, name], {
      env: { ...process.env, XZ_OPT: "-6 -T0" },
    });
    const { size } = statSync(archive);
    if (size > mostBytes) {
      rmSync(archive);
      throw new Error(`the archive has ${size} bytes, expected at most ${mostBytes}`);
    }
    say(`${archive}: ${(size / 1e6).toFixed(1)} MB`);
  } finally {
    rmSync(draft, { recursive: true });
  }
}

/** @param folder must not be there yet */
async function makeFolder(folder: string): Promise<void> {
  mkdirSync(folder);
  for (const name of ["package.json", "package-lock.json", "LICENSE", "README.md", "assets", "scenarios"]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  say("compiling");
  await compile(join(folder, "dist"), { more: alsoThere });
  const reference = "test/golden/data/olmoe-a";
  cpSync(join(root, reference), join(folder, reference), { recursive: true });
  say("installing libraries");
  execFileSync("npm", ["ci", "--omit=dev", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
  });
  removeForeign(join(folder, "node_modules"));
  cpSync(process.execPath, join(folder, "node"));
  writeFileSync(join(folder, "flame"), launcher, { mode: 0o755 });
}

/** ONNX Runtime brings its libraries for all platforms; types and maps of sources help nobody there. */
function removeForeign(modules: string): void {
  const runtime = join(modules, "onnxruntime-node", "bin", "napi-v6");
  for (const platform of readdirSync(runtime)) {
    if (platform !== "linux") rmSync(join(runtime, platform), { recursive: true });
  }
  rmSync(join(runtime, "linux", "arm64"), { recursive: true });
  for (const name of readdirSync(modules, { recursive: true, encoding: "utf8" })) {
    if (/\.(d\.[cm]?ts|map)$/.test(name)) rmSync(join(modules, name));
  }
}

function say(what: string): void {
  process.stdout.write(`${what}\n`);
}
