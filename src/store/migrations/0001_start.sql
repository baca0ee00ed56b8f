-- Every statement runs on SQLite and on PostgreSQL. Times are RFC 3339 in UTC with nine decimals, so that they sort
-- as text and lose nothing; lists and maps are JSON.

-- One number for every row of the story: rows written at the same instant keep their order, and no number comes twice.
CREATE TABLE sequence (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO sequence (name, value) VALUES ('entry', 0);

-- One episode of one alert.
CREATE TABLE signal (
    source      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    starts_at   TEXT NOT NULL,
    action      TEXT NOT NULL,
    fleet       TEXT,
    cluster     TEXT,
    target      TEXT,
    state       TEXT NOT NULL,
    ends_at     TEXT,
    labels      TEXT NOT NULL,
    annotations TEXT NOT NULL,
    first_seen  TEXT NOT NULL,
    last_seen   TEXT NOT NULL,
    PRIMARY KEY (source, fingerprint, starts_at)
);
CREATE INDEX signal_state ON signal (state, last_seen);

-- Which cluster shall hold a fleet, and why. The generation of a fleet only grows.
CREATE TABLE decision (
    fleet           TEXT   NOT NULL,
    generation      BIGINT NOT NULL,
    id              BIGINT NOT NULL UNIQUE,
    kind            TEXT   NOT NULL,
    from_cluster    TEXT,
    to_cluster      TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    author          TEXT   NOT NULL,
    signal          TEXT,
    gates           TEXT   NOT NULL,
    decided_at      TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    finished_at     TEXT,
    acknowledged_at TEXT,
    PRIMARY KEY (fleet, generation)
);
CREATE INDEX decision_decided_at ON decision (decided_at);

-- The journal: a step is written down before it acts, and again when its outcome is known.
CREATE TABLE step (
    id          BIGINT NOT NULL PRIMARY KEY,
    fleet       TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    phase       TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    target      TEXT   NOT NULL,
    sentence    TEXT   NOT NULL,
    step        TEXT   NOT NULL,
    started_at  TEXT   NOT NULL,
    finished_at TEXT,
    outcome     TEXT,
    detail      TEXT,
    transient   BIGINT,
    FOREIGN KEY (fleet, generation) REFERENCES decision (fleet, generation) ON DELETE CASCADE
);
CREATE INDEX step_decision ON step (fleet, generation);
CREATE INDEX step_started_at ON step (started_at);
CREATE INDEX step_unfinished ON step (id) WHERE finished_at IS NULL;

-- What a pass found, when that changed, and what people did.
CREATE TABLE event (
    id       BIGINT NOT NULL PRIMARY KEY,
    at       TEXT   NOT NULL,
    fleet    TEXT,
    outcome  TEXT   NOT NULL,
    sentence TEXT   NOT NULL,
    author   TEXT
);
CREATE INDEX event_at ON event (at);

-- What people set. The scope is a fleet's name, or '*' for all fleets.
CREATE TABLE overrides (
    scope  TEXT NOT NULL,
    kind   TEXT NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    since  TEXT NOT NULL,
    until  TEXT,
    PRIMARY KEY (scope, kind)
);

-- Planned moves that people ask for, until a pass has answered.
CREATE TABLE request (
    id          BIGINT NOT NULL PRIMARY KEY,
    fleet       TEXT   NOT NULL,
    to_cluster  TEXT   NOT NULL,
    expected    TEXT,
    reason      TEXT   NOT NULL,
    author      TEXT   NOT NULL,
    at          TEXT   NOT NULL,
    outcome     TEXT,
    sentence    TEXT,
    answered_at TEXT
);
CREATE INDEX request_open ON request (id) WHERE answered_at IS NULL;

-- The whole story, oldest first, for people: select * from history
CREATE VIEW history AS
SELECT substr(at, 1, 19) || 'Z' AS at, fleet, generation, entry, sentence, author
FROM (
    SELECT first_seen AS at, 0 AS id, fleet, CAST(NULL AS BIGINT) AS generation, 'alert' AS entry,
           action || ' asked for by alert ' || fingerprint || ' about ' || COALESCE(cluster, 'no cluster')
               || ', firing since ' || substr(starts_at, 1, 19) || 'Z' AS sentence,
           source AS author
    FROM signal WHERE action <> 'watchdog'
    UNION ALL
    SELECT ends_at, 0, fleet, CAST(NULL AS BIGINT), 'alert',
           action || ' no longer asked for by alert ' || fingerprint || ' about ' || COALESCE(cluster, 'no cluster'),
           source
    FROM signal WHERE action <> 'watchdog' AND ends_at IS NOT NULL
    UNION ALL
    SELECT decided_at, id, fleet, generation, 'decision',
           kind || ' from ' || COALESCE(from_cluster, 'nobody') || ' to ' || to_cluster || ': ' || reason,
           author
    FROM decision
    UNION ALL
    SELECT started_at, id, fleet, generation, 'step',
           phase || ': ' || sentence || ': ' || COALESCE(outcome, 'started')
               || CASE WHEN detail IS NULL THEN '' ELSE ' (' || detail || ')' END,
           NULL
    FROM step
    UNION ALL
    SELECT finished_at, id, fleet, generation, 'move', kind || ' to ' || to_cluster || ' ' || state, NULL
    FROM decision WHERE finished_at IS NOT NULL AND kind <> 'adopt'
    UNION ALL
    SELECT at, id, fleet, NULL, 'event', sentence, author
    FROM event
) AS story
ORDER BY story.at, story.id;
