"""The colours of segments for QGIS, as the table ``layer_styles`` of a GeoPackage."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

from segspectral.export.labelmap import Colour

__all__ = ["add_style", "qml"]

OPACITY = 0.6
"""So that a map below the segments is seen."""

TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
    ui TEXT(30), update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""
"""The columns are those with which QGIS itself makes the table when it saves a style into a GeoPackage."""


def qml(colours: Mapping[int, Colour], names: Mapping[int, str]) -> str:
    """The style of a layer of polygons: one category per segment, by the column ``segment``."""
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology", labelsEnabled="0")
    renderer = ElementTree.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr="segment", symbollevels="0", forceraster="0"
    )
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, (segment, colour) in enumerate(colours.items()):
        ElementTree.SubElement(
            categories,
            "category",
            value=str(segment),
            type="long",
            symbol=str(number),
            label=names[segment],
            render="true",
        )
        symbol = ElementTree.SubElement(
            symbols, "symbol", type="fill", name=str(number), alpha=str(OPACITY), clip_to_extent="1", force_rhr="0"
        )
        layer = ElementTree.SubElement(
            symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0", **{"pass": "0"}
        )
        properties = {
            "color": ",".join(map(str, (*colour, 255))),
            "style": "solid",
            "outline_color": "35,35,35,255",
            "outline_style": "solid",
            "outline_width": "0.1",
            "outline_width_unit": "MM",
            "joinstyle": "bevel",
        }
        options = ElementTree.SubElement(layer, "Option", type="Map")
        for key, value in properties.items():
            ElementTree.SubElement(options, "Option", name=key, type="QString", value=value)
        for key, value in properties.items():  # what versions before 3.20 read
            ElementTree.SubElement(layer, "prop", k=key, v=value)
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n"


def add_style(path: Path, layer: str, geometry: str, colours: Mapping[int, Colour], names: Mapping[int, str]) -> None:
    """Add the style of a layer to a GeoPackage, as the one that is used when the layer is opened.

    Parameters
    ----------
    geometry : the layer's column of geometries
    """
    row = (layer, geometry, "segments", qml(colours, names), True, "colours of the segments")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(TABLE)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, useAsDefault, description) VALUES ('', '', ?, ?, ?, ?, ?, ?)",
            row,
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', "
            "'layer_styles')"
        )
