"""Tree-CNN (Roy, Panda, Roy, 2018, https://arxiv.org/abs/1802.05800): classes arrive in groups, and a tree grows."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn import Batch, Rank
from tune_cnn.untyped import Untyped

LEARNED_FROM = 0.1  # of the new classes' images: what the root is asked about, as in the paper
NOT_YET = -1e4  # log-probability of a class that has not arrived
METHODS = ("tree", "retrain", "finetune")
Children = list[list[int]]
"""The classes below each child of the root; a child with several has a net of its own that tells them apart."""


class TreeCnn(nn.Module):
    """A root that tells its children apart, and a branch for each child of several classes.

    The paper follows the root's best child down. Here a class has the product of the probabilities on its way, of which
    a loss can be told, too.
    """

    def __init__(self, facts: Untyped, *, root_width: int, branch_width: int) -> None:
        super().__init__()
        self._facts, self._branch_width = facts, branch_width
        self.children_of_root: Children = []
        self.root = node(facts, width=root_width, blocks=2)
        self.branches = nn.ModuleDict()  # by the classes below them

    def forward(self, images_nchw: Tensor) -> Tensor:
        ways = F.log_softmax(self.root(images_nchw)[:, : len(self.children_of_root)], dim=1)
        logits = images_nchw.new_full((len(images_nchw), self._facts.num_classes), NOT_YET)
        for number, classes in enumerate(self.children_of_root):
            logits[:, classes] = ways[:, number : number + 1]
            if len(classes) > 1:
                among = self.branches[_key(classes)](images_nchw)[:, : len(classes)]
                logits[:, classes] = ways[:, number : number + 1] + F.log_softmax(among, dim=1)
        return logits

    def set_children(self, children: Children) -> list[list[int]]:
        """Have these children; the classes of branches that are new, and must learn. What is the same keeps its net."""
        kept = {_key(classes): classes for classes in children if len(classes) > 1}
        new = [classes for key, classes in kept.items() if key not in self.branches]
        for key in [key for key in self.branches if key not in kept]:
            del self.branches[key]
        device = next(self.root.parameters()).device
        for classes in new:
            self.branches[_key(classes)] = node(self._facts, width=self._branch_width, blocks=3).to(device)
        self.children_of_root = children
        return new


def node(facts: Untyped, *, width: int, blocks: int) -> nn.Module:
    """A small net: its outputs are as many as there are classes, of which a node uses those that it has."""
    layers: list[nn.Module] = []
    channels = facts.in_channels
    for block in range(blocks):
        made = width * 2**block
        layers += [nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if block < blocks - 1 else []
        channels = made
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, facts.num_classes))


def grown(
    children: Children, likelihood: Mapping[int, Sequence[float]], *, alpha: float, beta: float, most: int
) -> Children:
    """The children with the new classes among them; likelihood: of each new class, what the root gives each child.

    The class of which the root is surest comes first. With v1 ≥ v2 ≥ v3 its largest likelihoods: where v1 − v2 > alpha
    it goes to the first child; else, where v2 − v3 > beta, the first two become one child with it; else it is a child
    of its own, and so it is where a child would get more than `most` classes (the last is ours).
    """
    found = [list(classes) for classes in children]
    place = list(range(len(children)))  # where each child's classes are now
    for new in sorted(likelihood, key=lambda one: (-max(likelihood[one]), one)):
        order = sorted(range(len(children)), key=lambda child: -likelihood[new][child])
        v1, v2, v3 = ([likelihood[new][child] for child in order] + [0.0, 0.0])[:3]
        first, second = place[order[0]], place[order[min(1, len(order) - 1)]]
        if (v1 - v2 > alpha or first == second) and len(found[first]) < most:
            found[first].append(new)
        elif v1 - v2 <= alpha and v2 - v3 > beta and first != second and len(found[first] + found[second]) < most:
            found[first] += [*found[second], new]
            found[second] = []
            place = [first if at == second else at for at in place]
        else:
            found.append([new])
    return [classes for classes in found if classes]


def training(rank: Rank) -> Iterator[dict[str, float]]:
    """A study of its own: classes arrive in groups, and a method learns the new ones beside those before.

    Arguments: method (`tree`; `retrain`: the study's model anew on all classes so far; `finetune`: that model goes on
    with them), first and step (classes of the first group and of each later one), alpha, beta, most_children,
    root_width and branch_width of the tree. The epochs are shared evenly by the groups.

    training_effort: weights × images that they were trained on, in 10⁹, over all groups (the paper's measure).
    """
    course = _Course(rank)
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        with rank.meters.training():
            course.train(epoch)
        yield course.metrics()


class _Course:
    """What is learned so far, and by which nets."""

    def __init__(self, rank: Rank) -> None:
        arguments: dict[str, Untyped] = {
            "method": "tree",
            "first": 4,
            "step": 3,
            "alpha": 0.1,
            "beta": 0.1,
            "most_children": 5,
        }
        arguments |= {"root_width": 8, "branch_width": 16} | dict(rank.arguments)
        self._rank, self._arguments = rank, arguments
        self._arrivals = arrivals(rank.facts.num_classes, arguments["first"], arguments["step"])
        self._tree = arguments["method"] == "tree"
        self._effort, self._stage = 0.0, -1
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        _check(rank, arguments, groups=len(self._arrivals))
        with torch.random.fork_rng(devices=[]):  # or a resumed course would draw its later nets otherwise
            self._model = self._made()
            self._restore(rank.checkpoint.load())

    def train(self, epoch: int) -> None:
        rank, epochs, groups = self._rank, self._rank.configuration.epochs, len(self._arrivals)
        stage = min(epoch * groups // epochs, groups - 1)
        if stage != self._stage:
            self._arrive(stage, epoch)
        first, last = -(-stage * epochs // groups), -(-(stage + 1) * epochs // groups)
        steps, done = (last - first) * rank.train.steps, (epoch - first) * rank.train.steps
        self._model.train()
        for number, batch in enumerate(rank.meters.watch(rank.train.epoch(epoch))):
            rate = rank.configuration.learning_rate * (1 + math.cos(math.pi * (done + number) / steps)) / 2
            self._step(batch, rate)
            rank.meters.step(len(batch.labels_n))
        self._rank.checkpoint.save(self._state())

    def metrics(self) -> dict[str, float]:
        seen = self._seen
        self._model.eval()
        correct = images = 0
        loss = 0.0
        with torch.no_grad():
            for batch in self._rank.validation:
                images_nchw, labels_n = _of_classes(batch, seen)
                logits = self._model(images_nchw)[:, seen]
                target_n = _numbered(labels_n, seen)
                loss += float(F.cross_entropy(logits, target_n, reduction="sum"))
                correct += int((logits.argmax(1) == target_n).sum())
                images += len(labels_n)
        return {
            "accuracy": correct / images,
            "val_loss": loss / images,
            "training_effort": self._effort / 1e9,
            "classes": float(len(seen)),
        }

    @property
    def _seen(self) -> list[int]:
        return [one for group in self._arrivals[: self._stage + 1] for one in group]

    def _made(self) -> nn.Module:
        if not self._tree:
            return self._rank.build_model()
        arguments = self._arguments
        widths = {"root_width": arguments["root_width"], "branch_width": arguments["branch_width"]}
        return self._rank.track(TreeCnn(self._rank.facts, **widths).to(self._rank.device))

    def _arrive(self, stage: int, epoch: int) -> None:
        """The next classes are there: which nets must learn, and from what they begin."""
        before, self._stage = self._seen, stage
        if not self._tree:
            if self._arguments["method"] == "retrain" and stage > 0:
                self._model = self._made()
            self._optimize({"whole": self._model})
            return
        model = self._model
        assert isinstance(model, TreeCnn)
        new = [one for one in self._seen if one not in before]
        children = [[one] for one in new] if not before else self._grown(model, new, epoch)
        learning = model.set_children(children)
        branches: dict[str, nn.Module] = {_key(classes): model.branches[_key(classes)] for classes in learning}
        self._optimize({"root": model.root} | branches)

    def _grown(self, model: TreeCnn, new: list[int], epoch: int) -> Children:
        likelihood = self._likelihood(model, new, epoch)
        rule = {name: self._arguments[name] for name in ("alpha", "beta")}
        return grown(model.children_of_root, likelihood, most=self._arguments["most_children"], **rule)

    def _likelihood(self, model: TreeCnn, new: list[int], epoch: int) -> dict[int, list[float]]:
        """Of each new class, the softmax over the children of the root's mean outputs on some of its images."""
        device, children = self._rank.device, len(model.children_of_root)
        sums_ck = torch.zeros(self._rank.facts.num_classes, children, device=device)
        counts_c = torch.zeros(self._rank.facts.num_classes, device=device)
        wanted = max(1, math.ceil(LEARNED_FROM * self._rank.facts.train_images / self._rank.facts.num_classes))
        model.eval()
        with torch.no_grad():
            for batch in self._rank.train.epoch(epoch):
                images_nchw, labels_n = _of_classes(batch, new)
                if len(labels_n):
                    sums_ck.index_add_(0, labels_n, model.root(images_nchw)[:, :children])
                    counts_c.index_add_(0, labels_n, torch.ones_like(labels_n, dtype=counts_c.dtype))
                if bool((counts_c[new] >= wanted).all()):
                    break
        mean_mk = sums_ck[new] / counts_c[new].clamp(min=1)[:, None]
        return dict(zip(new, mean_mk.softmax(1).tolist(), strict=True))

    def _optimize(self, nets: Mapping[str, nn.Module]) -> None:
        settings = self._rank.configuration
        self._optimizers = {
            name: torch.optim.SGD(
                net.parameters(), lr=settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay
            )
            for name, net in nets.items()
        }

    def _step(self, batch: Batch, rate: float) -> None:
        """Each net that learns takes a step on the images that concern it."""
        for name, optimizer in self._optimizers.items():
            net, slots = self._learner(name)
            images_nchw, labels_n = _of_classes(batch, [one for classes in slots for one in classes])
            if len(labels_n) < 2:  # batch normalisation needs two
                continue
            target_n = torch.empty_like(labels_n)
            for number, classes in enumerate(slots):
                target_n[torch.isin(labels_n, labels_n.new_tensor(classes))] = number
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            with self._rank.autocast():
                logits = net(images_nchw)
            F.cross_entropy(logits[:, : len(slots)].float(), target_n).backward()
            optimizer.step()
            self._effort += sum(p.numel() for p in net.parameters()) * len(labels_n)

    def _learner(self, name: str) -> tuple[nn.Module, Children]:
        """A net, and the classes of each of its outputs."""
        model = self._model
        if not isinstance(model, TreeCnn):
            return model, [[one] for one in self._seen]
        if name == "root":
            return model.root, model.children_of_root
        return model.branches[name], [[int(one)] for one in name.split("_")]

    def _state(self) -> dict[str, Untyped]:
        return {
            "stage": self._stage,
            "effort": self._effort,
            "children": self._model.children_of_root if isinstance(self._model, TreeCnn) else [],
            "model": self._model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
        }

    def _restore(self, state: Mapping[str, Untyped] | None) -> None:
        if state is None:
            return
        self._stage, self._effort = state["stage"], state["effort"]
        if isinstance(self._model, TreeCnn):
            self._model.set_children(state["children"])
        self._model.load_state_dict(state["model"])
        names = list(state["optimizers"])
        self._optimize({name: self._learner(name)[0] for name in names})
        for name in names:
            self._optimizers[name].load_state_dict(state["optimizers"][name])


def arrivals(num_classes: int, first: int, step: int) -> list[list[int]]:
    """The classes of each group, in the order of their numbers."""
    starts = [0, *range(first, num_classes, step)]
    return [list(range(start, end)) for start, end in zip(starts, [*starts[1:], num_classes], strict=True)]


def _check(rank: Rank, arguments: Mapping[str, Untyped], *, groups: int) -> None:
    if arguments["method"] not in METHODS:
        raise ValueError(f"training.method: must be one of {', '.join(METHODS)}, got {arguments['method']!r}")
    if rank.ranks > 1:
        raise ValueError(f"tree_cnn trains on one rank, got {rank.ranks}; set resources.ranks: 1")
    if not 2 <= arguments["first"] < rank.facts.num_classes or arguments["step"] < 1:
        raise ValueError(
            f"training.first must be from 2 to {rank.facts.num_classes - 1} of the {rank.facts.num_classes} classes, "
            f"and training.step 1 or more, got {arguments['first']} and {arguments['step']}"
        )
    if rank.configuration.epochs < groups:
        raise ValueError(
            f"space.epochs: {groups} groups of classes need an epoch each, got {rank.configuration.epochs}; raise it"
        )


def _key(classes: Sequence[int]) -> str:
    return "_".join(map(str, classes))


def _of_classes(batch: Batch, classes: Sequence[int]) -> Batch:
    """The images of these classes alone."""
    kept_n = torch.isin(batch.labels_n, batch.labels_n.new_tensor(list(classes)))
    return Batch(batch.images_nchw[kept_n], batch.labels_n[kept_n])


def _numbered(labels_n: Tensor, classes: Sequence[int]) -> Tensor:
    """Each label's place among the classes."""
    places = {one: number for number, one in enumerate(classes)}
    return labels_n.new_tensor([places[one] for one in labels_n.tolist()])
