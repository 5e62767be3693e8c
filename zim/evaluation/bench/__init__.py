"""Time and memory of ours, of the real `segment_anything` and of onnxruntime, side by side in one run."""
