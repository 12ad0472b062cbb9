"""The tables: one file a family."""

from tlx.convert.tables.catalogue import TABLES, check_free_name, sources, table_named, table_of, targets

__all__ = ["TABLES", "check_free_name", "sources", "table_named", "table_of", "targets"]
