# 34: an alert is in hand when the eyes shut: the watchdog is heard no more, so that nobody would tell if it were over. What
# was heard counts for a while, and moves nothing.
at 5m  human pauses
at 10m kill blue
at 14m fault alertmanager down
at 26m human resumes
at 28m expect outcome held:eyes_open
at 28m expect gate eyes_open closed saw the last watchdog alert is
at 28m expect moves 0
at 29m mend alertmanager
at 35m expect holder green
