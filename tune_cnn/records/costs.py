"""The costs that were measured, in the store: by what was trained on what, whichever study it was for."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import and_, delete, insert, select

from tune_cnn.records.database import Database
from tune_cnn.records.rows import from_json, now_ms, to_json
from tune_cnn.records.tables import costs
from tune_cnn.spec.costs import Cost, cost_key
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class KnownCost:
    """A configuration's cost, and what came of measuring it."""

    params: Mapping[str, Plain]  # flat, as searched
    cost: Cost
    reason: str | None = None  # why it doesn't fit, where it doesn't
    measured: Mapping[str, float] = field(default_factory=dict)  # what a profile found beside


class Costs:
    """The table of costs. `setup` says in plain data on what they hold: data, model, hardware, slots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, setup: Mapping[str, Plain], measured: Iterable[KnownCost]) -> None:
        """Write what was measured, in one transaction; the last of a key counts."""
        rows = {
            hashed(cost_key(known.params)): {
                "params": to_json(known.params),
                "cost": to_json({**asdict(known.cost), "reason": known.reason, **_measured(known)}),
                "measured_ms": now_ms(),
            }
            for known in measured
        }
        if not rows:
            return
        of = setup_key(setup)
        with self._database.write() as connection:
            connection.execute(delete(costs).where(and_(costs.c.setup == of, costs.c.key.in_(rows))))
            connection.execute(insert(costs), [{"setup": of, "key": key, **row} for key, row in rows.items()])

    def known(self, setup: Mapping[str, Plain]) -> dict[str, KnownCost]:
        """What was measured there, by `cost_key`."""
        with self._database.read() as connection:
            query = select(costs.c.params, costs.c.cost).where(costs.c.setup == setup_key(setup))
            rows = connection.execute(query.order_by(costs.c.measured_ms)).all()
        found = {}
        for params_text, cost_text in rows:
            params, values = from_json(params_text), from_json(cost_text)
            reason, measured = values.pop("reason", None), values.pop("measured", {})
            found[cost_key(params)] = KnownCost(params=params, cost=Cost(**values), reason=reason, measured=measured)
        return found


def _measured(known: KnownCost) -> dict[str, Plain]:
    return {"measured": dict(known.measured)} if known.measured else {}


def setup_key(setup: Mapping[str, Plain]) -> str:
    return hashed(json.dumps(setup, sort_keys=True, default=str))


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
