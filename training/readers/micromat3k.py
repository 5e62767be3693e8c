"""MicroMat-3K: fine and coarse micro mattes with stored prompts, the test set of the paper."""

from functools import partial

from zim.evaluation.micromat3k import MicroMat3kDataset
from zim.evaluation.samples import MattingSample

from .reader import Reader, TrainingUse
from .records import MatteRecord, load_alpha


class MicroMat3k(Reader[MatteRecord]):
    """MicroMat-3K with its prompts (tags `fine` and `coarse`).

    Layout: that of `zim.evaluation.micromat3k`, which finds the files: `img/0002.png`,
    `matte/{fine,coarse}/0002_21.png`, `prompt/...` and `seg/...` in either order, `data_list.txt` where there is one.
    """

    name = "micromat3k"
    LAYOUT = "img/ + matte/{fine,coarse} + prompt/"
    SPLITS = {"test": TrainingUse(False, "MicroMat-3K is the test set of the paper")}

    def _scan(self, split: str) -> list[MattingSample]:
        return MicroMat3kDataset(self.root).samples

    def _record(self, split: str, entry: MattingSample) -> MatteRecord:
        return matte_record(entry, training_allowed=self.SPLITS[split].allowed)


def matte_record(sample: MattingSample, *, training_allowed: bool) -> MatteRecord:
    """A sample of the evaluation's readers as a record."""
    return MatteRecord(
        key=sample.id,
        image=sample.image_path,
        training_allowed=training_allowed,
        alpha=partial(load_alpha, sample.alpha_path),
        alpha_name=str(sample.alpha_path),
        tag=sample.tag or "",
        prompt=sample.prompt,
    )
