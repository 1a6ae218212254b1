"""One head over many images, and fitted heads as files.

::

    model   what is learnt over a folder and applied to any image
    fit     many images -> one model
    hub     fitted heads and models as folders with a model card, also on the model hub
    onnx    fitted heads and backbones for onnxruntime
"""
