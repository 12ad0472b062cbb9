"""The tables: one file a family."""

from tlx.convert.tables.catalogue import TABLES, table_named, table_of

__all__ = ["TABLES", "table_named", "table_of"]
