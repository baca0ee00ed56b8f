# An alert that was heard is silenced and ends: Alertmanager never says so. It counts as long as it may be true, moves
# nothing, and is forgotten.
at 5m human pauses
at 10m kill blue
at 13m human silences blue for 2h
at 14m revive blue
at 15m human resumes
at 22m expect moves 0
at 50m expect outcome steady
at 50m expect moves 0
