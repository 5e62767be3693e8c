"""SA1B-Matte at scale: the segmentation labels of photographs become mattes, in webdataset shards.

    python -m training.convert_sa1b --input SA1B --output MATTES --model CONVERTER.safetensors --fraction 0.01

**Input**: SA-1B as downloaded (`sa_*.tar`) or unpacked (`sa_N.jpg` + `sa_N.json`), at any depth. Other labelled
photographs become such a tar file by `python -m training.sa1b_matte.from_labels`.

**Output**: one shard for at most `--images-per-shard` photographs of one input shard (`shards` describes the format and
reads it), `conversion.json` (converter and configuration, written first) and `manifest.json` (for each shard sha256,
counts, labels left out by each rule; the quarantine list; what is missing). `.work/` holds notes that save time when a
conversion goes on; it may be deleted afterwards. Equal input, converter and configuration give equal bytes, whatever
the number of workers, their order, or how often the conversion was stopped. CPU and GPU round differently.

**Stopping and going on**: a shard is written beside its place and renamed when it is whole. Ctrl-C, SIGTERM, SIGKILL
or a power cut lose the shards in the making and nothing else; the same command goes on. Another converter or
configuration on the same output is refused. A tar file that was cut off is reported and left out; the same command
takes it once it is whole.

**Which photographs**: `--fraction` takes those whose key has a small hash, so 0.01 is a part of 0.02. Which labels:
`config.FilterRules`, and `--labels-per-image N` for at most N of each photograph, by hash.

**Who works**: `--ray local` (default) starts a Ray of its own, without dashboard; `--ray ADDRESS` uses a cluster, whose
machines see input, output and weights under the same paths; `--ray none` uses plain processes. On machines with GPUs
`--workers-per-gpu` actors share each.

**What it takes**: `--dry-run` prints photographs, labels and disk, with `--rate` also time and cost; `--benchmark 1 2`
measures the rate with 1 and 2 workers; `cost` extrapolates it to SA-1B and says what a worker keeps in memory.
"""
