"""Adapters that put ZIM behind the frameworks people already use."""
