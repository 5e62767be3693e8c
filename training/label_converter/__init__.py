"""The label converter: a coarse segmentation label becomes a matte label (paper section 3.2)."""
