/** A worker that does what strategies ask for at the end of a round. */
import { doWork, type WorkInput, type WorkName } from "../src/fl/works.ts";

export default ({ name, input }: { readonly name: WorkName; readonly input: WorkInput<WorkName> }): unknown =>
  doWork(name, input);
