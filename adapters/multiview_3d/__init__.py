"""Segment and matte an object in 3-D from a prompt in one view.

A scene is a set of posed views (`scene_files.open_scene`) with a surface (`surface`, `fusion`) or without one
(`radiance`). `propagation.segment_scene` prompts one view, carries the object from view to view and votes in 3-D;
`exports` writes point clouds, meshes and the alpha of every view. `python -m adapters.multiview_3d --help`.
"""
