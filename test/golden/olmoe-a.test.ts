/** The reference checkpoint computes what it does in transformers and PyTorch. */
import { goldenTests, isQuick } from "../support/golden-tests.ts";

goldenTests(isQuick);
