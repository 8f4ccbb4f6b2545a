/** The reference checkpoint in the other forms and on the other executors; at every budget in the form of training. */
import { goldenTests, isQuick } from "../support/golden-tests.ts";

goldenTests((golden) => !isQuick(golden) && (golden.form === "factored" || golden.k === 1 || golden.k === 8));
