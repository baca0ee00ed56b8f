# The alert was heard, then Alertmanager went. What was heard counts for a while, and the missing watchdog says that
# nobody would tell if it were over.
at 5m human pauses
at 10m kill blue
at 14m fault alertmanager down
at 26m human resumes
at 28m expect outcome held:eyes_open
at 28m expect moves 0
at 29m mend alertmanager
at 35m expect holder green
