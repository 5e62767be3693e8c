"""Does a second pass help? `python -m zim.evaluation.feedback --root DIR --model zim_tiny`.

The first pass gets a box; the second the same box and the first pass's low-resolution logits as `mask_input`.
A model that was trained on its own logits keeps or improves its error.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.alpha import predict_alpha
from zim.errors import DataError, ZimError
from zim.evaluation.benchmark import DEFAULT_LONG_SIDE
from zim.evaluation.datasets import FolderDataset
from zim.evaluation.loader import LoadPredictor, default_loader
from zim.evaluation.machine import describe_machine, machine_line, now, use_threads
from zim.evaluation.metrics import mse
from zim.evaluation.model_errors import blaming_model
from zim.evaluation.prompt_rules import PromptRule
from zim.evaluation.samples import MattingSample, downsize
from zim.files import write_json_atomic
from zim.protocol import Predictor


def measure_feedback(
    dataset: Sequence[MattingSample],
    predictor: Predictor,
    *,
    long_side: int | None = DEFAULT_LONG_SIDE,
    progress: bool = False,
    name: str = "predictor",
) -> dict[str, Any]:
    """MSE (x 1000, whole image) of both passes: means, share of samples that got no worse, every sample.

    Samples whose truth has no pixel above 0.3 have no box; they are counted as `skipped`.

    Raises:
        DataError: no sample could be measured.
        ModelError: the predictor failed on a sample; `name` is what the message calls it.
    """
    rows, skipped = [], []
    rule = PromptRule("box")
    for sample in tqdm(dataset, desc="feedback", unit="image", disable=not progress):
        try:
            full_image, full_alpha = sample.load()
            image, alpha = downsize(full_image, full_alpha, long_side)
            box = rule.prompt(alpha).box
        except ZimError as error:
            skipped.append({"sample": sample.id, "message": str(error)})
            continue
        with blaming_model(name, f"on {sample.id}"):
            predictor.set_image(image)
            first, second = _two_passes(predictor, box)
            rows.append({"sample": sample.id, "first": mse(first, alpha), "second": mse(second, alpha)})
    if not rows:
        raise DataError(f"dataset: expected at least one sample with an object, skipped all {len(skipped)}")
    return {
        "count": len(rows),
        "first_mse": fmean(r["first"] for r in rows),
        "second_mse": fmean(r["second"] for r in rows),
        "no_worse": fmean(float(r["second"] <= r["first"]) for r in rows),
        "skipped": skipped,
        "images": rows,
    }


def _two_passes(predictor: Predictor, box: NDArray | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Alphas (H, W) of the box alone, and of the box with the logits of the first pass."""
    first = predict_alpha(predictor, box=box)
    _, _, low_res = predictor.predict(box=box, multimask_output=False, return_logits=True)
    return first, predict_alpha(predictor, box=box, mask_input=low_res)


def main(arguments: Sequence[str] | None = None, *, load: LoadPredictor | None = None) -> int:
    """The command line; `load(name, device=...)` makes the predictor (default: `zim.load_predictor`)."""
    options = _parser().parse_args(arguments)
    try:
        use_threads(options.threads)
        dataset = FolderDataset(options.root, limit=options.limit)
        with blaming_model(options.model, "to load"):
            predictor = (load or default_loader())(options.model, device=options.device)
        measured = measure_feedback(
            dataset, predictor, long_side=options.long_side or None, progress=True, name=options.model
        )
        machine = describe_machine()
        if options.json:
            write_json_atomic(
                options.json, {"model": options.model, "date": now(), "machine": machine, **measured}
            )
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(machine_line(machine))
    print(f"{options.model}, {measured['count']} samples, {len(measured['skipped'])} skipped, MSE x 1000:")
    print(f"  box                    {measured['first_mse']:.3f}")
    print(f"  box + previous logits  {measured['second_mse']:.3f}   (no worse on {measured['no_worse']:.0%})")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zim.evaluation.feedback", description=__doc__)
    parser.add_argument("--root", required=True, help="a folder with image/ + alpha/ pairs")
    parser.add_argument("--model", required=True, help="name or path that zim.load_predictor answers")
    parser.add_argument("--limit", type=int, default=200, help="at most this many samples, evenly spaced")
    parser.add_argument(
        "--long-side", type=int, default=DEFAULT_LONG_SIDE, help="shrink to this first; 0 keeps the size"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="write the numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
