/**
 * What a test may need that a machine may lack, with a word on how to get it. These are the only reasons for which a test
 * may be skipped: `scripts/test.ts` prints those that were, and fails on any other.
 */
export const needs = {
  chromium: "needs a browser: apt-get install chromium",
  webgpu: "needs a WebGPU device, minutes on a software one, and FLAME_WEBGPU=1: bench/README.md, Without a GPU",
  tensorflow: "needs TensorFlow's addon: npm install --no-save --ignore-scripts=false @tensorflow/tfjs-node",
  peft: "needs a Python with torch, transformers and PEFT, named by FLAME_PEFT_PYTHON: test/support/peft-check.py",
  nats: "needs a NATS server: apt-get install nats-server",
  nodes: "needs another version of Node, as npx -p node@22 -- node --version installs it, or named by FLAME_NODES",
  linux: "needs /proc and /dev/full, as Linux has them",
  signals: "needs the signals of POSIX",
  permissions: "needs users and permissions, as POSIX has them",
  mount: "needs the right to mount file systems",
} as const;
