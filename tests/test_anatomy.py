import numpy as np

from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.topology import load_topology


def test_distances_agree_with_the_landmarks() -> None:
    topology = load_topology()
    place = anatomy(topology)
    rows = topology.landmarks
    assert np.abs(place.lips[rows[48:60]]).max() < 0.0005  # outline points lie on the outline
    assert place.lips[rows[62]] > 0.001
    assert place.lips[rows[30]] < 0
    assert place.lid_line[rows[[42, 43, 44, 45]]].max() < 0.0005
    assert place.mouth_line[rows[62]] < 0.003
    assert place.eye[0] > 0.02  # the subject's left is +x


def test_folds_tell_the_nose_from_the_corner_of_the_eye() -> None:
    topology = load_topology()
    place = anatomy(topology)
    tip, canthus = topology.landmarks[[30, 39]]
    assert place.fold_broad[tip] < 0 < place.fold_broad[canthus]


def test_the_mouth_lining_is_inside() -> None:
    topology = load_topology()
    place = anatomy(topology)
    lining = place.oral > 0.5
    assert 50 < lining.sum() < 5000
    assert topology.canonical[lining, 2].max() < place.points[62, 2] - 0.009
    assert place.skin[lining].all()
    assert not place.oral[topology.landmarks].any()
