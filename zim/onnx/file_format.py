"""The official release's ONNX format: file names, and the names of the graphs' inputs and outputs in order.

| graph | inputs | outputs |
|---|---|---|
| encoder | `image` (I, 3, S, S) normalised and padded | `image_embeddings`, `feat_D0`, `feat_D1`, `feat_D2` |
| decoder | `feat_D0..2`, `image_embeddings`, `attn_mask` (B, g, g), `point_coords` (B, N, 2), `point_labels` (B, N) |
`masks` (B, 4, h, w) logits, `iou_predictions` (B, 4) |
| decoder_mask | `feat_D0..2`, `image_embeddings`, `point_coords`, `point_labels`, `mask_input` (B, 1, S/4, S/4),
`has_mask_input` (B,) | as the decoder's |

All are float32, S is 1024 and g 64 in released models. Points are followed by one padding point at (-0.5, -0.5) with
label -1; a box is two points with labels 2 and 3 and no padding point. The third graph is this package's own.

`attn_mask` is what the caller makes of the prompt. The official release knows two forms: a box is 0 inside and -inf
outside, points are a Gaussian in (0, 1]. Graphs exported here take both, cell by cell: a positive value is a soft mask
whose logarithm is taken, a value <= 0 is a log-mask as it stands. So zeros and ones alike leave everything open.
"""

from pathlib import Path

from zim.errors import CheckpointError

ENCODER_FILE, DECODER_FILE, MASK_DECODER_FILE = "encoder.onnx", "decoder.onnx", "decoder_mask.onnx"
RECORD_FILE = "zim_export.json"

FEATURES = ("feat_D0", "feat_D1", "feat_D2", "image_embeddings")
ENCODER_INPUTS = ("image",)
ENCODER_OUTPUTS = ("image_embeddings", "feat_D0", "feat_D1", "feat_D2")
DECODER_INPUTS = (*FEATURES, "attn_mask", "point_coords", "point_labels")
MASK_DECODER_INPUTS = (*FEATURES, "point_coords", "point_labels", "mask_input", "has_mask_input")
DECODER_OUTPUTS = ("masks", "iou_predictions")

PADDING_COORDINATE = -0.5
OFFICIAL_POINT_SIGMA = 21.0
"""Standard deviation of a point's Gaussian in the official release, in cells of a 64 x 64 grid."""


def require_files(folder: Path) -> None:
    """Refuse a folder without the two graphs.

    Raises:
        CheckpointError: encoder.onnx or decoder.onnx is missing.
    """
    missing = [name for name in (ENCODER_FILE, DECODER_FILE) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: expected a checkpoint file, or a folder with {ENCODER_FILE} and {DECODER_FILE}; "
            f"received a folder without {', '.join(missing)}"
        )
