"""SA3D's self-prompting: points found one by one in a rendered mask, the predictor asked after each."""

from typing import Any

import numpy as np
import pytest
import torch

from zim.predictor import ZimPredictor


def self_prompt(predictor: Any, rendered: torch.Tensor, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """First the maximum; then blank a window around the last point, look at the mask so far, take the next best."""
    height, width = rendered.shape
    left, points, answers = rendered.clone(), [], []
    peak = torch.topk(rendered.view(-1), k=1)[1].cpu()
    points.append([peak[0] % width, peak[0] // width])  # 0-d tensors, as the program has them
    for _ in range(count - 1):
        masks, _, _ = predictor.predict(
            point_coords=np.array(points), point_labels=np.ones(len(points)), multimask_output=False
        )
        answers.append(masks)
        x, y = int(points[-1][0]), int(points[-1][1])
        left[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10] = -1e5
        grown = torch.nn.functional.max_pool2d(torch.tensor(masks[0])[None, None].float(), 25, stride=1, padding=12)
        highest = torch.max(rendered[grown[0, 0] > 0]) if bool((grown > 0).any()) else torch.tensor(0.0)
        ys, xs = torch.meshgrid(torch.arange(height) - y, torch.arange(width) - x, indexing="ij")
        distance = torch.sqrt((ys / height) ** 2 + (xs / width) ** 2)
        value, index = (left - distance / distance.max() * max(highest, 0)).view(-1).max(dim=0)
        if value <= 0:
            break
        points.append([int(index % width), int(index // width)])
    return np.array(points), answers


@pytest.mark.usefixtures("program")
def test_self_prompting_asks_the_same_questions_and_gets_the_same_answers(
    photo: np.ndarray, direct: ZimPredictor
) -> None:
    from segment_anything import SamPredictor, sam_model_registry

    device = torch.device("cuda")
    sam = sam_model_registry["vit_h"](checkpoint="./dependencies/sam_ckpt/sam_vit_h_4b8939.pth").to(device)
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(160.0), indexing="ij")
    rendered = (2 - ((x - 60) / 25) ** 2 - ((y - 40) / 20) ** 2).cuda()
    points, answers = self_prompt(predictor, rendered.cpu(), 4)
    assert points[0].tolist() == [60, 40]  # the top of the rendered mask
    assert len(points) >= 2 and (rendered.cpu().numpy()[points[:, 1], points[:, 0]] > 0).all()
    assert len(np.unique(points, axis=0)) == len(points)
    for number, masks in enumerate(answers, start=1):
        expected = direct.predict(points[:number], np.ones(number), multimask_output=False)[0]
        assert masks.dtype == np.bool_ and masks.shape == (1, 90, 160)
        assert np.array_equal(masks, expected)


@pytest.mark.usefixtures("program")
def test_three_masks_weigh_in_the_loss(photo: np.ndarray, direct: ZimPredictor) -> None:
    """The chosen mask, a bool array, multiplies the rendered one on the device."""
    from segment_anything import SamPredictor, build_sam_vit_h

    predictor = SamPredictor(build_sam_vit_h("sam_vit_h_4b8939.pth").cuda())
    predictor.set_image(photo)
    masks, scores, _ = predictor.predict(np.array([[60, 40]]), np.ones(1), multimask_output=True)
    selected = int(np.argmax(scores))
    rendered = torch.full((90, 160), 0.25, device="cuda")
    chosen = torch.tensor(masks[selected], device="cuda")
    loss = -(chosen * rendered).sum() + 0.15 * ((~chosen) * rendered).sum()
    inside = direct.predict(np.array([[60, 40]]), np.ones(1))[0][selected].sum()
    assert masks.shape == (3, 90, 160)
    assert float(loss) == pytest.approx(0.25 * (-inside + 0.15 * (90 * 160 - inside)), rel=1e-5)
