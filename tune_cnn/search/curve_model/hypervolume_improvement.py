"""What curves that are not trained yet could add to a front's hypervolume."""

import numpy as np

NODES = 128  # of the axis over which two objectives are integrated: a fortieth of a decade where they span three
DRAWS = 512  # points of the box that measure three objectives and more


class HypervolumeImprovement:
    """The hypervolume that curves would add to a front; all on the gain scale of `front.hypervolume`.

    `front_fk`, `reach_k`: gains on the reference point of the front's points, and the most that any point has.
    """

    def __init__(self, front_fk: np.ndarray, reach_k: np.ndarray, *, rng: np.random.Generator) -> None:
        self._objectives = len(reach_k)
        if self._objectives <= 2:
            self._reach = float(reach_k[1]) if self._objectives == 2 else 1.0
            self._width = self._reach / NODES if self._objectives == 2 else 1.0
            self._held_x = self._heights(front_fk[None])[0]
        else:
            drawn_dk = rng.random((DRAWS, self._objectives)) * reach_k
            held_d = (front_fk[:, None, :] >= drawn_dk[None]).all(axis=2).any(axis=0)
            self._free_dk = drawn_dk[~held_d]
            self._cell = float(np.prod(reach_k)) / DRAWS

    def _nodes(self, gains: np.ndarray) -> np.ndarray:
        """How many of the axis's nodes, counted from the reference, points with this gain cover."""
        return np.clip(np.round(gains / self._width), 0, NODES)

    def _heights(self, gains_cgk: np.ndarray) -> np.ndarray:
        """(c, x) over each node of the second objective the best gain in the first."""
        heights_cx = np.zeros((len(gains_cgk), NODES if self._objectives == 2 else 1))
        for at in range(gains_cgk.shape[1]):
            heights_cx = self._with(heights_cx, gains_cgk[:, at])
        return heights_cx

    def _with(self, heights_cx: np.ndarray, gains_ck: np.ndarray) -> np.ndarray:
        first_c = gains_ck[:, 0]
        if self._objectives == 1:
            alone_cx: np.ndarray = np.maximum(heights_cx, first_c[:, None])
            return alone_cx
        covered_cx = np.arange(NODES) < self._nodes(gains_ck[:, 1])[:, None]
        together_cx: np.ndarray = np.maximum(heights_cx, np.where(covered_cx, first_c[:, None], 0.0))
        return together_cx

    def of_curves(self, gains_cgk: np.ndarray) -> np.ndarray:
        """(c, g) what the first g points of each curve would add together."""
        added = []
        if self._objectives <= 2:
            heights_cx = np.broadcast_to(self._held_x, (len(gains_cgk), len(self._held_x)))
            for at in range(gains_cgk.shape[1]):
                heights_cx = self._with(heights_cx, gains_cgk[:, at])
                added.append((heights_cx - self._held_x).sum(axis=1) * self._width)
        else:
            reached_cd = np.zeros((len(gains_cgk), len(self._free_dk)), dtype=bool)
            for at in range(gains_cgk.shape[1]):
                reached_cd |= (gains_cgk[:, at, None, :] >= self._free_dk[None]).all(axis=2)
                added.append(reached_cd.sum(axis=1) * self._cell)
        return np.stack(added, axis=1)
