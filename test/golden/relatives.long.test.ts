/** OLMoE's relatives in all other forms, budgets and executors. */
import { relativeTests } from "../support/golden-tests.ts";

relativeTests(({ name, form, k }) => !(form === "factored" && name.startsWith("ONNX") && k > 1));
