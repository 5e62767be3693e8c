"""Medical volumes: from a box or a point on one slice to a soft segmentation in three dimensions."""
