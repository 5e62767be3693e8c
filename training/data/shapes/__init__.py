"""Vector shapes of the procedural scenes: each module draws one family of things."""
