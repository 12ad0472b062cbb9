"""Readers of data, one file a format, and what several of them share."""
