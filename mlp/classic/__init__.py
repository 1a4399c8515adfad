"""Small systems from the course notes, from one neuron to Nielsen's `Network`, built on the framework.

One neuron: `Neuron`, `MPNeuron`, `Perceptron`. Layers and gradients: `layer`, `one_hidden_layer`, `two_two_one`,
`twelve_steps`. Gradient descent: `one_dimension`, `compare_descents`. Experiments: `sine_fits`,
`confidence_on_noise`, `normalisation`. Nielsen's program: `Network`.
"""

from mlp.classic.cost import CostTerms, average_cost, cost_terms, layer_shapes, parameter_count, squared_differences
from mlp.classic.descent import CostSurface, Descent, Descents, Path, compare_descents, descend, one_dimension
from mlp.classic.experiment_table import Experiment, ExperimentTable, experiment_table
from mlp.classic.experiments import (
    NoiseAnswers,
    Normalisation,
    SineFits,
    Training,
    confidence_on_noise,
    normalisation,
    sine_fits,
)
from mlp.classic.gradients import nine_gradients, one_hidden_layer, slopes, two_two_one
from mlp.classic.network import Network, sigmoid, sigmoid_prime
from mlp.classic.neurons import MPNeuron, Neuron, layer
from mlp.classic.perceptron import Learning, Perceptron, mistake_bound
from mlp.classic.steps import Step, twelve_steps

__all__ = [
    "CostSurface",
    "CostTerms",
    "Descent",
    "Descents",
    "Experiment",
    "ExperimentTable",
    "Learning",
    "MPNeuron",
    "Network",
    "Neuron",
    "NoiseAnswers",
    "Normalisation",
    "Path",
    "Perceptron",
    "SineFits",
    "Step",
    "Training",
    "average_cost",
    "compare_descents",
    "confidence_on_noise",
    "cost_terms",
    "descend",
    "experiment_table",
    "layer",
    "layer_shapes",
    "mistake_bound",
    "nine_gradients",
    "normalisation",
    "one_dimension",
    "one_hidden_layer",
    "parameter_count",
    "sigmoid",
    "sigmoid_prime",
    "sine_fits",
    "slopes",
    "squared_differences",
    "twelve_steps",
    "two_two_one",
]
