"""Export a trained network as a program without dependencies: C, JavaScript, or Python with NumPy.

`Model` describes what the network computes, `CheckRows` draws inputs and computes the outputs for them, one module for
each language writes the program, and `self_tests` compiles and runs it.
"""

from mlp.io.exports.formats import FORMATS, export

__all__ = ["FORMATS", "export"]
