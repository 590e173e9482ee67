import json
from typing import Any

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import CATEGORIES
from thermvision.generation.engines.phantom.parameters import Parameters, draw_clip_parameters, draw_still_parameters
from thermvision.generation.specs import Subject

MALE, FEMALE = Subject("P_0", 0, "male", 0), Subject("P_1", 1, "female", 0)


def draw(category: str, seed: int = 0, subject: Subject = MALE, **given: Any) -> Parameters:
    return draw_still_parameters(subject, category, given, np.random.default_rng(seed))


def test_categories_ask_for_what_they_are_called() -> None:
    drawn = {category: [draw(category, seed) for seed in range(60)] for category in CATEGORIES}
    assert max(abs(p.yaw) for p in drawn["frontal_pose"]) < 12
    assert {p.expression for p in drawn["frontal_pose"]} == {"neutral"}
    worn = [{p.attributes[k] for k in ("glasses", "mask", "headwear")} - {"none"} for p in drawn["facial_accessories"]]
    assert all(worn)  # never without
    assert set.union(*worn) == {"glasses", "mask", "cap", "beanie"}
    assert {len(w) for w in worn} == {1, 2}
    assert {p.attributes["beard"] for p in drawn["beard"]} == {"stubble", "full"}
    yaws = [p.yaw for p in drawn["head_poses"]]
    assert min(yaws) < -55
    assert 55 < max(yaws) <= 75
    assert max(abs(p.pitch) for p in drawn["head_poses"]) <= 25
    assert len({p.expression for p in drawn["mix"]}) > 4
    assert {p.attributes["glasses"] for p in drawn["mix"]} == {"none", "glasses"}
    assert all("beard" not in draw("mix", seed, FEMALE).attributes for seed in range(30))


def test_a_given_value_replaces_one_draw_and_no_other() -> None:
    free, fixed = draw("mix", 4), draw("mix", 4, yaw=12, expression="smile", glasses="none", distance=0.7)
    assert (fixed.yaw, fixed.expression, fixed.attributes["glasses"], fixed.distance) == (12.0, "smile", "none", 0.7)
    assert (fixed.pitch, fixed.roll, fixed.ambient, fixed.breath) == (free.pitch, free.roll, free.ambient, free.breath)


def test_all_findings_at_once() -> None:
    with pytest.raises(UsageError) as error:
        draw("mix", yaw=120, expression="wink", hat="bowler", ambient=True, agc_limits=[3])
    for word in ("yaw is 120", "'wink'", "hat", "ambient is True", "agc_limits"):
        assert word in str(error.value)


def test_gain_limits() -> None:
    assert draw("mix").agc_limits is None
    assert draw("mix", agc="fixed").agc_limits == (18.0, 37.0)
    assert draw("mix", agc="fixed", agc_limits=[15, 40]).agc_limits == (15.0, 40.0)


def test_clips_move_unless_fixed() -> None:
    parameters = draw_clip_parameters(MALE, {"glasses": "glasses"}, np.random.default_rng(0))
    assert parameters.attributes == {"glasses": "glasses"}
    assert json.loads(json.dumps(parameters.as_dict()))["zoom"] == 1.3
