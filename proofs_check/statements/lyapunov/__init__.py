"""Layers that differ: what the product of many of them keeps apart."""

PLACE = 110
