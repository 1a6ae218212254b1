"""The napari plug-in (extra ``napari``): a reader, a widget and a sample; ``napari.yaml`` lists them for napari."""
