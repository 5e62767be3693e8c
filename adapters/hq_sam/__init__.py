"""HQ-SAM in use: masks of a folder of photographs from boxes, and the measure that HQ-SAM is judged by.

The HQ heads themselves are part of `zim` (`zim.load_predictor("hq_sam_tiny")`, `"hq_zim_tiny"`, or the path of a
SAM-HQ checkpoint); `transformers_predictor` puts transformers' `SamHQModel` beside them.
"""

from .evaluation import HqResult, HqScores, evaluate, hq_scores
from .hq_sets import HQ_SETS, open_hq_set
from .segmentation import SegmentationJob, segment_folder
from .transformers_predictor import TransformersHqPredictor

__all__ = [
    "HQ_SETS",
    "HqResult",
    "HqScores",
    "SegmentationJob",
    "TransformersHqPredictor",
    "evaluate",
    "hq_scores",
    "open_hq_set",
    "segment_folder",
]
