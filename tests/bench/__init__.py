"""Measurements of Landfall beside what one would use instead."""
