/** More of `untrusted-input.test.ts`. */
import { untrustedInput } from "../support/untrusted-input.ts";

await untrustedInput(100, 1_100);
