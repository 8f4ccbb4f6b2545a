import assert from "node:assert/strict";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { userFolder } from "../../../src/base/places.ts";

test("caches and what was trusted lie where this user's do", () => {
  assert.equal(userFolder("cache", { XDG_CACHE_HOME: "/caches" }), "/caches/flame-sim");
  assert.equal(userFolder("state", { XDG_STATE_HOME: "" }), join(homedir(), ".local/state/flame-sim"));
});

test("a relative folder of the environment does not count: it would lead into anybody's", () => {
  assert.equal(userFolder("cache", { XDG_CACHE_HOME: "caches" }), join(homedir(), ".cache/flame-sim"));
});

test("a user without a home is told what to set", () => {
  const none = () => {
    throw new Error("uv_os_homedir returned ENOENT");
  };
  assert.throws(() => userFolder("state", {}, () => "here"), /no home folder/);
  assert.equal(userFolder("cache", { XDG_CACHE_HOME: "/caches" }, none), "/caches/flame-sim");
  assert.throws(() => userFolder("state", {}, none), {
    name: "MachineError",
    message: "this user has no home folder: expected one in HOME, or a folder in XDG_STATE_HOME",
  });
});
