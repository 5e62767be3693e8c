"""Remove, fill or replace what is pointed at, with soft mattes in place of binary masks.

`python -m adapters.inpaint_anything remove photo.jpg --point_coords 200 450 -o results`
"""
