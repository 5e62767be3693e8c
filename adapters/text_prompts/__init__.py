"""Text prompts: boxes for phrases, by detectors of others behind one interface, `zim.text_detection.TextDetector`."""
