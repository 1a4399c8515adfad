"""Training in numbers: every quantity of a step, with its formula, as `MLP.trace` records it.

Examples
--------
The published example of Mazur ("A Step by Step Backpropagation Example"):

>>> import mlp
>>> net, X, y = mlp.trace.mazur()
>>> step = net.trace(X, y, optimizer=mlp.SGD(0.5)).steps[0]
>>> step["a1"].round(9).tolist(), round(step.loss, 9)
([[0.593269992, 0.596884378]], 0.298371109)
>>> step["new_W2"].round(8).tolist()
[[0.35891648, 0.51130127], [0.40866619, 0.56137012]]
"""

from mlp.trace.exercises import exercise, mazur
from mlp.trace.quantities import Quantity, Step, Trace

__all__ = ["Quantity", "Step", "Trace", "exercise", "mazur"]
