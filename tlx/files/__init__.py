"""Files: where they are, how they are written whole or not at all, and how untrusted ones are opened."""

from tlx.files._cache_dir import cache_dir
from tlx.files.checksums import check_manifest, write_manifest
from tlx.files.lock import check_unlocked, locked
from tlx.files.write import forget_tree, home, sync, sync_tree, write_bytes, write_json

__all__ = [
    "cache_dir",
    "check_manifest",
    "check_unlocked",
    "forget_tree",
    "home",
    "locked",
    "sync",
    "sync_tree",
    "write_bytes",
    "write_json",
    "write_manifest",
]
