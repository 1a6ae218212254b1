"""Models, which are heads fitted on many images, and fitted heads as files.

::

    model   the recipe and the model, which can be applied to any image
    fit     many images -> one model
    hub     fitted heads and models as folders with a model card, and their exchange with the model hub
    onnx    fitted heads and backbones in the ONNX format
"""
