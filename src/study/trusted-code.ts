/**
 * Which scenario code this user has run on this machine: an empty file for each path and digest, in the user's own folder.
 * No run folder can vouch for code, since a stranger may have written it; this place is out of a stranger's reach.
 */
import { chmodSync, closeSync, existsSync, openSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../base/digest.ts";
import { makeFolder } from "../base/disk.ts";
import { userFolder } from "../base/places.ts";

/** A relative path could lead into anybody's folder; see `userFolder`. */
const trustFolder = (): string => join(userFolder("state"), "trusted-code");

const nameOf = (file: string, digest: string): string => sha256(`${realpathSync(file)}\0${digest}`);

/** Remembers that the user has named this file to be run. Where that cannot be written down, a resume has to ask. */
export function trustCode(file: string, digest: string): void {
  try {
    const folder = trustFolder();
    makeFolder(folder);
    chmodSync(folder, 0o700);
    closeSync(openSync(join(folder, nameOf(file, digest)), "a", 0o600));
  } catch {
    // A home that is read-only, or none at all.
  }
}

/** Whether the user has run these very bytes from this very path. */
export function isTrustedCode(file: string, digest: string): boolean {
  try {
    const folder = trustFolder();
    return isPrivate(folder) && existsSync(join(folder, nameOf(file, digest)));
  } catch {
    return false;
  }
}

/** A folder that others may write to says nothing. Windows has no such bits; there a home is its user's. */
function isPrivate(folder: string): boolean {
  const user = process.getuid?.();
  if (user === undefined) return true;
  const { uid, mode } = statSync(folder);
  return uid === user && (mode & 0o022) === 0;
}
