"""The spec for another number of ranks than it says."""

from tune_cnn.spec import StudySpec


def with_ranks(spec: StudySpec, ranks: int) -> StudySpec:
    """The spec for another number of ranks, each with the cores that a rank has in the spec."""
    resources = spec.resources
    if ranks == resources.ranks:
        return spec
    cpus = max(ranks, resources.cpus_per_trial * ranks // resources.ranks)
    return spec.model_copy(update={"resources": resources.model_copy(update={"ranks": ranks, "cpus_per_trial": cpus})})
