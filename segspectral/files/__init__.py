"""Files: written whole or not at all; read with nothing believed that they claim."""

from segspectral.files.reading import check_inside, is_inside, open_file, parse_json, read_file, read_npy, read_npz
from segspectral.files.writing import check_folder, link_file, link_to, partial_of, shortened, whole_file, write_bytes

__all__ = [
    "check_folder",
    "check_inside",
    "is_inside",
    "link_file",
    "link_to",
    "open_file",
    "parse_json",
    "partial_of",
    "read_file",
    "read_npy",
    "read_npz",
    "shortened",
    "whole_file",
    "write_bytes",
]
