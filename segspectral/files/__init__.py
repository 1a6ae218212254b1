"""Files are written completely or not at all, and what they claim is checked when they are read."""

from segspectral.files.reading import (
    check_inside,
    is_inside,
    is_npy,
    map_npy,
    open_file,
    parse_json,
    read_file,
    read_npy,
    read_npz,
    unpacked_size,
)
from segspectral.files.scratch import scratch_folder
from segspectral.files.writing import (
    check_folder,
    link_file,
    link_to,
    npz,
    partial_of,
    shortened,
    whole_file,
    write_bytes,
    write_npz,
    zipped,
)

__all__ = [
    "check_folder",
    "check_inside",
    "is_inside",
    "is_npy",
    "link_file",
    "link_to",
    "map_npy",
    "npz",
    "open_file",
    "parse_json",
    "partial_of",
    "read_file",
    "read_npy",
    "read_npz",
    "scratch_folder",
    "shortened",
    "unpacked_size",
    "whole_file",
    "write_bytes",
    "write_npz",
    "zipped",
]
