/** The reference checkpoint in all other forms, budgets and executors. */
import { goldenTests, isQuick } from "../support/golden-tests.ts";

goldenTests((golden) => !isQuick(golden));
