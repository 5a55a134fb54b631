"""An optimizer of the user's own, package.module:name."""

from collections.abc import Sequence

from torch.optim import Optimizer

from tune_cnn.errors import TrialError, first_line
from tune_cnn.spec.calls import find_call
from tune_cnn.text import printable
from tune_cnn.training.step.optimizers.groups import Group


def own_optimizer(name: str, groups: Sequence[Group], *, lr: float, weight_decay: float) -> Optimizer:
    """What name(groups, lr=…, weight_decay=…) returns; TrialError where that is no optimizer of these groups.

    Each group has its `params`, its own `weight_decay` and its `lr_ratio`: before each step its `lr` is set to that
    share of the rate.
    """
    where = f"optimizer {name}"
    call = find_call(name, where="space.optimizer")
    try:
        made: object = call([dict(group) for group in groups], lr=lr, weight_decay=weight_decay)
    except Exception as error:  # the user's code
        raise TrialError(
            f"{where}: called as {name.rpartition(':')[2]}(groups, lr={lr:g}, weight_decay={weight_decay:g}) it raised "
            f"{type(error).__name__}: {printable(first_line(error))}"
        ) from error
    if not isinstance(made, Optimizer):
        raise TrialError(f"{where}: must return a torch.optim.Optimizer, got {type(made).__name__}")
    wanted = {id(p): group["lr_ratio"] for group in groups for p in group["params"]}
    has = {id(p): group.get("lr_ratio") for group in made.param_groups for p in group["params"]}
    if has != wanted or not all("lr" in group for group in made.param_groups):
        raise TrialError(
            f"{where}: must hold the groups that it is given, each with its keys and an lr, as torch's optimizers do; "
            "pass them on to torch.optim.Optimizer.__init__"
        )
    return made
