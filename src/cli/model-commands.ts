/** Commands about a model and an adapter on it. As in `commands.ts`, what one does is loaded once it is asked for. */
import type { Command } from "commander";
import {
  adapterBytes,
  baseOption as base,
  budgetList,
  dtype,
  nonNegative,
  positiveNumber,
  share,
  wholeNumber,
} from "./options.ts";

export function declareModelCommands(program: Command): void {
  program
    .command("eval")
    .description("measures a model, with or without an adapter, on held-out data at every budget")
    .option("--model <folder>", "a Hugging Face folder, or embedded (default: the run's, else embedded)")
    .option(...base)
    .option("--adapter <folder>", "a run, or a PEFT adapter of the experts")
    .option("--round <number>", "the adapter after this round of the run", wholeNumber)
    .option("--data <file>", "a file of instructions, or generated (default: the run's held-out examples)")
    .option("--tokens <file>", "instead, a JSON file of token ids: ids, and lengths or labels")
    .option("--examples <number>", "how many examples", positiveNumber)
    .option("--seed <number>", "of generated examples", wholeNumber, 1)
    .option(
      "--budget <numbers>",
      "experts per token, as in 8,4,2,1 (default: all halves of the model's own)",
      budgetList,
    )
    .option("--engine <name>", "what computes: auto, onnx, …", "auto")
    .option("--threads <number>", "threads of one forward pass", positiveNumber, 1)
    .option("--logits <file>", "also write the logits of the first batch, for test/support/peft-check.py; one budget")
    .option("--json", "print one JSON object")
    .action(async (flags) => (await import("./commands/model/eval.ts")).evaluate(flags));

  program
    .command("generate")
    .description("lets a model, with or without an adapter, answer one prompt")
    .requiredOption("--prompt <text>", "the instruction")
    .option("--input <text>", "what the instruction is about", "")
    .option("--raw", "continue the prompt as plain text, without the template of instructions")
    .option("--model <folder>", "a Hugging Face folder, or embedded (default: the run's, else embedded)")
    .option(...base)
    .option("--adapter <folder>", "a run, or a PEFT adapter of the experts")
    .option("--round <number>", "the adapter after this round of the run", wholeNumber)
    .option("--budget <number>", "experts per token (default: the model's own)", positiveNumber)
    .option("--max-tokens <number>", "longest answer", positiveNumber, 64)
    .option(
      "--temperature <number>",
      "0 always takes the likeliest token, 1 draws from the model's own",
      nonNegative,
      0,
    )
    .option("--top-p <number>", "draw among the likeliest tokens that make up this share", share, 1)
    .option("--seed <number>", "of what is drawn", wholeNumber, 1)
    .option("--threads <number>", "threads of one forward pass", positiveNumber, 1)
    .option("--json", "print one JSON object")
    .action(async (flags) => (await import("./commands/model/generate.ts")).answer(flags));

  program
    .command("export")
    .description("writes a run's adapter for PEFT, or merges it into a full model")
    .argument("<run>", "the run's folder")
    .requiredOption("--to <folder>", "where it goes; made if missing, and must be empty")
    .option("--round <number>", "the adapter after this round (default: the last)", wholeNumber)
    .option("--budget <number>", "experts per token it is for (default: the model's own)", positiveNumber)
    .option("--merge", "write a full Hugging Face model with adapter and rescaler in its weights")
    .option("--dtype <name>", "how a merged model is stored: float32, bfloat16, float16", dtype, "F32")
    .option("--model <folder>", "the base model, if it is no longer where the run found it")
    .action(async (run, flags) => (await import("./commands/model/export.ts")).exportRun(run, flags));

  program
    .command("inspect")
    .description("prints a model's parameters, and its cost and traffic at every budget")
    .argument(
      "[model]",
      "a Hugging Face folder, its config.json alone, a published shape such as olmoe-1b-7b, or embedded",
      "embedded",
    )
    .option("--rank <number>", "LoRA rank", positiveNumber, 8)
    .option(
      "--budget <numbers>",
      "experts per token, as in 8,4,2,1 (default: all halves of the model's own)",
      budgetList,
    )
    .option("--adapter-bytes <number>", "bytes of an adapter's number on the network, 4 or 2", adapterBytes, 4)
    .option("--sequence <tokens>", "length of the sequence that is counted as a whole", positiveNumber, 128)
    .option("--batch <tokens>", "tokens of a training batch", positiveNumber, 512)
    .option("--time", "measure how many tokens a second this machine trains")
    .option("--tokens <number>", "tokens that a client trains on in a round", positiveNumber, 10_000)
    .option("--json", "print one JSON object")
    .action(async (model, flags) => (await import("./commands/model/inspect.ts")).inspect(model, flags));

  program
    .command("synthesize")
    .description("writes a model of a given shape with random weights, to try memory and speed without its weights")
    .requiredOption(
      "--like <model>",
      "a published shape such as olmoe-1b-7b, a Hugging Face folder, or its config.json",
    )
    .requiredOption("--to <folder>", "where it goes; made if missing, and must be empty")
    .option("--layers <number>", "its first layers alone", positiveNumber)
    .option("--seed <number>", "of the weights", wholeNumber, 1)
    .action(async (flags) => (await import("./commands/model/synthesize.ts")).synthesizeModel(flags));

  program
    .command("quantize")
    .description("writes a model whose weights are stored narrower: they take less memory, and need no conversion")
    .argument("<model>", "a Hugging Face folder, or embedded")
    .requiredOption("--to <folder>", "where it goes; made if missing, and must be empty")
    .option(base[0], "how the base weights are kept: half, int8 or int4 (default: int4)", base[2])
    .action(async (model, flags) => (await import("./commands/model/quantize.ts")).quantizeModel(model, flags));

  program
    .command("pretrain")
    .description("pre-trains a small base model on generated text; goes on where an interrupted run stopped")
    .requiredOption("--to <folder>", "where the Hugging Face OLMoE folder goes")
    .option("--dense", "the dense model that the task refactor cuts into experts, in the place of the embedded mixture")
    .option("--steps <number>", "optimizer steps (default: those of the model)", positiveNumber)
    .option("--seed <number>", "seed of the weights and the corpus (default: the model's)", positiveNumber)
    .option("--threads <number>", "threads of one step; the bytes depend on it", positiveNumber, 1)
    .option("--save-every <steps>", "how often the state is saved", positiveNumber, 200)
    .option("--force", "make the model anew in the place of what the folder holds")
    .action(async (flags) => (await import("./commands/model/pretrain.ts")).pretrain(flags));
}
