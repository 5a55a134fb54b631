"""A study's spec: what YAML may say, checked once and trusted from there on."""

from tune_cnn.spec.configuration import Configuration
from tune_cnn.spec.dimensions import Choice, Dimension, Fixed, Range
from tune_cnn.spec.parts import Budget, DataSpec, ModelSpec, SamplerSpec, UserMetric
from tune_cnn.spec.prices import Prices
from tune_cnn.spec.reading.loading import load_spec, parse_spec, to_yaml
from tune_cnn.spec.reading.schema import spec_schema
from tune_cnn.spec.resources import Resources
from tune_cnn.spec.study import StudySpec

__all__ = [
    "Budget",
    "Choice",
    "Configuration",
    "DataSpec",
    "Dimension",
    "Fixed",
    "ModelSpec",
    "Prices",
    "Range",
    "Resources",
    "SamplerSpec",
    "StudySpec",
    "UserMetric",
    "load_spec",
    "parse_spec",
    "spec_schema",
    "to_yaml",
]
