"""With a predictor that knows the truth, the object in 3-D is the true one; what cannot be believed has no vote."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.multiview_3d.evaluation import point_scores
from adapters.multiview_3d.object_fields import Rendering
from adapters.multiview_3d.point_field import PointField, VotingConfig
from adapters.multiview_3d.predictions import PredictionStore
from adapters.multiview_3d.propagation import (
    fused_alpha,
    grown_where_touched,
    known_overlap,
    segment_scene,
    view_order,
)
from adapters.multiview_3d.scenes import RenderedScene
from adapters.multiview_3d.self_prompts import SelfPromptConfig, confident_points, self_prompt
from adapters.multiview_3d.views import Scene
from zim.errors import ConfigError, DataError, PromptError
from zim.prompts import Prompt, box_from_alpha


def field_of(rendered: RenderedScene, **config: object) -> PointField:
    cameras = [view.camera for view in rendered.scene.views]
    return PointField(rendered.surface, cameras, len(rendered.alphas), VotingConfig(**config))  # type: ignore[arg-type]


def true_prompts(rendered: RenderedScene, view: int = 0) -> list[Prompt]:
    return [Prompt(box=box_from_alpha(alphas[view])) for alphas in rendered.alphas]


def figures(rendered: RenderedScene, field: PointField, obj: int = 0) -> dict[str, float]:
    seen = np.zeros(len(rendered.labels), bool)
    for index in range(len(rendered.scene.views)):
        seen[field.map_of(index).points] = True
    return point_scores(field.alpha[obj] > 0.5, rendered.labels == obj + 1, seen)


@pytest.mark.parametrize("kind", ["bicycle", "leaves", "fence", "solid"])
def test_the_oracle_gives_the_true_object(kind: str, rendered: Callable, oracle: Callable) -> None:
    scene = rendered(kind)
    field = field_of(scene)
    result = segment_scene(scene.scene, field, oracle(scene), true_prompts(scene))
    assert figures(scene, field)["iou_3d"] >= 0.95
    assert figures(scene, field)["leakage"] <= 0.02
    for index in range(len(scene.scene.views)):
        found = result.in_view(index)
        assert found.status in ("prompted", "accepted")
        assert np.abs(found.alpha - scene.alphas[0, index]).mean() < 0.002


def test_two_objects_share_no_point(rendered: Callable, oracle: Callable) -> None:
    scene = rendered("pair")
    field = field_of(scene)
    segment_scene(scene.scene, field, oracle(scene), true_prompts(scene, 2), view=2)
    assert min(figures(scene, field, obj)["iou_3d"] for obj in (0, 1)) >= 0.95
    assert not ((field.alpha[0] > 0.5) & (field.alpha[1] > 0.5)).any()


def test_the_prompted_view_hardly_matters(rendered: Callable, oracle: Callable) -> None:
    scene = rendered("solid")
    chosen = []
    for view in (0, 3):
        field = field_of(scene)
        segment_scene(scene.scene, field, oracle(scene), true_prompts(scene, view), view=view)
        chosen.append(field.alpha[0] > 0.5)
    assert (chosen[0] & chosen[1]).sum() / (chosen[0] | chosen[1]).sum() > 0.98


class Blurred:
    """Answers with the truth smeared over its outline, as a hesitant soft model does; one view lies altogether."""

    def __init__(self, inner: object, liar: bytes = b"") -> None:
        self.inner, self.liar, self.lies = inner, liar, False

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.inner.set_image(image)  # type: ignore[attr-defined]
        self.lies = image.tobytes() == self.liar

    def predict(self, *arguments: object, **prompts: object) -> tuple:
        import cv2

        logits, qualities, low = self.inner.predict(*arguments, **prompts)  # type: ignore[attr-defined]
        alpha = cv2.GaussianBlur(1 / (1 + np.exp(-logits[0])), (0, 0), 2.5)
        alpha = np.clip(1.6 * alpha, 1e-4, 1 - 1e-4)  # spills over
        if self.lies:
            alpha = np.full_like(alpha, 1e-4)
            alpha[:40, :40] = 0.99
        return np.log(alpha / (1 - alpha))[None], qualities, low


def test_soft_votes_leak_less_than_hard_ones(rendered: Callable, oracle: Callable) -> None:
    leaks = {}
    for voting in ("soft", "hard"):
        leaks[voting] = []
        for kind in ("bicycle", "fence"):
            scene = rendered(kind)
            field = field_of(scene, voting=voting)
            segment_scene(scene.scene, field, Blurred(oracle(scene)), true_prompts(scene))
            leaks[voting].append(figures(scene, field)["leakage"])
    assert all(soft < 0.5 * hard for soft, hard in zip(leaks["soft"], leaks["hard"], strict=True))


def test_a_view_that_lies_has_no_vote(rendered: Callable, oracle: Callable) -> None:
    scene = rendered("solid")
    field = field_of(scene)
    liar = Blurred(oracle(scene), scene.scene.views[3].read_image().tobytes())
    result = segment_scene(scene.scene, field, liar, true_prompts(scene))
    assert result.in_view(3).status == "disagrees" and result.in_view(3).source == "surface"
    assert figures(scene, field)["iou_3d"] > 0.9
    assert np.abs(result.in_view(3).alpha - scene.alphas[0, 3]).mean() < 0.03


def test_a_killed_run_goes_on_with_the_same_result(rendered: Callable, oracle: Callable, tmp_path: Path) -> None:
    scene = rendered("fence")
    whole_field = field_of(scene)
    segment_scene(scene.scene, whole_field, oracle(scene), true_prompts(scene))

    class Killed(Exception):
        pass

    def kill(name: str, done: int, total: int) -> None:
        if name == "pass 2" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        store = PredictionStore(tmp_path, {"run": 1})
        segment_scene(scene.scene, field_of(scene), oracle(scene), true_prompts(scene), store=store, progress=kill)
    again, field = oracle(scene), field_of(scene)
    segment_scene(scene.scene, field, again, true_prompts(scene), store=PredictionStore(tmp_path, {"run": 1}))
    assert np.array_equal(field.alpha, whole_field.alpha)
    full = oracle(scene)
    segment_scene(scene.scene, field_of(scene), full, true_prompts(scene))
    assert again.asked <= full.asked - 8  # a pass of six views and half of the next were there
    with pytest.raises(ConfigError, match="other run"):
        PredictionStore(tmp_path, {"run": 2})


def test_a_prompt_on_empty_background(rendered: Callable, oracle: Callable) -> None:
    scene = rendered("solid")
    nothing = scene._replace(alphas=np.zeros_like(scene.alphas))
    with pytest.raises(PromptError, match="in view 0000 it selects 0 pixels.*empty background"):
        segment_scene(scene.scene, field_of(scene), oracle(nothing), true_prompts(scene))


def test_an_unreadable_view_is_reported_and_passed_over(
    rendered: Callable, oracle: Callable, tmp_path: Path
) -> None:
    scene = rendered("solid")
    views = list(scene.scene.views)
    views[2] = replace(views[2], image=tmp_path / "lost.png")
    result = segment_scene(Scene(views=tuple(views)), field_of(scene), oracle(scene), true_prompts(scene))
    assert [each.name for each in result.skipped] == ["0002"] and "lost.png" in result.skipped[0].reason
    assert result.in_view(2).source == "surface"
    with pytest.raises(Exception, match="lost.png"):
        segment_scene(Scene(views=tuple(views)), field_of(scene), oracle(scene), true_prompts(scene), view=2)


def test_views_come_by_nearness(rendered: Callable) -> None:
    """On a ring of six, from 0: a neighbour, and never one whose neighbours have not been."""
    order = view_order(rendered("solid").scene, 0)
    assert order[0] == 0 and sorted(order) == list(range(6))
    for place, view in enumerate(order[1:], 1):
        assert {(view - 1) % 6, (view + 1) % 6, (view - 2) % 6, (view + 2) % 6} & set(order[:place])


def test_prompts_that_an_object_makes_for_itself() -> None:
    rows, columns = np.mgrid[:120, :160]
    disc = np.hypot(columns - 70, rows - 60) < 30
    rendered = Rendering(disc.astype(np.float32), np.ones_like(disc), np.ones(disc.shape, np.float32))
    prompt = self_prompt(rendered, SelfPromptConfig(positives=4, negatives=2, box_growth=0.1))
    assert prompt is not None and prompt.box is not None and prompt.point_coords is not None
    assert np.abs(prompt.box - [41 - 5.8, 31 - 5.8, 99 + 5.8, 89 + 5.8]).max() <= 1.5
    inside = disc[prompt.point_coords[:, 1].astype(int), prompt.point_coords[:, 0].astype(int)]
    assert prompt.point_labels is not None and np.array_equal(inside, prompt.point_labels == 1)
    assert self_prompt(rendered._replace(alpha=np.zeros_like(rendered.alpha)), SelfPromptConfig()) is None


def test_confident_points_begin_inside_and_stop_where_nothing_is_sure() -> None:
    rows, columns = np.mgrid[:100, :100]
    alpha = np.where(np.hypot(columns - 30, rows - 50) < 15, 1.0, 0.0).astype(np.float32)
    alpha[np.hypot(columns - 80, rows - 50) < 8] = 0.2  # hardly the object, and far from it
    points = confident_points(alpha, np.ones_like(alpha), 20)
    assert np.hypot(*(points[0] - [30, 50])) < 4
    assert (alpha[points[:, 1].astype(int), points[:, 0].astype(int)] > 0.9).all()
    gaps = np.abs(points[:, None] - points[None]).max(-1)[~np.eye(len(points), dtype=bool)]
    assert len(points) > 3 and gaps.min() > 1


def test_a_box_grows_only_where_it_cuts() -> None:
    mask = np.zeros((100, 100), bool)
    mask[30:60, 40:70] = True
    assert grown_where_touched(np.array([30.0, 20, 80, 70]), mask) is None
    cut = mask & (np.arange(100) < 55)
    wider = grown_where_touched(np.array([30.0, 20, 55, 70]), cut)
    assert wider is not None and wider[2] > 60 and np.array_equal(wider[[0, 1, 3]], [30, 20, 70])


def test_overlap_counts_what_is_known() -> None:
    solid = np.zeros((40, 40), np.float32)
    solid[10:30, 10:20] = 1
    known = np.zeros((40, 40), bool)
    known[:, :20] = True
    answer = np.zeros((40, 40), bool)
    answer[10:30, 10:30] = True  # twice as large, into what nobody has seen
    assert known_overlap(answer, Rendering(solid, known, solid)) == 1.0
    assert known_overlap(answer, Rendering(solid, np.ones_like(known), solid)) == 0.5


def test_fusion_removes_islands_and_fills_the_inside() -> None:
    solid = np.zeros((200, 200), np.float32)
    solid[60:140, 60:140] = 1
    rendering = Rendering(solid, np.ones((200, 200), bool), solid)
    answer = solid * 0.3
    answer[5:20, 5:20] = 1
    answer[59, 60:140] = 0.4  # soft edge
    fused = fused_alpha(answer, rendering, 0.012)
    assert fused[5:20, 5:20].max() == 0 and fused[80:120, 80:120].min() == 1
    assert np.allclose(fused[59, 60:140], 0.4) and np.allclose(fused[60, 70:130], 0.3)


def test_settings_that_cannot_be_meant(rendered: Callable) -> None:
    with pytest.raises(ConfigError, match="voting: expected soft or hard"):
        VotingConfig(voting="loud")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="one for each of 1 objects, got 2"):
        scene = rendered("solid")
        segment_scene(scene.scene, field_of(scene), object(), [Prompt(), Prompt()])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there is none"):
        from adapters.multiview_3d.predictions import Prediction

        Prediction(None, 0, 0, "not in view").values()
