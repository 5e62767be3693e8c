"""Measuring mattes: metrics, datasets, peers that need no weights, and the benchmark that puts them in one
table.

- `metrics`: the MicroMat protocol (per instance, whole image or a region) and the unknown band;
- `classic_metrics`: the alphamatting family inside a trimap's unknown region;
- `boundary`: mask IoU and boundary IoU;
- `datasets`, `micromat3k`: readers of photo / alpha folders and of MicroMat-3K;
- `prompt_rules`: the prompt that a benchmark gives, derived from the truth or stored with the data;
- `peers`: GrabCut, and GrabCut followed by closed-form matting;
- `benchmark`, `results`, `report`, `figure`: one run, its numbers, its tables and its contact sheet;
- `speed`, `feedback`: two small measurements with commands of their own.
"""
