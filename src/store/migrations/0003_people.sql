-- What people do beyond asking for a move: overriding gates, approving, lifting a cool-down, waiting for a drain.

-- The closed gates that a person overrode (a list), the proposal that a person approved, and the cool-down lifted.
ALTER TABLE decision ADD COLUMN overridden TEXT NOT NULL DEFAULT '[]';
ALTER TABLE decision ADD COLUMN proposal BIGINT;
ALTER TABLE decision ADD COLUMN cool_down_lifted_at TEXT;

-- The gates that shall not hold a planned move, since when it waits, and the decision it came to.
ALTER TABLE request ADD COLUMN overrides TEXT NOT NULL DEFAULT '[]';
ALTER TABLE request ADD COLUMN waiting_since TEXT;
ALTER TABLE request ADD COLUMN generation BIGINT;

-- Automatic moves that wait for a person. The generation is the one that the decision would get.
CREATE TABLE proposal (
    id            BIGINT NOT NULL PRIMARY KEY,
    fleet         TEXT   NOT NULL,
    generation    BIGINT NOT NULL,
    kind          TEXT   NOT NULL,
    from_cluster  TEXT,
    to_cluster    TEXT   NOT NULL,
    signal        TEXT,
    reason        TEXT   NOT NULL,
    at            TEXT   NOT NULL,
    until         TEXT   NOT NULL,
    consent       TEXT,
    answer_author TEXT,
    answer_reason TEXT,
    answered_at   TEXT,
    expired_at    TEXT
);
CREATE INDEX proposal_fleet ON proposal (fleet, generation);
