"""Bridges to SAM's own library and to code written for it."""
