"""Engines: what a loaded program is translated to."""
