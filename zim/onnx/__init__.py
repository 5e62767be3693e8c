"""ONNX both ways: `zim export` writes the official release's format, and folders of that format load as models."""
