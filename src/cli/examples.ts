/** What `--help` shows of each command, as people type it. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  run: ["quickstart", "my.ts --workers 8", "quickstart --rounds 3 --set rounds.deadline=600000"],
  forecast: ["quickstart", "my.ts --workers 8 --json"],
  resume: ["runs/quickstart-42-20260310T141503"],
  compare: ["quickstart --strategies flame,fedavg,hetlora --seeds 3"],
  stress: ["quickstart --strategies flame,fedavg --dropout 0,0.3,0.6 --seeds 3"],
  sweep: ["quickstart --vary data.partition.alpha=0.1,1 --vary training.learningRate=1e-3,3e-3 --seeds 3"],
  methods: ["", "flame", "my.ts"],
  verify: ["runs/quickstart-42-20260310T141503 --rerun"],
  eval: ["--adapter runs/quickstart-42-20260310T141503 --budget 8,1"],
  generate: ['--adapter runs/quickstart-42-20260310T141503 --prompt "Sort the letters." --input dbca'],
  export: ["runs/quickstart-42-20260310T141503 --to adapter", "runs/quickstart-42-20260310T141503 --to model --merge"],
  inspect: ["olmoe-1b-7b --rank 16", "olmoe-1b-7b --time --budget 8,1", "path/to/model --budget 8,1"],
  synthesize: ["--like olmoe-1b-7b --layers 2 --to twin"],
  init: ["my-study"],
  complete: ["bash >> ~/.bashrc", "zsh > ~/.zfunc/_flame"],
  help: ["run", "scenario", "scenario world.network"],
};
