"""The modules that stand in for `segment_anything`, `segment_anything_hq` and `mobile_sam`."""

from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from zim.compat import amg, strict
from zim.compat.notices import Notices
from zim.modeling.common import MLP, LayerNorm2d, MLPBlock
from zim.modeling.mask_decoder import MaskDecoder
from zim.modeling.prompt_encoder import PositionEmbeddingRandom, PromptEncoder
from zim.modeling.two_way_transformer import Attention, TwoWayAttentionBlock, TwoWayTransformer
from zim.modeling.zim import Zim, ZimImageEncoder
from zim.transforms import ResizeLongestSide

PACKAGES = ("segment_anything", "segment_anything_hq", "mobile_sam")

AMG_NAMES = (
    *("MaskData", "area_from_rle", "batch_iterator", "batched_mask_to_box", "box_xyxy_to_xywh"),
    *("build_all_layer_point_grids", "build_point_grid", "calculate_stability_score", "coco_encode_rle"),
    *("generate_crop_boxes", "is_box_near_crop_edge", "mask_to_rle_pytorch", "remove_small_regions"),
    *("rle_to_mask", "uncrop_boxes_xyxy", "uncrop_masks", "uncrop_points"),
)

Names = dict[str, Any]


def surface_of(model: str | Path | Zim, notices: Notices) -> dict[str, ModuleType]:
    """Fresh modules by their full names; nothing is entered into `sys.modules`."""
    return {name: module for package in PACKAGES for name, module in _package(package, model, notices).items()}


def _package(package: str, model: str | Path | Zim, notices: Notices) -> dict[str, ModuleType]:
    builders = _builders(model, notices)
    predictor: Names = {"SamPredictor": strict.SamPredictor, "ResizeLongestSide": ResizeLongestSide, "Sam": Zim}
    generator: Names = {"__getattr__": _generator_on_demand}
    masks: Names = {name: getattr(amg, name) for name in AMG_NAMES}
    modeling = _modeling()
    contents: dict[str, Names] = {
        "": builders | {"SamPredictor": strict.SamPredictor} | generator,
        "build_sam": builders | modeling["modeling"],
        "build_sam_baseline": builders | modeling["modeling"],
        "predictor": predictor,
        "automatic_mask_generator": {"SamPredictor": strict.SamPredictor, "Sam": Zim} | masks | generator,
        "utils": {},
        "utils.amg": masks,
        "utils.transforms": {"ResizeLongestSide": ResizeLongestSide},
        "utils.onnx": {"SamOnnxModel": strict.SamOnnxModel, "Sam": Zim} | masks,
        **modeling,
    }
    modules = {".".join(filter(None, (package, name))): _module(package, name, contents[name]) for name in contents}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent and not hasattr(modules[parent], child):  # the function build_sam hides its module, as in SAM
            setattr(modules[parent], child, module)
    return modules


def _generator_on_demand(name: str) -> Any:
    """A module's `__getattr__`: the mask generator is imported when a program asks for it."""
    if name != "SamAutomaticMaskGenerator":
        raise AttributeError(f"ZIM's stand-in for segment_anything has no {name!r}")
    from zim.compat.strict_generator import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator


def _builders(model: str | Path | Zim, notices: Notices) -> Names:
    """`build_sam...` and the registries: one model behind every key."""
    registry = {key: strict.builder_of(key, model, notices) for key in strict.SAM_KEYS}
    return {
        "build_sam": registry["vit_h"],
        **{f"build_sam_{key}": registry[key] for key in strict.SAM_KEYS if key != "default"},
        "sam_model_registry": registry,
        "sam_model_registry_baseline": dict(registry),
    }


def _modeling() -> dict[str, Names]:
    """The classes of a model's parts, for annotations, `isinstance` and code that borrows a layer."""
    layers: Names = {"LayerNorm2d": LayerNorm2d, "MLPBlock": MLPBlock}
    encoder: Names = {"ImageEncoderViT": ZimImageEncoder}
    tiny: Names = {"TinyViT": ZimImageEncoder}
    prompts: Names = {"PromptEncoder": PromptEncoder}
    decoder: Names = {"MaskDecoder": MaskDecoder, "MaskDecoderHQ": MaskDecoder}
    transformer: Names = {"TwoWayTransformer": TwoWayTransformer}
    return {
        "modeling": {"Sam": Zim} | encoder | tiny | prompts | decoder | transformer,
        "modeling.sam": {"Sam": Zim} | encoder | prompts | decoder,
        "modeling.image_encoder": encoder | layers,
        "modeling.tiny_vit_sam": tiny,
        "modeling.prompt_encoder": prompts | layers | {"PositionEmbeddingRandom": PositionEmbeddingRandom},
        "modeling.mask_decoder": decoder | layers | {"MLP": MLP},
        "modeling.mask_decoder_hq": decoder | layers | {"MLP": MLP},
        "modeling.transformer": transformer
        | layers
        | {"TwoWayAttentionBlock": TwoWayAttentionBlock, "Attention": Attention},
        "modeling.common": layers,
    }


def _module(package: str, name: str, contents: Names) -> ModuleType:
    full_name = f"{package}.{name}" if name else package
    module = ModuleType(full_name, f"ZIM's answer to {full_name}.")
    is_package = name in ("", "utils", "modeling")
    module.__spec__ = ModuleSpec(full_name, loader=None, origin="zim.compat", is_package=is_package)
    module.__package__ = full_name if is_package else full_name.rpartition(".")[0]
    if is_package:
        module.__path__ = []  # submodules are looked up, and none is found but those in sys.modules
    vars(module).update(contents)
    return module
