"""Pictures of markers: crosses where they were clicked, circles where the CT's are seen."""

import numpy as np
import pytest
import torch
from DeepReg2D3DLib.engine.landmarks import Landmark
from DeepReg2D3DLib.engine.poses import transform_points
from DeepReg2D3DLib.engine.xray import XRay
from DeepReg2D3DLib.evaluation.marker_pictures import CLICK_COLOUR, marker_picture
from DeepReg2D3DLib.evaluation.overlay import REFERENCE_COLOUR, ViewPicture
from small_case import AP, CENTRE, TRUTH, camera

OFF = 10.0  # pixels that the click lies to the right of the marker


@pytest.mark.parametrize("cut", [(0, 0, 128, 112), (20, 14, 90, 80)])
def test_crosses_and_circles_lie_where_clicks_and_markers_are(cut):
    """Twice as large as the X-ray, whole or cut: pixel centres move with its pixels."""
    ap = camera("AP", AP)
    xray = XRay(torch.zeros(1, 1, 112, 128), torch.ones(1, 1, 112, 128, dtype=torch.bool), ap)
    point = tuple((CENTRE + torch.tensor([8.0, 0.0, -6.0])).tolist())
    world = transform_points(TRUTH, torch.tensor([point], dtype=torch.float64))
    u, v = ap.project_world(world)[0].tolist()
    marks = [Landmark("elsewhere", point, {1: (5.0, 5.0)}), Landmark("ball", point, {0: (u + OFF, v)})]
    view = ViewPicture(None, xray, cut, longest=640)
    picture = np.asarray(marker_picture(view, ap, 0, marks, TRUTH)).astype(int)
    assert picture.shape[:2] == (2 * cut[3], 2 * cut[2])
    for colour, column in ((REFERENCE_COLOUR, u), (CLICK_COLOUR, u + OFF)):
        rows, columns = np.nonzero((picture == colour).all(-1))
        if colour == CLICK_COLOUR:  # the cross alone, without its number
            near = (abs(rows - 2 * (v - cut[1])) < 9) & (abs(columns - 2 * (column - cut[0])) < 9)
            rows, columns = rows[near], columns[near]
        middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        wanted = 2 * (v - cut[1] + 0.5) - 0.5, 2 * (column - cut[0] + 0.5) - 0.5
        assert np.allclose(middle, wanted, atol=1.0)
