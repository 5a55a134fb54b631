"""Find the Pareto front of training a CNN.

What is public is loaded on first use, so that `import tune_cnn` stays instant; `__init__.pyi` says the same to type
checkers and editors.
"""

from importlib import import_module

_PUBLIC = {
    "Batch": "tune_cnn.training.data.loaders.batch",
    "Choice": "tune_cnn.spec.dimensions",
    "Export": "tune_cnn.study.export",
    "Front": "tune_cnn.study.front",
    "Knob": "tune_cnn.spec.strategies",
    "Range": "tune_cnn.spec.dimensions",
    "Rank": "tune_cnn.training.user_code.training",
    "Saves": "tune_cnn.spec.strategies",
    "Site": "tune_cnn.spec.strategies",
    "Strategy": "tune_cnn.training.strategies.framework.strategy",
    "StrategyError": "tune_cnn.errors",
    "Study": "tune_cnn.study.study",
    "StudySpec": "tune_cnn.spec.study",
    "TrainingRun": "tune_cnn.training.strategies.framework.training_run",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        found = globals()[name] = getattr(import_module(_PUBLIC[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
