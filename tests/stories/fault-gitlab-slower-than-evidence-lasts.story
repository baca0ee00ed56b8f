# Prometheus answers at once, GitLab after three minutes: by then the evidence is too old to move anything.
at 10m kill blue
at 11m fault gitlab slow 3m
at 24m expect moves 0
at 24m expect gate eyes_open closed saw stale
at 25m mend gitlab
at 35m expect holder green
