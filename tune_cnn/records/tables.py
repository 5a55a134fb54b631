"""The study's tables. Times are UTC in epoch milliseconds; what has no column of its own is JSON in text."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 3  # grows with every change of the tables; so far a newer one only adds some
PREFIX = "tune_cnn_"  # a PostgreSQL database may hold others' tables beside ours

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers INTEGER keys alone
_Stamp = BigInteger


def _study_key() -> Column[int]:
    return Column("study_id", _Id, ForeignKey(f"{PREFIX}studies.id", ondelete="CASCADE"), nullable=False)


schema = Table(f"{PREFIX}schema", metadata, Column("version", Integer, nullable=False))

studies = Table(
    f"{PREFIX}studies",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("uid", String(32), nullable=False),  # tells two studies of one name apart on a shared MLflow server
    Column("spec", Text, nullable=False),
    Column("info", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reference", Text),
    Column("searched_s", Float, nullable=False, default=0.0),
    Column("created_ms", _Stamp, nullable=False),
    Column("started_ms", _Stamp, nullable=False),
    Column("updated_ms", _Stamp, nullable=False),
    Column("tracking", Text),  # the server that experiment_id and run_id belong to, without its password
    Column("experiment_id", Text),
    Column("run_id", Text),
    Column("delivery_error", Text),
    sqlite_autoincrement=True,  # the id of a deleted study never comes back
)

trials = Table(
    f"{PREFIX}trials",
    metadata,
    _study_key(),
    Column("number", Integer, nullable=False),
    Column("params", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("origin", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("started_ms", _Stamp, nullable=False),
    Column("ended_ms", _Stamp),
    Column("attempts", Integer, nullable=False, default=1),
    Column("run_id", Text),
    Column("extra", Text, nullable=False, default="{}"),
    PrimaryKeyConstraint("study_id", "number"),
)

points = Table(
    f"{PREFIX}points",
    metadata,
    Column("id", _Id, primary_key=True),
    _study_key(),
    Column("trial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("checkpoint", Text),
    Column("reported_ms", _Stamp, nullable=False),
    UniqueConstraint("study_id", "trial", "epoch"),
    ForeignKeyConstraint(
        ["study_id", "trial"], [f"{PREFIX}trials.study_id", f"{PREFIX}trials.number"], ondelete="CASCADE"
    ),
    sqlite_autoincrement=True,
)

# Front candidates trained again, one row a seed; planned before the first is trained.
confirmations = Table(
    f"{PREFIX}confirmations",
    metadata,
    _study_key(),
    Column("trial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),  # the candidate's stop epoch
    Column("number", Integer, nullable=False),  # of the candidate's runs
    Column("seed", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("metrics", Text, nullable=False, default="{}"),
    Column("ended_ms", _Stamp),
    PrimaryKeyConstraint("study_id", "trial", "epoch", "number"),
    ForeignKeyConstraint(
        ["study_id", "trial"], [f"{PREFIX}trials.study_id", f"{PREFIX}trials.number"], ondelete="CASCADE"
    ),
)

# The same on a type of accelerator that the study was not searched on.
confirmations_there = Table(
    f"{PREFIX}confirmations_there",
    metadata,
    _study_key(),
    Column("accelerator", String(128), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("metrics", Text, nullable=False, default="{}"),
    Column("ended_ms", _Stamp),
    PrimaryKeyConstraint("study_id", "accelerator", "trial", "epoch", "number"),
    ForeignKeyConstraint(
        ["study_id", "trial"], [f"{PREFIX}trials.study_id", f"{PREFIX}trials.number"], ondelete="CASCADE"
    ),
)

# What happened to the nodes of a cluster, and to trials there.
node_events = Table(
    f"{PREFIX}node_events",
    metadata,
    Column("id", _Id, primary_key=True),
    _study_key(),
    Column("at_ms", _Stamp, nullable=False),
    Column("node", String(64), nullable=False),  # Ray's id of it
    Column("host", Text, nullable=False),
    Column("happened", String(16), nullable=False),
    Column("trial", Integer),
    Column("why", Text),
    Column("ratio", Float),  # of an ended trial's time to what was expected
    Index(f"{PREFIX}node_events_by_study", "study_id", "id"),
)

# What a question measured beside a trial's epochs: too much, or of another kind, for an epoch point's metrics.
measurements = Table(
    f"{PREFIX}measurements",
    metadata,
    _study_key(),
    Column("trial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),  # epochs trained when it was measured
    Column("name", String(250), nullable=False),
    Column("content", Text, nullable=False),
    PrimaryKeyConstraint("study_id", "trial", "epoch", "name"),
    ForeignKeyConstraint(
        ["study_id", "trial"], [f"{PREFIX}trials.study_id", f"{PREFIX}trials.number"], ondelete="CASCADE"
    ),
)

# What MLflow has not been sent yet; written in the transaction of the thing itself, deleted once delivered.
changes = Table(
    f"{PREFIX}changes",
    metadata,
    Column("id", _Id, primary_key=True),
    _study_key(),
    Column("kind", String(16), nullable=False),
    Column("trial", Integer),
    Column("epoch", Integer),
    Column("name", String(250)),  # of an artifact
    Column("made_ms", _Stamp, nullable=False),
    Index(f"{PREFIX}changes_by_study", "study_id", "id"),
    sqlite_autoincrement=True,  # an id that was delivered and deleted must not name a newer change
)

# Kept when they are delivered: another MLflow server may want them too.
artifacts = Table(
    f"{PREFIX}artifacts",
    metadata,
    _study_key(),
    Column("name", String(250), nullable=False),
    Column("path", Text, nullable=False),
    PrimaryKeyConstraint("study_id", "name"),
)

# What configurations cost on one kind of slot, whichever study measured it; outlives the studies.
costs = Table(
    f"{PREFIX}costs",
    metadata,
    Column("setup", String(64), nullable=False),  # data, model and hardware, hashed
    Column("key", String(64), nullable=False),  # of the configurations that cost the same, hashed
    Column("params", Text, nullable=False),
    Column("cost", Text, nullable=False),
    Column("measured_ms", _Stamp, nullable=False),
    PrimaryKeyConstraint("setup", "key"),
)

leases = Table(
    f"{PREFIX}leases",
    metadata,
    _study_key(),
    Column("role", String(16), nullable=False),
    Column("token", String(32), nullable=False),
    Column("owner", Text, nullable=False),
    Column("since_ms", _Stamp, nullable=False),
    Column("expires_ms", _Stamp, nullable=False),
    PrimaryKeyConstraint("study_id", "role"),
)
