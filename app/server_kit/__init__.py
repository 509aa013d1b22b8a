"""The protocol of the Imaging Server Kit, by which plugins of napari and QuPath run a net as an algorithm."""
