/** Everything that somebody else may have written is hostile until it is parsed. `npm run fuzz` deals out many more. */
import { untrustedInput } from "../support/untrusted-input.ts";

await untrustedInput(0, 100);
