"""Segment a raster from the Processing toolbox of QGIS: a script that calls the command line of segspectral.

In QGIS: Processing toolbox > Scripts > Add Script to Toolbox, and choose this file. segspectral is installed in an
environment of its own, with the extra ``geo``; the parameter "Command" says where, such as
``/home/me/segspectral/.venv/bin/segspectral``. QGIS 3.22 or newer.
"""

import os
import re
import shlex
import shutil
import subprocess

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)


class SegmentRaster(QgsProcessingAlgorithm):
    """One raster layer -> a layer of polygons with statistics and colours."""

    def createInstance(self):
        return SegmentRaster()

    def name(self):
        return "segment"

    def displayName(self):
        return "Segment a raster"

    def group(self):
        return "segspectral"

    def groupId(self):
        return "segspectral"

    def shortHelpString(self):
        return (
            "Divides a raster into segments without training labels. Segments = 0 lets the program choose. Nested "
            "regions are connected and fine; without them segments are kinds of land cover, in several places. The "
            "smallest size is in pixels (200), in square metres (400m2) or a share (0.5%). Large rasters are read in "
            "tiles by themselves."
        )

    def initAlgorithm(self, config=None):
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Raster"))
        self.addParameter(
            QgsProcessingParameterNumber("SEGMENTS", "Segments (0: automatic)", defaultValue=0, minValue=0)
        )
        self.addParameter(QgsProcessingParameterBoolean("NESTED", "Nested regions", defaultValue=True))
        for name, label, default in (
            ("SMALLEST", "Smallest size", ""),
            ("BANDS", "Bands shown as red, green, blue", ""),
            ("MORE", "Further options", ""),
            ("COMMAND", "Command", "segspectral"),
        ):
            self.addParameter(QgsProcessingParameterString(name, label, defaultValue=default, optional=True))
        self.addParameter(QgsProcessingParameterFolderDestination("FOLDER", "Folder of all results", optional=True))
        self.addParameter(
            QgsProcessingParameterVectorDestination("OUTPUT", "Segments", QgsProcessing.TypeVectorPolygon)
        )

    def processAlgorithm(self, parameters, context, feedback):
        def text(name):
            return self.parameterAsString(parameters, name, context).strip()

        source = self.parameterAsRasterLayer(parameters, "INPUT", context).source()
        folder = self.parameterAsString(parameters, "FOLDER", context)
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        if not output.lower().endswith(".gpkg"):
            raise QgsProcessingException("choose a .gpkg file for the segments: it keeps their colours")
        segments = self.parameterAsInt(parameters, "SEGMENTS", context)
        command = [text("COMMAND") or "segspectral", "segment", source, "-o", folder, "--format", "gpkg"]
        command += ["-k", str(segments)] if segments else []
        command += ["--hierarchy"] if self.parameterAsBoolean(parameters, "NESTED", context) else []
        command += ["--min-size", text("SMALLEST")] if text("SMALLEST") else []
        command += ["--bands", text("BANDS")] if text("BANDS") else []
        command += shlex.split(text("MORE"))
        made = self._run(command, feedback)
        if made is None:
            raise QgsProcessingException("segspectral wrote no GeoPackage; its messages are in the log")
        shutil.copyfile(made, output)
        return {"OUTPUT": output, "FOLDER": folder}

    @staticmethod
    def _run(command, feedback):
        """Run the command and tell what it prints; return the path of the GeoPackage."""
        feedback.pushCommandInfo(" ".join(command))
        # The Python of QGIS is not that of segspectral.
        known = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=known
            )
        except OSError as error:
            raise QgsProcessingException(
                f"'{command[0]}' cannot be started ({error.strerror}): give the path of segspectral as Command"
            ) from error
        with process:
            for line in process.stdout:
                feedback.pushInfo(line.rstrip())
                if feedback.isCanceled():
                    process.kill()
                    raise QgsProcessingException("cancelled")
        if process.returncode:
            raise QgsProcessingException(f"segspectral ended with code {process.returncode}; the log says why")
        folder = command[command.index("-o") + 1]
        stem = re.sub(r"\.[^.]*$", "", os.path.basename(command[2]))
        made = os.path.join(folder, f"{stem}.gpkg")
        return made if os.path.isfile(made) else None
