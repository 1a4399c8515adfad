"""ONNX files: networks to graphs that ONNX Runtime and other programs run, and graphs of other programs to networks.

`export` writes, after `agreement` has compared the graph with the network; `reading` reads.  The packages onnx and
onnxruntime are imported on first use.
"""
