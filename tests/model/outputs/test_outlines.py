import numpy as np
from shapely.geometry import Polygon

from model.outputs.objects import find_regions
from model.outputs.outlines import outline_objects


def test_an_outline_runs_along_the_edges_of_pixels():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 255
    mask[2, 3:5] = 0
    [(number, [rings])] = outline_objects(find_regions(mask))
    polygon = Polygon(rings[0], rings[1:])
    assert number == 1
    assert polygon.bounds == (2, 1, 7, 4)
    assert polygon.area == 15 - 2


def test_pieces_that_touch_at_a_corner_have_outlines_of_their_own():
    mask = np.array([[255, 0], [0, 255]], np.uint8)
    assert [number for number, _ in outline_objects(find_regions(mask))] == [1, 2]


def test_an_object_in_parts_has_a_polygon_for_each():
    ids = np.array([[0, 1, 0, 2], [1, 0, 0, 2], [0, 0, 1, 1]], np.int32)
    found = dict(outline_objects(ids))
    assert list(found) == [1, 2]
    assert [polygon[0][0] for polygon in found[1]] == [(1, 0), (0, 1), (2, 2)]
    assert len(found[2]) == 1
