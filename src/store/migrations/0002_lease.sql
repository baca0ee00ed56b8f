-- Who may decide and act, and until when. The epoch only grows: what carries an older one than this row is refused.
-- Times are milliseconds since 1970 by the clock of the database; `renewals` tells two looks at the row apart.
CREATE TABLE lease (
    name       TEXT   NOT NULL PRIMARY KEY,
    epoch      BIGINT NOT NULL,
    renewals   BIGINT NOT NULL,
    holder     TEXT,
    since      BIGINT NOT NULL,
    renewed_at BIGINT NOT NULL,
    lasts      BIGINT NOT NULL
);
INSERT INTO lease (name, epoch, renewals, holder, since, renewed_at, lasts) VALUES ('leader', 0, 0, NULL, 0, 0, 0);

ALTER TABLE decision ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE step ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
