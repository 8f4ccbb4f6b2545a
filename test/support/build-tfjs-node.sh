#!/usr/bin/env bash
#
# Builds the addon of @tensorflow/tfjs-node against the libraries inside the tensorflow_cpu wheel, so that the
# TensorFlow executor can be tested where libtensorflow itself cannot be downloaded.
#
#   bash test/support/build-tfjs-node.sh .cache/tfjs-node
#   FLAME_TFJS_NODE=.cache/tfjs-node npm test
#
# The package's install script downloads a tarball of headers and libraries and compiles its addon against them. Here it
# finds that tarball on the loopback interface, packed from the wheel, whose C API is the same and which pip can fetch.
# Needs pip, unzip, make and a C++ compiler, 4 GB of disk while it works and 1.4 GB afterwards, and a minute or two.
# Set NODE_HEADERS to a folder with include/node where the headers of Node cannot be downloaded either.
set -euo pipefail

folder=${1:?expected the folder to install into, such as .cache/tfjs-node}
tfjs=4.22.0
tensorflow=2.21.0
# The version the install script asks for; its own file names carry it.
expected=2.9.1

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
staging=$(mktemp -d "$folder/staging.XXXXXX")
server=
cleanup() {
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$staging"
}
trap cleanup EXIT

pip download --quiet --no-deps --dest "$staging" "tensorflow_cpu==$tensorflow"
unzip -q "$staging"/tensorflow_cpu-*.whl 'tensorflow/include/*' 'tensorflow/libtensorflow_*.so.2' -d "$staging/wheel"
rm "$staging"/tensorflow_cpu-*.whl

# The addon links -ltensorflow and -ltensorflow_framework; the wheel's libraries look for each other by soname.
lib="$staging/deps/lib"
mkdir -p "$lib" "$staging/www/tensorflow/libtensorflow"
mv "$staging/wheel/tensorflow/include" "$staging/deps/include"
mv "$staging"/wheel/tensorflow/libtensorflow_*.so.2 "$lib"
ln -s libtensorflow_cc.so.2 "$lib/libtensorflow.so"
ln -s libtensorflow_cc.so.2 "$lib/libtensorflow.so.$expected"
ln -s libtensorflow_framework.so.2 "$lib/libtensorflow_framework.so"
ln -s libtensorflow_framework.so.2 "$lib/libtensorflow_framework.so.$expected"
# What unpacks it accepts a tarball that is not compressed, and 850 MB take a while to compress.
tar -C "$staging/deps" -cf "$staging/www/tensorflow/libtensorflow/libtensorflow-cpu-linux-x86_64-$expected.tar.gz" .
rm -rf "$staging/deps" "$staging/wheel"

node -e '
  const { createReadStream, statSync } = require("node:fs");
  const server = require("node:http").createServer((request, response) => {
    const path = process.argv[1] + new URL(request.url, "http://localhost").pathname;
    response.setHeader("content-length", statSync(path).size);
    createReadStream(path).pipe(response);
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
' "$staging/www" >"$staging/port" &
server=$!
until [[ -s $staging/port ]]; do sleep 0.1; done

[[ -f $folder/package.json ]] || echo '{ "private": true }' >"$folder/package.json"
export TFJS_NODE_CDN_STORAGE="http://127.0.0.1:$(<"$staging/port")/"
# Without this node-pre-gyp prefers a prebuilt addon, which wants the libraries of version 2.9.1.
export npm_config_build_from_source=true
if [[ -n ${NODE_HEADERS:-} ]]; then export npm_config_nodedir=$NODE_HEADERS; fi
npm install --prefix "$folder" --ignore-scripts=false --no-save --no-package-lock --no-audit --no-fund "@tensorflow/tfjs-node@$tfjs"

cd "$folder"
node -e '
  const util = require("node:util");
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
  const tf = require("@tensorflow/tfjs-node");
  console.log(`tfjs-node ${tf.version["tfjs-node"]} on TensorFlow ${tf.backend().binding.TF_Version}, in ${process.cwd()}`);
'
