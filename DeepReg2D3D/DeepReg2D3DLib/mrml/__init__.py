"""Everything that is a node in Slicer's scene. Needs slicer, vtk and numpy; no qt, no slicer.app, no torch."""
